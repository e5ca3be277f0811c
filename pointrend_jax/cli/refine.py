"""Sharper masks of a COCO file, whichever tool made them: their outlines follow the photos.

Masks that fit already are left as they are. Every annotation of the new file says how much of it
changed and where ("refined"); ids, classes, scores and whatever else stay.
"""

import argparse

from pointrend_jax.cli.parser import CommandParser, path
from pointrend_jax.console import tell

EXAMPLES = (
    "pointrend_jax refine --images photos/ --annotations coarse.json --output fine.json "
    "--checkpoint runs/refiner",
    "pointrend_jax refine --images photos/ --annotations coarse.json --output fine.json "
    "--checkpoint runs/refiner --keep-below 4.0",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--images", type=path, required=True, metavar="FOLDER", help="that has the photos"
    )
    parser.add_argument(
        "--annotations", type=path, required=True, metavar="FILE",
        help="COCO file with masks (polygons or RLE) and the photos' file names",
    )  # fmt: skip
    parser.add_argument("--output", type=path, required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--checkpoint", type=path, metavar="RUN",
        help="folder of a refiner's training (train --config refine); none is published",
    )  # fmt: skip
    parser.add_argument(
        "--keep-below", type=float, metavar="PIXELS",
        help="masks whose outline seems to be off by less are left alone, in pixels of the "
        "run's canvas, 192 by default (the threshold of the run)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.predict.load import load_refiner
    from pointrend_jax.predict.refine_file import check_refine_job, write_refined
    from pointrend_jax.predict.refiner import NONE_PUBLISHED
    from pointrend_jax.results.refined import changes_in_words

    if args.checkpoint is None:
        raise ValueError(f"--checkpoint is missing: {NONE_PUBLISHED}.")
    # Before the model is loaded; mistakes should not cost that time.
    job = check_refine_job(args.images, args.annotations, args.output)
    for reason, count in sorted(job.left.items()):
        tell(f"{count} annotations {reason}")
    changes = {} if args.keep_below is None else {"model.refine.keep_below": args.keep_below}
    refined = write_refined(job, load_refiner(args.checkpoint, changes))
    tell(f"{args.output}: {changes_in_words(refined)}")
