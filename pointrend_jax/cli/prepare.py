"""Writes a data set as record files that need nothing beside them, for many runs or hosts.

Interrupted, it goes on where it was when the same command is given again.
"""

import argparse

from pointrend_jax.cli.parser import CommandParser, names, path
from pointrend_jax.console import own_command, tell
from pointrend_jax.data.sources.known import SPLITS, known_releases
from pointrend_jax.pixel_format import DTYPES, MOST_CHANNELS, PHOTO, PixelFormat
from pointrend_jax.storage import as_path, expanded

EXAMPLES = (
    "pointrend_jax prepare --dataset coco --source /data/coco --data-dir gs://BUCKET/data",
    "pointrend_jax prepare --dataset folder --name parts --source /data/parts --data-dir records "
    "--train-annotations train.json --train-images train --val-annotations val.json "
    "--val-images val",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--dataset", required=True,
        help=f"{', '.join(known_releases())}; folder is any in COCO's format", metavar="NAME",
    )  # fmt: skip
    parser.add_argument("--source", type=path, required=True, help="folder that the set lies in")
    parser.add_argument(
        "--data-dir", required=True, help="where DATA_DIR/NAME/1.0.0 is written; gs:// too"
    )
    parser.add_argument("--name", default="", help="of the TFDS data set (the usual one)")
    parser.add_argument(
        "--class-names", type=names, default=(), metavar="NAME,...",
        help="of a set of your own that has none, as config.data.class_names",
    )  # fmt: skip
    parser.add_argument(
        "--channels", type=int, default=PHOTO.channels, metavar="N",
        help="of the images, as config.data.channels (3)",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=DTYPES, default=PHOTO.dtype,
        help="of their pixels, as config.data.dtype (uint8)",
    )  # fmt: skip
    parser.add_argument("--splits", nargs="+", default=SPLITS, choices=SPLITS, help="(both)")
    parser.add_argument(
        "--images-per-shard", type=int, metavar="N",
        help="a kill costs at most the work on one shard (512)",
    )  # fmt: skip
    parser.add_argument(
        "--subset", action="store_true", help="the source is a part of the published set"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read everything again and compare checksums"
    )
    for split in SPLITS:
        parser.add_argument(f"--{split}-annotations", default="", help="file, from the source")
        parser.add_argument(f"--{split}-images", default="", help="folder, from the source")


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.data.records.prepare import Folder, Options, prepare_records

    source = Folder(
        args.source,
        {split: expanded(getattr(args, f"{split}_annotations")) for split in SPLITS},
        {split: expanded(getattr(args, f"{split}_images")) for split in SPLITS},
        args.class_names,
        _pixels(args),
    )
    options = Options(
        name=args.name, splits=tuple(args.splits), subset=args.subset, verify=args.verify
    )
    if args.images_per_shard is not None:
        options = options._replace(images_per_shard=args.images_per_shard)
    folder = prepare_records(args.dataset, source, as_path(args.data_dir), options)
    train = own_command(
        "train", "--config", "CONFIG", "--workdir", "RUN", "--config.data.source=tfds",
        f"--config.data.dir={folder}",
    )  # fmt: skip
    tell(f"Next:\n  {train}")


def _pixels(args: argparse.Namespace) -> PixelFormat:
    """Raises ValueError for a number of channels that no image may have."""
    if not 1 <= args.channels <= MOST_CHANNELS:
        raise ValueError(f"--channels must be 1 to {MOST_CHANNELS}, got {args.channels}.")
    return PHOTO._replace(channels=args.channels, dtype=args.dtype)
