"""Scores the newest checkpoint of a run.

The checkpoint knows its config; another one, with other data or settings, is given by --config.
"""

import argparse

from pointrend_jax.cli.fields import describe_fields
from pointrend_jax.cli.parser import CommandParser
from pointrend_jax.cli.runs import add_run, join, then_predict
from pointrend_jax.console import tell
from pointrend_jax.storage import as_path

EXAMPLES = (
    "pointrend_jax eval --workdir runs/people",
    "pointrend_jax eval --workdir runs/people --output scores/ --config pennfudan "
    "--config.model.mask.subdivision_steps=2",
)


def add_arguments(parser: CommandParser) -> None:
    add_run(parser)
    parser.add_argument("--config", help="a name, or the path of a Python file (the run's own)")
    parser.add_argument("--output", help="where results go, if not to --workdir; gs:// too")
    parser.epilog = f"{parser.epilog}\n\n{describe_fields()}"


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.experiment import evaluate_run

    join(args)
    workdir = as_path(args.workdir)
    output = None if args.output is None else as_path(args.output)
    evaluate_run(workdir, args.config, output)
    tell(
        f"{output or workdir} has the scores (results.json; report.html, for a browser) and what "
        f"was found. {then_predict(workdir)}"
    )
