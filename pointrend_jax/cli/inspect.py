"""Shows what a data set holds, before a training: numbers, problems, and pictures of its truth.

The pictures are training's own images: resized, cropped and flipped as the config says.
"""

import argparse

from pointrend_jax.cli.parser import CommandParser, path
from pointrend_jax.cli.runs import add_experiment, chosen_config
from pointrend_jax.console import own_command, tell

EXAMPLES = (
    "pointrend_jax inspect --data photos/ --output look/",
    "pointrend_jax inspect --config coco_mini --output look/ --config.data.dir=/data/coco",
)


def add_arguments(parser: CommandParser) -> None:
    add_experiment(parser)
    parser.add_argument("--output", type=path, required=True, help="folder for the pictures")


def config_of(args: argparse.Namespace) -> str:
    """The config that the command names, or one that is planned for its data."""
    return chosen_config(args, args.output)


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.inspection import inspect

    inspect(args.config, args.output)
    if args.data is not None:
        from pointrend_jax.planned_config import FILE

        # The planned config lies there now, and may be edited.
        planned = args.output / FILE
        tell(f"Next:\n  {own_command('train', '--config', planned, '--workdir', 'RUN')}")
