"""Trains a small PointRend on drawn images, scores it and writes pictures.

No data set is needed. On two cores of a CPU it takes some minutes.
"""

import argparse
from pathlib import Path

from pointrend_jax.cli.parser import CommandParser, path

EXAMPLES = (
    "pointrend_jax demo",
    "pointrend_jax demo --workdir runs/short --config.train.steps=50",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--config", default="demo", help="a name, or the path of a Python file (%(default)s)"
    )
    parser.add_argument(
        "--workdir", type=path, default=Path("runs/demo"),
        help="where all of it goes (%(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.demo import run_demo

    run_demo(args.config, args.workdir)
