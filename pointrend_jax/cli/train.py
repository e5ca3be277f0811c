"""Trains a model, evaluating it as its config says.

A run that was stopped goes on from its last checkpoint when the same command is given again. On
several hosts every one runs the same command with --coordinator.
"""

import argparse
from pathlib import Path

from pointrend_jax.cli.fields import describe_fields
from pointrend_jax.cli.parser import CommandParser, path
from pointrend_jax.cli.runs import add_run, join
from pointrend_jax.storage import as_path, local_path

DATA_HELP = "images and annotations in any common layout: a config is planned for them"
EXAMPLES = (
    "pointrend_jax train --data photos/ --workdir runs/photos",
    "pointrend_jax train --config pennfudan --workdir runs/people --config.data.dir=/data/people",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--data", type=path, metavar="FOLDER", help=DATA_HELP)
    parser.add_argument("--config", help="a name, or the path of a Python file; or else --data")
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
    return chosen_config(args.data, args.config, args.workdir)


def chosen_config(data: Path | None, config: str | None, workdir: Path | str) -> str:
    """A config by its name or path, or the path of one that is planned in `workdir`.

    Raises: ValueError unless one of `data` and `config` is given.
    """
    if (data is None) == (config is None):
        raise ValueError(
            "give one of --data, the folder of images and annotations, and --config, the "
            "experiment, as in --config demo."
        )
    if data is None:
        return config or ""
    from pointrend_jax.plan import planned_config

    return str(planned_config(data, local_path(workdir)))


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.experiment import train

    join(args)
    train(args.config, as_path(args.workdir), accept_changes=args.accept_changes)
