"""Writes a model as one file that predicts with jax alone, if it gives what `predict` gives.

The file is compared at once, by the reader of docs/export.md, on evaluation images of the model's
own config or on --photos.
"""

import argparse
import tempfile
from itertools import islice
from pathlib import Path

from pointrend_jax.cli.parser import CommandParser, count, names, path

EXAMPLES = (
    "pointrend_jax export --checkpoint runs/people --output people.zip",
    "pointrend_jax export --checkpoint pointrend_rcnn_r50_fpn_3x_coco --output coco.zip "
    "--photos photos/ --largest 1080x1920 --platforms cpu,cuda",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--checkpoint", type=path, required=True, metavar="RUN",
        help="folder of a run or of convert, the name of a published model, or an earlier export",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=path, required=True, help="a file that ends in .zip, or .onnx"
    )
    parser.add_argument(
        "--format", choices=("jax", "onnx"), default="jax",
        help="jax; or onnx, for onnxruntime: semantic models of one canvas (jax)",
    )  # fmt: skip
    parser.add_argument(
        "--photos", nargs="+", metavar="IMAGES",
        help="that it is compared on, as predict takes them (evaluation images of the model)",
    )  # fmt: skip
    parser.add_argument(
        "--num-photos", type=count(1), default=8, metavar="N", help="the first N of them (8)"
    )
    parser.add_argument(
        "--largest", type=_size, action="append", metavar="HxW",
        help="original images are taken up to so many pixels; may be repeated (1024x1024, or as "
        "much as the longest canvas)",
    )  # fmt: skip
    parser.add_argument(
        "--canvas", dest="canvases", type=_size, action="append", metavar="HxW",
        help="of the network's input; may be repeated (those of the model's config)",
    )  # fmt: skip
    parser.add_argument(
        "--platforms", type=names, default=("cpu", "cuda", "tpu"), metavar="NAME,...",
        help="that programs are made for (cpu,cuda,tpu)",
    )  # fmt: skip
    parser.add_argument(
        "--weights", default="float32", metavar="TYPE",
        help="float32; or float16 or bfloat16, half the size: what that costs is reported, and the "
        "file kept whatever it is (float32)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.export.make import ExportOptions, check_export_options
    from pointrend_jax.predict.inputs import NamedFile, read_inputs
    from pointrend_jax.predict.load import load
    from pointrend_jax.predict.sources import find_images

    # Before the model is loaded; mistakes should not cost that time.
    options = ExportOptions(args.largest, args.canvases, args.platforms, args.weights, args.format)
    check_export_options(args.output, options)
    photos = None
    if args.photos is not None:
        with tempfile.TemporaryDirectory() as downloads:
            found = find_images(args.photos, Path(downloads))
            chosen = islice(found, args.num_photos)
            photos = list(read_inputs([NamedFile(s.stem, s, s.stem) for s in chosen]))
    load(args.checkpoint).export(
        args.output,
        photos=photos,
        num_photos=args.num_photos,
        **options._asdict(),
    )


def _size(text: str) -> tuple[int, int]:
    """ "480x640" as (height, width)."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(
            f"it must be a height and a width in pixels as in 480x640, got {text!r}"
        )
    return int(height), int(width)
