"""Opens a page of this machine on which one zooms into predictions.

Drop a photo on it, choose objects, zoom: what is visible is rendered anew by the point head.
Nothing leaves the machine.
"""

import argparse

from pointrend_jax.cli.parser import CommandParser, count, path

EXAMPLES = (
    "pointrend_jax explore --checkpoint runs/people",
    "pointrend_jax explore photo.jpg --checkpoint pointrend_rcnn_r50_fpn_3x_coco",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "photo", nargs="?", type=path, metavar="PHOTO", help="that the page opens with"
    )
    parser.add_argument(
        "--checkpoint", type=path, required=True, metavar="RUN",
        help="folder of a run or of convert, or the name of a published model",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=count(0), default=0, metavar="N", help="of 127.0.0.1 (0: one that is free)"
    )


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.explore.serve import serve
    from pointrend_jax.predict.load import load

    serve(load(str(args.checkpoint)), args.photo, port=args.port)
