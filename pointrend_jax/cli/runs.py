"""The flags that `train` and `eval` share: where a run is, and where its other processes are."""

import argparse

from pointrend_jax.cli.parser import CommandParser, count


def add_run(parser: CommandParser) -> None:
    """--workdir and the three of several processes."""
    parser.add_argument(
        "--workdir", required=True, help="where checkpoints, metrics and results go; gs:// too"
    )
    parser.add_argument(
        "--coordinator", default="", metavar="HOST:PORT",
        help="of process 0, or auto on a TPU pod, Slurm, MPI, Kubernetes",
    )  # fmt: skip
    parser.add_argument(
        "--num-processes",
        type=count(1),
        metavar="N",
        help="of the run, if not from the environment",
    )
    parser.add_argument(
        "--process-index",
        type=count(0),
        metavar="I",
        help="of this one, if not from the environment",
    )


def join(args: argparse.Namespace) -> None:
    """Joins the other processes, if there are any; before anything else that uses jax."""
    from pointrend_jax.devices.processes import Cluster, join_processes

    join_processes(Cluster(args.coordinator, args.num_processes, args.process_index))
