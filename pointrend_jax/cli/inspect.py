"""Shows what a data set holds, before a training: numbers, problems, and pictures of its truth.

The pictures are training's own images: resized, cropped and flipped as the config says.
"""

import argparse

from pointrend_jax.cli.parser import CommandParser, path
from pointrend_jax.cli.train import DATA_HELP, chosen_config

EXAMPLES = (
    "pointrend_jax inspect --data photos/ --output look/",
    "pointrend_jax inspect --config coco_mini --output look/ --config.data.dir=/data/coco",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--data", type=path, metavar="FOLDER", help=DATA_HELP)
    parser.add_argument("--config", help="a name, or the path of a Python file; or else --data")
    parser.add_argument("--output", type=path, required=True, help="folder for the pictures")


def config_of(args: argparse.Namespace) -> str:
    """The config that the command names, or one that is planned for its data."""
    return chosen_config(args.data, args.config, args.output)


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.inspection import inspect

    inspect(args.config, args.output)
