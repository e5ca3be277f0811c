"""The flags that commands share: the experiment, where a run is, where its other processes are."""

import argparse
from pathlib import Path

from pointrend_jax.cli.parser import CommandParser, count, path
from pointrend_jax.console import own_command
from pointrend_jax.storage import local_path


def add_experiment(parser: CommandParser) -> None:
    """--data (with --weights) and --config, of which `chosen_config` takes one."""
    parser.add_argument(
        "--data", type=path, metavar="FOLDER",
        help="images and annotations in any common layout: a config is planned for them",
    )  # fmt: skip
    parser.add_argument(
        "--weights", default="", metavar="NAME",
        help="with --data: a published model to start from (a small one of ImageNet)",
    )  # fmt: skip
    parser.add_argument(
        "--config",
        help="a name, or the path of a Python file; or else --data, or refine with it",
    )


def chosen_config(args: argparse.Namespace, workdir: Path | str) -> str:
    """A config by its name or path, or the path of one that is planned in `workdir`.

    With --data, --config may say "refine": then a refiner of masks is planned.

    Args:
      args: with what `add_experiment` adds.
    Raises: ValueError unless one of --data and --config is given.
    """
    data, config, refiner = args.data, args.config, False
    if data is not None and config == "refine":
        config, refiner = None, True
    if args.weights and data is None:
        raise ValueError(
            "--weights is what a training on --data starts from; a config has its own: "
            f"--config.init.weights={args.weights}"
        )
    if (data is None) == (config is None):
        raise ValueError(
            "give one of --data, the folder of images and annotations, and --config, the "
            "experiment, as in --config demo."
        )
    if data is None:
        return config or ""
    from pointrend_jax.planned_config import planned_config

    return str(planned_config(data, local_path(workdir), args.weights, refiner=refiner))


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


def then_use(checkpoint: object, task: str) -> str:
    """The end of what a command says that leaves a checkpoint: what to do with it.

    Args:
      task: config.task of its model.
    """
    if task == "refine":
        arguments = ("refine", "--images", "FOLDER", "--annotations", "coarse.json")
        output = "fine.json"
    else:
        arguments, output = ("predict", "IMAGES"), "predicted"
    command = own_command(*arguments, "--checkpoint", checkpoint, "--output", output)
    return f"Next:\n  {command}"


def join(args: argparse.Namespace) -> None:
    """Joins the other processes, if there are any; before anything else that uses jax."""
    from pointrend_jax.devices.processes import Cluster, join_processes

    join_processes(Cluster(args.coordinator, args.num_processes, args.process_index))
