"""python -m pointrend_jax: predict on image files, prepare data, convert weights, demonstrate."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.config import load_config
from pointrend_jax.convert import CARD, convert
from pointrend_jax.data.records.prepare import DATASETS, SPLITS, Source, prepare_records
from pointrend_jax.data.records.prepare import Options as PrepareOptions
from pointrend_jax.demo import run_demo
from pointrend_jax.evaluation.set_ids import SetIds, read_set_ids
from pointrend_jax.predict.files import (
    predict_instances,
    predict_labels,
    predict_labels_in_tiles,
)
from pointrend_jax.predict.formats import FORMATS, chosen_formats
from pointrend_jax.predict.inputs import NamedFile, check_files
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.load import load, task_of
from pointrend_jax.predict.sources import find_images
from pointrend_jax.storage import as_path, expanded, local_path
from pointrend_jax.visualize import check_font
from pointrend_jax.weights import describe_weights


class Options(NamedTuple):
    """What `predict` can be told.

    Attributes:
      formats: what is written, as `chosen_formats` gives it.
      score_threshold: instances with a lower score are left out; None for 0.5.
      explain: instances an image whose rendering is shown; for label maps, whether it is.
      tile: side of the tiles of a semantic model in pixels; 0 for whole images.
      overlap: of tiles, in pixels; None for 256.
      ids: of the data set that the images are of.
      font: file of the typeface of names in pictures; None for the one inside Pillow.
    """

    formats: Sequence[str]
    score_threshold: float | None = None
    explain: int = 0
    tile: int = 0
    overlap: int | None = None
    ids: SetIds | None = None
    font: Path | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs its command. Raises ValueError for a user's mistake."""
    args = _parser().parse_args(arguments)
    if args.command == "demo":
        run_demo(load_config(args.config), args.workdir)
    elif args.command == "prepare":
        prepare_dataset(args)
    elif args.command == "convert":
        weights = convert(args.weights, load_config(args.config), args.output)
        print(describe_weights(weights))
        print(f"checkpoint and {CARD}: {args.output}")
    else:
        # Before the model is loaded; mistakes should not cost that time.
        task = task_of(args.checkpoint)
        formats = chosen_formats(args.format, task)
        ids = read_set_ids(args.annotations) if args.annotations else None
        check_font(args.font)
        images = find_images(args.images, args.output, every=args.every)
        files = check_files(
            images, args.output, formats=formats, task=task, ids=ids, resume=args.resume
        )
        options = Options(
            formats, args.score_threshold, args.explain, args.tile, args.overlap, ids, args.font
        )
        predict_files(load(args.checkpoint), files, args.output, options)


def prepare_dataset(args: argparse.Namespace) -> None:
    """Record files of the data set that the command line names."""
    source = Source(
        args.source,
        {split: expanded(getattr(args, f"{split}_annotations")) for split in SPLITS},
        {split: expanded(getattr(args, f"{split}_images")) for split in SPLITS},
    )
    options = PrepareOptions(
        name=args.name,
        splits=tuple(args.splits),
        images_per_shard=args.images_per_shard,
        subset=args.subset,
        verify=args.verify,
    )
    prepare_records(args.dataset, source, as_path(args.data_dir), options)


def predict_files(
    predictor: Predictor | SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    options: Options,
) -> None:
    """Writes the pictures and files of either kind of model.

    Raises: ValueError if an option is for the other kind of model.
    """
    font = options.font
    if isinstance(predictor, Predictor):
        if options.tile or options.overlap is not None:
            raise ValueError(
                "--tile and --overlap are for semantic models; this one finds instances."
            )
        threshold = 0.5 if options.score_threshold is None else options.score_threshold
        predict_instances(
            predictor,
            files,
            output,
            formats=options.formats,
            score_threshold=threshold,
            num_explained=options.explain,
            ids=options.ids,
            font=font,
        )
        return
    if options.score_threshold is not None or options.ids is not None:
        raise ValueError(
            "--score-threshold and --annotations are for models of instances; this one gives label "
            "maps."
        )
    if options.tile:
        if options.explain:
            raise ValueError("--explain shows whole images; leave it or --tile out.")
        tile = options.tile
        overlap = 256 if options.overlap is None else options.overlap
        predict_labels_in_tiles(
            predictor,
            files,
            output,
            formats=options.formats,
            tile=tile,
            overlap=overlap,
            font=font,
        )
    elif options.overlap is not None:
        raise ValueError("--overlap is of tiles; give --tile too.")
    else:
        predict_labels(
            predictor,
            files,
            output,
            formats=options.formats,
            explained=options.explain > 0,
            font=font,
        )


