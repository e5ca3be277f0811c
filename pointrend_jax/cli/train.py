"""Trains a model, evaluating it as its config says.

A run that was stopped goes on from its last checkpoint when the same command is given again. On
several hosts every one runs the same command with --coordinator.
"""

import argparse

from pointrend_jax.cli.fields import describe_fields
from pointrend_jax.cli.parser import CommandParser
from pointrend_jax.cli.runs import add_experiment, add_run, chosen_config, join, then_use
from pointrend_jax.console import tell
from pointrend_jax.storage import as_path

EXAMPLES = (
    "pointrend_jax train --data photos/ --workdir runs/photos",
    "pointrend_jax train --config pennfudan --workdir runs/people --config.data.dir=/data/people",
)


def add_arguments(parser: CommandParser) -> None:
    add_experiment(parser)
    add_run(parser)
    parser.add_argument(
        "--accept-changes", action="store_true",
        help="go on although settings differ that decide the numbers",
    )  # fmt: skip
    parser.epilog = f"{parser.epilog}\n\n{describe_fields()}"


def config_of(args: argparse.Namespace) -> str:
    """The config that the command names, or one that is planned for its data."""
    if args.data is not None and args.coordinator:
        raise ValueError(
            "--data is planned on one machine; train there first, and give its config.py to all "
            "with --config."
        )
    return chosen_config(args, args.workdir)


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.experiment import train

    join(args)
    workdir = as_path(args.workdir)
    train(args.config, workdir, accept_changes=args.accept_changes)
    what = [
        "the trained model (checkpoints/)",
        "its losses and scores by step (metrics.jsonl, tensorboard/)",
    ]
    # An evaluation set without annotations leaves none.
    if (workdir / "results.json").exists():
        what.append("the last scores (results.json; report.html, for a browser)")
    tell(
        f"{workdir} has {', '.join(what[:-1])} and {what[-1]}. "
        f"{then_use(workdir, args.config.task)}"
    )
