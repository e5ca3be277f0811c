"""Segments images and videos: pictures, and COCO files or label maps, of every image.

The model, of a training run or of `convert`, decides which: instances or a class for every pixel.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.cli.parser import CommandParser, count, names, path
from pointrend_jax.console import tell
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.predict.explainable import check_explains, why_not_explained
from pointrend_jax.predict.files import predict_instances
from pointrend_jax.predict.formats import FORMATS, chosen_formats, in_words
from pointrend_jax.predict.inputs import NamedFile, check_files, labels_endings
from pointrend_jax.predict.instances import Predictor, check_choice
from pointrend_jax.predict.label_files import predict_labels, predict_labels_in_tiles
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.load import load, model_config
from pointrend_jax.predict.set_ids import SetIds, read_set_ids
from pointrend_jax.predict.sources import find_images
from pointrend_jax.predict.tiles import Tiling
from pointrend_jax.visualize import DEFAULT_STYLE, OverlayStyle, check_matplotlib

EXAMPLES = (
    "pointrend_jax predict a.jpg --checkpoint pointrend_rcnn_r50_fpn_3x_coco --output out/",
    "pointrend_jax predict photos/ clip.mp4 --checkpoint runs/people --output out/ --explain",
)


class Options(NamedTuple):
    """What `predict` can be told.

    Attributes:
      formats: what is written, as `chosen_formats` gives it.
      score_threshold: instances with a lower score are left out; None for 0.5.
      explain: instances an image whose rendering is shown; for label maps, whether it is.
      tile: side of the tiles of a semantic model in pixels; 0 for whole images.
      overlap: of tiles, in pixels; None for 256.
      ids: of the data set that the images are of.
      style: of the pictures; those of label maps have its scale and font alone.
    """

    formats: Sequence[str]
    score_threshold: float | None = None
    explain: int = 0
    tile: int = 0
    overlap: int | None = None
    ids: SetIds | None = None
    style: OverlayStyle = DEFAULT_STYLE


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "images", nargs="+", metavar="IMAGES",
        help="files, folders of images, patterns in quotes, https addresses, videos",
    )  # fmt: skip
    model = parser.add_choice()
    model.add_argument(
        "--checkpoint", type=path, metavar="RUN",
        help="folder of a run or of convert, or the name of a published model",
    )  # fmt: skip
    model.add_argument(
        "--weights", metavar="FILE", help="a file of weights or its address, with --config"
    )
    parser.add_argument(
        "--config", help="of the model of --weights: a name, or the path of a Python file"
    )
    parser.add_argument("--output", type=path, required=True, help="folder for the results")
    parser.add_argument(
        "--format", type=_formats, default=(), metavar="NAME,...",
        help=f"what is written, of {', '.join(FORMATS)} (overlay,coco,polygons; of label maps "
        "overlay,png)",
    )  # fmt: skip
    parser.add_argument(
        "--every", type=count(1), default=1, metavar="N", help="of a video every nth frame (1)"
    )
    parser.add_argument("--score-threshold", type=float, help="instances below are left out (0.5)")
    parser.add_argument(
        "--annotations", type=path, metavar="FILE",
        help="COCO file of the images, annotated or not: results have its image and category ids",
    )  # fmt: skip
    parser.add_argument(
        "--color-by", choices=("instance", "class"), default=DEFAULT_STYLE.color_by,
        help="a colour for each object (instance), or one for all of a class",
    )  # fmt: skip
    parser.add_argument("--no-boxes", action="store_true", help="draw masks and names alone")
    parser.add_argument(
        "--line-width", type=float, metavar="PIXELS", help="of outlines (fits the picture)"
    )
    parser.add_argument(
        "--scale", type=float, default=DEFAULT_STYLE.scale, metavar="TIMES",
        help="pictures of so many times the image's size (1); larger ones have more room for names",
    )  # fmt: skip
    parser.add_argument(
        "--font", type=path, metavar="FILE",
        help="TrueType or OpenType, for class names in letters that no font found here has",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="leave out images that OUTPUT has results of"
    )
    parser.add_argument(
        "--explain", type=count(0), nargs="?", const=3, default=0, metavar="N",
        help="also show how the masks of the N best instances (3), or the label map, are rendered",
    )  # fmt: skip
    parser.add_argument(
        "--tile", type=count(0), default=0, metavar="PIXELS",
        help="label maps of images of any size, in tiles of this side, at the images' own size",
    )  # fmt: skip
    parser.add_argument(
        "--overlap", type=count(0), metavar="PIXELS", help="of neighbouring tiles (256)"
    )


def run(args: argparse.Namespace) -> None:
    # Before the model is loaded; mistakes should not cost that time.
    style = OverlayStyle(args.color_by, not args.no_boxes, args.line_width, args.scale, args.font)
    style.check()
    source = _source(args)
    own = model_config(source, args.config)
    task = own.task
    formats = chosen_formats(args.format, task)
    ids = read_set_ids(args.annotations) if args.annotations else None
    options = Options(
        formats, args.score_threshold, args.explain, args.tile, args.overlap, ids, style
    )
    check_options(options, task)
    if args.explain:
        check_explains(own)
    if {"svg", "pdf"} & set(formats):
        check_matplotlib()
    images = find_images(args.images, args.output, every=args.every)
    pixels, tiled = pixel_format(own), args.tile > 0
    files = check_files(
        images, args.output, formats=formats, task=task, pixels=pixels, tiled=tiled, ids=ids,
        explained=args.explain > 0, resume=args.resume,
    )  # fmt: skip
    in_parts = labels_endings(files, pixels, tiled=tiled)
    predict_files(load(source, args.config), files, args.output, options)
    tell(f"{args.output} has {in_words(formats, task, in_parts)}")
    if not args.explain and not args.tile and not why_not_explained(own):
        tell("how they are rendered, step by step, is drawn by the same command with --explain")


def check_options(options: Options, task: str) -> None:
    """Raises ValueError for an option out of its range or for the other kind of model.

    Args:
      task: `config.task` of the model.
    """
    style = options.style
    if task == "instance":
        if options.tile or options.overlap is not None:
            raise ValueError(
                "--tile and --overlap are for semantic models; this one finds instances."
            )
        check_choice(_threshold(options))
        return
    if options.score_threshold is not None or options.ids is not None:
        raise ValueError(
            "--score-threshold and --annotations are for models of instances; this one gives label "
            "maps."
        )
    if style != DEFAULT_STYLE._replace(scale=style.scale, font=style.font):
        raise ValueError(
            "--color-by, --no-boxes and --line-width are for models of instances; this one gives "
            "label maps."
        )
    if options.tile:
        if options.explain:
            raise ValueError("--explain shows whole images; leave it or --tile out.")
        Tiling.checked((options.tile, options.tile), _overlap(options))
    elif options.overlap is not None:
        raise ValueError("--overlap is of tiles; give --tile too.")


def predict_files(
    predictor: Predictor | SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    options: Options,
) -> None:
    """Writes the pictures and files of either kind of model.

    Args:
      options: as `check_options` lets them through.
    """
    style = options.style
    if isinstance(predictor, Predictor):
        predict_instances(
            predictor,
            files,
            output,
            formats=options.formats,
            score_threshold=_threshold(options),
            num_explained=options.explain,
            ids=options.ids,
            style=style,
        )
    elif options.tile:
        predict_labels_in_tiles(
            predictor,
            files,
            output,
            formats=options.formats,
            tile=options.tile,
            overlap=_overlap(options),
            scale=style.scale,
            font=style.font,
        )
    else:
        predict_labels(
            predictor,
            files,
            output,
            formats=options.formats,
            explained=options.explain > 0,
            scale=style.scale,
            font=style.font,
        )


def _threshold(options: Options) -> float:
    return 0.5 if options.score_threshold is None else options.score_threshold


def _overlap(options: Options) -> int:
    return 256 if options.overlap is None else options.overlap


def _source(args: argparse.Namespace) -> str:
    """The model that is named. Raises: ValueError if a checkpoint is given a config."""
    if args.checkpoint is not None and args.config is not None:
        raise ValueError(
            "--config belongs to --weights; a checkpoint knows its own. Leave one of them out."
        )
    return str(args.weights if args.checkpoint is None else args.checkpoint)


def _formats(text: str) -> tuple[str, ...]:
    asked = names(text)
    unknown = [name for name in asked if name not in FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, unknown))} is no format; there are {', '.join(FORMATS)}; give "
            "several with commas in between"
        )
    return asked