def _path(text: str) -> Path:
    try:
        return local_path(text)
    except ValueError as error:
        # argparse tells of a ValueError only that there was one.
        raise argparse.ArgumentTypeError(str(error)) from error


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, unknown))} is no format; there are {', '.join(FORMATS)}; give "
            "several with commas in between"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pointrend_jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict", help="segment images and videos")
    predict.add_argument(
        "images", nargs="+", metavar="IMAGES",
        help="files, folders of images, patterns in quotes, http(s) addresses, videos",
    )  # fmt: skip
    predict.add_argument(
        "--checkpoint", type=_path, required=True, help="folder of a run, or of convert"
    )
    predict.add_argument("--output", type=_path, required=True, help="folder for the results")
    predict.add_argument(
        "--format", type=_formats, default=(), metavar="NAME,...",
        help=f"what is written, of {', '.join(FORMATS)} (overlay,coco,polygons; of label maps "
        "overlay,png)",
    )  # fmt: skip
    predict.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a video every nth frame (1)"
    )
    predict.add_argument("--score-threshold", type=float, help="instances below are left out (0.5)")
    predict.add_argument(
        "--annotations", type=_path, metavar="FILE",
        help="COCO file of the images, annotated or not: results have its image and category ids",
    )  # fmt: skip
    predict.add_argument(
        "--font", type=_path, metavar="FILE",
        help="TrueType or OpenType, for class names that are not in Latin letters",
    )  # fmt: skip
    predict.add_argument(
        "--resume", action="store_true", help="leave out images that OUTPUT has results of"
    )
    predict.add_argument(
        "--explain", type=int, nargs="?", const=3, default=0, metavar="N",
        help="also show how the masks of the N best instances (3), or the label map, are rendered",
    )  # fmt: skip
    predict.add_argument(
        "--tile", type=int, default=0, metavar="PIXELS",
        help="label maps of images of any size, in tiles of this side, at the images' own size",
    )  # fmt: skip
    predict.add_argument(
        "--overlap", type=int, metavar="PIXELS", help="of neighbouring tiles (256)"
    )
    _add_prepare(commands)
    converted = commands.add_parser("convert", help="make a checkpoint of a Detectron2 file")
    converted.add_argument(
        "--weights", required=True, help="a file, detectron2://..., or the name of a published one"
    )
    converted.add_argument("--config", type=_path, required=True, help="config of its model")
    converted.add_argument("--output", type=_path, required=True, help="folder of the checkpoint")
    demo = commands.add_parser("demo", help="train, evaluate and show a small model")
    demo.add_argument("--config", type=_path, default=Path("configs/demo.py"))
    demo.add_argument("--workdir", type=_path, default=Path("runs/demo"))
    return parser


def _add_prepare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prepare = commands.add_parser("prepare", help="record files of a data set, for training")
    prepare.add_argument("--dataset", required=True, choices=DATASETS, help="which, or any folder")
    prepare.add_argument("--source", type=_path, required=True, help="folder that the set lies in")
    prepare.add_argument(
        "--data-dir", required=True, help="where DATA_DIR/NAME/1.0.0 is written; gs:// too"
    )
    prepare.add_argument("--name", default="", help="of the TFDS data set (the usual one)")
    prepare.add_argument("--splits", nargs="+", default=SPLITS, choices=SPLITS, help="(both)")
    prepare.add_argument(
        "--images-per-shard", type=int, default=PrepareOptions().images_per_shard, metavar="N",
        help="a kill costs at most the work on one shard (%(default)s)",
    )  # fmt: skip
    prepare.add_argument(
        "--subset", action="store_true", help="the source is a part of the published set"
    )
    prepare.add_argument(
        "--verify", action="store_true", help="read everything again and compare checksums"
    )
    for split in SPLITS:
        prepare.add_argument(f"--{split}-annotations", default="", help="file, from the source")
        prepare.add_argument(f"--{split}-images", default="", help="folder, from the source")
