"""Trains a model, evaluating it as its config says.

A run that was stopped goes on from its last checkpoint when the same command is given again. On
several hosts every one runs the same command with --coordinator.
"""

import argparse

from pointrend_jax.cli.fields import describe_fields
from pointrend_jax.cli.parser import CommandParser
from pointrend_jax.cli.runs import add_run, join
from pointrend_jax.storage import as_path

EXAMPLES = (
    "pointrend_jax train --config pennfudan --workdir runs/people --config.data.dir=/data/people",
    "pointrend_jax train --config ./own.py --workdir runs/own --config.train.steps=1000",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--config", required=True, help="a name, or the path of a Python file")
    add_run(parser)
    parser.add_argument(
        "--accept-changes", action="store_true",
        help="go on although settings differ that decide the numbers",
    )  # fmt: skip
    parser.epilog = f"{parser.epilog}\n\n{describe_fields()}"


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.experiment import train

    join(args)
    train(args.config, as_path(args.workdir), accept_changes=args.accept_changes)
