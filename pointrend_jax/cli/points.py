"""Labelled points of the objects of a COCO file instead of their masks, to train from points.

Points are uniform in the box of each object, rounded to pixels, and labelled by its mask. A config
with data.supervision "points" trains on the new file; scores need masks all the same.
"""

import argparse

from pointrend_jax.cli.parser import CommandParser, path
from pointrend_jax.console import tell

EXAMPLES = (
    "pointrend_jax points --annotations instances_train2017.json --output points_train2017.json",
    "pointrend_jax points --annotations train.json --output points.json --number 20 --seed 1",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--annotations", type=path, required=True, help="file with masks")
    parser.add_argument("--output", type=path, required=True, help="file to write")
    parser.add_argument("--number", type=int, default=10, help="points an object (10)")
    parser.add_argument("--seed", type=int, default=0, help="that draws them (0)")


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.data.sources.point_annotations import write_point_annotations

    made = write_point_annotations(
        args.annotations, args.output, number=args.number, seed=args.seed
    )
    for reason, count in sorted(made.skipped.items()):
        tell(f"{count} annotations {reason}")
    tell(
        f"{args.output}: {args.number} points of {made.objects} objects, {made.share:.0%} of them "
        'on the object.\nNext: config.data.train_annotations with config.data.supervision "points"'
    )
