"""Opens a page of this machine on which one zooms into predictions.

Drop a photo on it, choose objects, zoom: what is visible is rendered anew by the point head.
Nothing leaves the machine. With --static, the page of one photo becomes a single file that needs no
server.
"""

import argparse

from pointrend_jax.cli.extras import check_installed
from pointrend_jax.cli.parser import CommandParser, count, path

EXAMPLES = (
    "pointrend_jax explore --checkpoint runs/people",
    "pointrend_jax explore photo.jpg --checkpoint runs/people --static photo.html",
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
        "--port", type=count(0), metavar="N", help="of 127.0.0.1 (0, the default: one that is free)"
    )
    parser.add_argument(
        "--static", type=path, metavar="OUT.html",
        help="write the page of PHOTO as one file that renders in the browser",
    )  # fmt: skip
    parser.add_argument(
        "--score-threshold", type=float, metavar="S",
        help="of --static: objects below are left out (0.5)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    (_serve if args.static is None else _write)(args)


def _serve(args: argparse.Namespace) -> None:
    if args.score_threshold is not None:
        raise ValueError("--score-threshold is for --static; the page itself has a slide for it.")
    check_installed("explore", ("web",))
    from pointrend_jax.data.images import read_image
    from pointrend_jax.explore.serve import serve
    from pointrend_jax.predict.load import load

    photo = None if args.photo is None else read_image(args.photo)
    serve(load(str(args.checkpoint)), photo, port=args.port or 0)


def _write(args: argparse.Namespace) -> None:
    from pointrend_jax.data.images import read_image
    from pointrend_jax.explore.static import check_static, write_static
    from pointrend_jax.predict.load import load

    threshold = 0.5 if args.score_threshold is None else args.score_threshold
    if args.photo is None:
        raise ValueError("--static writes the page of one photo; give PHOTO.")
    if args.port is not None:
        raise ValueError(
            "--port is of the page's server, which --static has none of; leave one out."
        )
    check_static(args.static, threshold)
    photo = read_image(args.photo)
    write_static(load(str(args.checkpoint)), photo, args.static, score_threshold=threshold)
