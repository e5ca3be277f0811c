"""The command line: `pointrend_jax COMMAND ...`, or `python -m pointrend_jax COMMAND ...`.

Each command is a file here, with a docstring, `EXAMPLES`, `add_arguments(parser)` and `run(args)`.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

import pointrend_jax
from pointrend_jax.cli.extras import check_installed
from pointrend_jax.cli.overrides import apply_overrides, split_overrides
from pointrend_jax.cli.parser import CommandParser, hyphened, path
from pointrend_jax.config import load_config, run_file

# What each does, and the extras of the package that it needs.
COMMANDS = {
    "train": ("train a model, or go on with a run", ("train",)),
    "eval": ("score a trained model", ("train",)),
    "predict": ("segment image files", ()),
    "explore": ("zoom into predictions on a page of this machine", ()),
    "convert": ("make a checkpoint of a Detectron2 file", ()),
    "export": ("write a model as a file that predicts with jax alone", ("export",)),
    "prepare": ("record files of a data set, for training", ("train",)),
    "refine": ("sharpen the masks of a COCO file, whoever made them", ()),
    "points": ("label points of objects, to train without masks", ()),
    "inspect": ("show what a data set holds, before training", ("train",)),
    "demo": ("train, evaluate and show a small model", ("train", "pretrained")),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs its command. Raises ValueError for a user's mistake.

    Args:
      arguments: without the program's name; None for those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = _parser().parse_args(given[:1]).command
    module = importlib.import_module(f"pointrend_jax.cli.{command}")
    overrides, others = split_overrides(given[1:])
    args = command_parser(command).parse_args([hyphened(argument) for argument in others])
    _, extras = COMMANDS[command]
    check_installed(command, extras)
    for file in args.imports:
        run_file(file)
    config = (
        module.config_of(args) if hasattr(module, "config_of") else getattr(args, "config", None)
    )
    if config is not None:
        args.config = apply_overrides(load_config(config), overrides)
    elif overrides:
        raise ValueError(
            f"--config.{overrides[0].field} overrides a field of a config, but --config is missing."
        )
    module.run(args)


def command_parser(command: str) -> CommandParser:
    """The flags of one command but those that override fields of a config."""
    module = importlib.import_module(f"pointrend_jax.cli.{command}")
    parser = CommandParser(command, module.__doc__ or "", module.EXAMPLES)
    module.add_arguments(parser)
    parser.add_argument(
        "--import", dest="imports", action="append", type=path, default=[], metavar="FILE",
        help="a Python file that is run first, which adds parts of your own; may be repeated",
    )  # fmt: skip
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pointrend_jax",
        usage="pointrend_jax COMMAND [--help | ...]",
        description="PointRend: image segmentation as rendering.",
        epilog="commands:\n"
        + "\n".join(f"  {name:<9}{what}" for name, (what, _) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"pointrend_jax {pointrend_jax.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    return parser
