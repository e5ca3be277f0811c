"""Scores the newest checkpoint of a run.

The checkpoint knows its config; another one, with other data or settings, is given by --config.
"""

import argparse

from pointrend_jax.cli.fields import describe_fields
from pointrend_jax.cli.parser import CommandParser
from pointrend_jax.cli.runs import add_run, join, then_use
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
    from pointrend_jax.predict.load import model_config

    join(args)
    workdir = as_path(args.workdir)
    output = None if args.output is None else as_path(args.output)
    # An evaluation set without annotations has none.
    scores = evaluate_run(workdir, args.config, output)
    what = "the scores (results.json; report.html, for a browser) and what was found"
    tell(
        f"{output or workdir} has {what if scores else 'what was found (detections_*.json)'}. "
        f"{then_use(workdir, model_config(args.workdir).task)}"
    )
