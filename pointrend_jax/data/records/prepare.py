"""`python -m pointrend_jax prepare`: a data set as its authors distribute it to record files.

    DATA_DIR/<name>/1.0.0/    see `layout.py`; a folder of this machine or gs://BUCKET/FOLDER

Interrupted, it goes on with the shard it was at when started again. The numbers of images of
known sets are checked, so that an incomplete download is not taken for the set.
"""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.data.records.fetch import verify_records
from pointrend_jax.data.records.label_maps import check_pixels, map_records, open_maps
from pointrend_jax.data.records.layout import VERSION, RecordSet, read_manifest
from pointrend_jax.data.records.objects import KIND as OBJECTS
from pointrend_jax.data.records.objects import object_records
from pointrend_jax.data.records.write import IMAGES_PER_SHARD, write_records
from pointrend_jax.data.sources.coco import print_findings
from pointrend_jax.data.sources.findings import tell_absent_classes
from pointrend_jax.data.sources.known import SPLITS, Place, known_releases
from pointrend_jax.data.sources.label_set import SemanticSet
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.messages import first
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.storage import AnyPath, is_remote

# Source: tensorflow_datasets/core/naming.py, in ASCII.
_NAME = "[A-Za-z][A-Za-z0-9_]{0,99}"


class Folder(NamedTuple):
    """Where a set lies.

    Attributes:
      root: the folder that it was unpacked (or, for Cityscapes and CamVid, downloaded) to.
      annotations, images: by split, relative to `root`, where the usual ones are not meant.
      class_names: of a set of a user's own that has none.
      pixels: what the images must have; its range is not stored.
    """

    root: Path
    annotations: Mapping[str, str] = {}
    images: Mapping[str, str] = {}
    class_names: tuple[str, ...] = ()
    pixels: PixelFormat = PHOTO


class Options(NamedTuple):
    """How it is written.

    Attributes:
      name: of the TFDS data set; "" for the usual one.
      subset: accept another number of images than the published set has.
      verify: read all files again at the end and compare their checksums.
    """

    name: str = ""
    splits: tuple[str, ...] = SPLITS
    images_per_shard: int = IMAGES_PER_SHARD
    subset: bool = False
    verify: bool = False


def prepare_records(dataset: str, source: Folder, data_dir: AnyPath, options: Options) -> AnyPath:
    """Writes what is not there yet of a set; the folder of the record files.

    Args:
      dataset: one of `known_releases`.
    Raises: ValueError, before long work where it can be seen before, for a wrong set or folder.
    """
    known = known_releases()
    if dataset not in known:
        raise ValueError(f"--dataset must be one of {', '.join(known)}, got {dataset!r}.")
    kind, release = known[dataset]
    if not source.root.is_dir():
        raise ValueError(f"--source {source.root} is not a folder; give where the set lies.")
    if not options.splits or set(options.splits) - set(SPLITS):
        raise ValueError(f"splits must be of {', '.join(SPLITS)}, got {list(options.splits)}.")
    if not (options.name or release.name):
        raise ValueError(f"--dataset {dataset} needs --name, what the set is to be called.")
    if options.name and not re.fullmatch(_NAME, options.name):
        raise ValueError(
            "--name must be a name that TFDS accepts, a letter and then up to 99 letters, digits "
            f"and underscores, got {options.name!r}; it becomes a folder of --data-dir."
        )
    named_files = [*source.annotations.values(), *source.images.values()]
    if any(named_files) and not kind.has_named_files:
        raise ValueError(
            f"--dataset {dataset} finds its files itself; leave out --train-annotations and the "
            "like."
        )
    content = _read(source, dataset, options)
    names = content.metadata["class_names"]
    if source.class_names and list(source.class_names) != names:
        raise ValueError(
            f"--dataset {dataset} has class names of its own ({first(names)}); leave out "
            "--class-names."
        )
    _check_numbers(content, release.numbers, subset=options.subset)
    folder = data_dir / content.name / VERSION
    write_records(
        content,
        folder,
        images_per_shard=options.images_per_shard,
        advice="free some space or choose another --data-dir",
    )
    if options.verify:
        problems = verify_records(folder)
        if problems:
            raise ValueError(
                f"{len(problems)} files of {folder} are damaged; remove the folder and prepare "
                "again:\n  " + "\n  ".join(problems)
            )
    _tell(content, folder, verified=options.verify)
    _tell_absent(content, folder, source.pixels)
    return folder


def _read(source: Folder, dataset: str, options: Options) -> RecordSet:
    """What becomes the record files of a set, checked."""
    kind, release = known_releases()[dataset]
    objects: dict[str, FoundObjects] = {}
    maps: dict[str, SemanticSet] = {}
    for split in options.splits:
        with tempfile.TemporaryDirectory() as scratch:
            found = kind.read(
                Place(
                    root=source.root,
                    split=split,
                    cache_dir=Path(scratch),
                    annotations=source.annotations.get(split)
                    or release.annotations.format(split=split),
                    images=source.images.get(split) or f"{split}2017",
                    class_names=source.class_names,
                )
            )
        if isinstance(found, SemanticSet):
            maps[split] = found
        else:
            print_findings(found)
            objects[split] = found
    name = options.name or release.name
    if maps:
        return map_records(name, maps, source.pixels)
    return object_records(name, objects, source.pixels)


def _check_numbers(content: RecordSet, published: Mapping[str, int], *, subset: bool) -> None:
    for split, what in content.splits.items():
        number, expected = len(what.facts), published.get(split)
        if expected in (None, number):
            continue
        text = f"{content.name} has {number} images in {split}, the published set {expected}"
        if not subset:
            raise ValueError(
                f"{text}; complete the download, or say --subset if a part of it is meant."
            )
        print(f"{text}: a subset", flush=True)


def _tell(content: RecordSet, folder: AnyPath, *, verified: bool) -> None:
    shards = read_manifest(folder).shards
    for split, what in content.splits.items():
        own = [s for s in shards if f"-{split}.array_record-" in s.file]
        size = sum(s.file_bytes for s in own)
        objects = sum(len(f.labels) for f in what.facts)
        counted = f", {objects} objects" if objects else ""
        print(
            f"{split}: {len(what.facts)} images{counted}, {len(own)} files, {size / 2**20:.1f} MiB"
        )
    print(f"{folder}: complete{' and verified' if verified else ''}", flush=True)


def _tell_absent(content: RecordSet, folder: AnyPath, pixels: PixelFormat) -> None:
    """Says which classes have no object or, where the records are on this machine, no pixel."""
    for split, what in content.splits.items():
        if content.metadata["kind"] == OBJECTS:
            present = (label for facts in what.facts for label in facts.labels)
            tell_absent_classes(split, content.metadata["class_names"], present)
        elif not is_remote(folder):
            check_pixels(split, open_maps(Path(folder), split, pixels))
