"""`python -m pointrend_jax prepare`: a data set as its authors distribute it to record files.

    DATA_DIR/<name>/1.0.0/    see `records.py`; a folder of this machine or gs://BUCKET/FOLDER

Interrupted, it goes on with the shard it was at when started again. The numbers of images of
known sets are checked, so that an incomplete download is not taken for the set.
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.data.records.fetch import verify_records
from pointrend_jax.data.records.instances import KIND as INSTANCES
from pointrend_jax.data.records.instances import InstanceFiles, instance_records
from pointrend_jax.data.records.label_maps import check_pixels, map_records, open_maps
from pointrend_jax.data.records.layout import VERSION, RecordSet, read_manifest
from pointrend_jax.data.records.write import IMAGES_PER_SHARD, write_records
from pointrend_jax.data.sources.camvid import read_camvid
from pointrend_jax.data.sources.cityscapes import read_cityscapes
from pointrend_jax.data.sources.cityscapes_instances import read_cityscapes_objects
from pointrend_jax.data.sources.coco import CocoSet, print_findings, read_coco
from pointrend_jax.data.sources.cocofied_lvis import cocofy
from pointrend_jax.data.sources.findings import tell_absent_classes
from pointrend_jax.data.sources.lvis import load_lvis, lvis_set, read_lvis
from pointrend_jax.storage import AnyPath, is_remote

SPLITS = ("train", "val")
# Source: tensorflow_datasets/core/naming.py, in ASCII.
_NAME = "[A-Za-z][A-Za-z0-9_]{0,99}"


class Source(NamedTuple):
    """What is to be prepared.

    Attributes:
      root: the folder that the set was unpacked (or, for Cityscapes and CamVid, downloaded) to.
      annotations, images: by split, relative to `root`, where the set's own are not meant.
    """

    root: Path
    annotations: Mapping[str, str] = {}
    images: Mapping[str, str] = {}


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


class _Known(NamedTuple):
    """A set that can be prepared.

    Attributes:
      name: of the TFDS data set.
      images: published number by split; {} where there is none.
      read: (source, name, splits) to what is written.
    """

    name: str
    images: Mapping[str, int]
    read: Callable[[Source, str, tuple[str, ...]], RecordSet]


def prepare_records(dataset: str, source: Source, data_dir: AnyPath, options: Options) -> AnyPath:
    """Writes what is not there yet of a set; the folder of the record files.

    Args:
      dataset: one of `DATASETS`.
    Raises: ValueError, before long work where it can be seen before, for a wrong set or folder.
    """
    if dataset not in DATASETS:
        raise ValueError(f"--dataset must be one of {', '.join(DATASETS)}, got {dataset!r}.")
    known = DATASETS[dataset]
    if not source.root.is_dir():
        raise ValueError(f"--source {source.root} is not a folder; give where the set lies.")
    if not options.splits or set(options.splits) - set(SPLITS):
        raise ValueError(f"splits must be of {', '.join(SPLITS)}, got {list(options.splits)}.")
    if dataset == "folder" and not options.name:
        raise ValueError("--dataset folder needs --name, what the set is to be called.")
    if options.name and not re.fullmatch(_NAME, options.name):
        raise ValueError(
            "--name must be a name that TFDS accepts, a letter and then up to 99 letters, digits "
            f"and underscores, got {options.name!r}; it becomes a folder of --data-dir."
        )
    if dataset in _FIXED_FILES and any([*source.annotations.values(), *source.images.values()]):
        raise ValueError(
            f"--dataset {dataset} finds its files itself; leave out --train-annotations and the "
            "like."
        )
    content = known.read(source, options.name or known.name, options.splits)
    _check_numbers(content, known.images, subset=options.subset)
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
    _tell_absent(content, folder)
    return folder


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


def _tell_absent(content: RecordSet, folder: AnyPath) -> None:
    """Says which classes have no object or, where the records are on this machine, no pixel."""
    for split, what in content.splits.items():
        if content.metadata["kind"] == INSTANCES:
            present = (label for facts in what.facts for label in facts.labels)
            tell_absent_classes(split, content.metadata["class_names"], present)
        elif not is_remote(folder):
            check_pixels(split, open_maps(Path(folder), split))


def _read_annotations(
    source: Source,
    name: str,
    splits: tuple[str, ...],
    annotations: str,
    read: Callable[[Path, Path, str], CocoSet],
) -> RecordSet:
    """A set of objects that lies in COCO's folders.

    Args:
      annotations: the usual file of a split, with "{split}" in its name.
      read: (annotation file, root, folder of images below the root) to the checked set.
    """
    sets: dict[str, CocoSet] = {}
    for split in splits:
        file = source.annotations.get(split) or annotations.format(split=split)
        images = source.images.get(split) or f"{split}2017"
        sets[split] = read(source.root / file, source.root, images)
        print_findings(sets[split], source.root / file)
    return instance_records(name, sets, {})


def _coco(annotation_file: Path, root: Path, folder: str) -> CocoSet:
    return read_coco(annotation_file, root / folder)


def _cocofied_lvis(annotation_file: Path, root: Path, folder: str) -> CocoSet:
    data = cocofy(load_lvis(annotation_file, folder), annotation_file)
    return lvis_set(data, annotation_file, root)


def _read_cityscapes_instances(source: Source, name: str, splits: tuple[str, ...]) -> RecordSet:
    sets: dict[str, CocoSet] = {}
    files: dict[str, InstanceFiles | None] = {}
    for split in splits:
        with tempfile.TemporaryDirectory() as scratch:
            found = read_cityscapes_objects(source.root, split, Path(scratch))
        print_findings(found.dataset, found.annotations)
        sets[split], files[split] = found.dataset, found.instance_files
    return instance_records(name, sets, files)


def _read_cityscapes(source: Source, name: str, splits: tuple[str, ...]) -> RecordSet:
    return map_records(name, {split: read_cityscapes(source.root, split) for split in splits})


def _read_camvid(source: Source, name: str, splits: tuple[str, ...]) -> RecordSet:
    return map_records(name, {split: read_camvid(source.root, split) for split in splits})


_LVIS_V1_IMAGES = {"train": 100_170, "val": 19_809}
_LVIS_V0_5_IMAGES = {"train": 57_263, "val": 5000}
_CITYSCAPES_IMAGES = {"train": 2975, "val": 500}
_FIXED_FILES = ("cityscapes", "cityscapes_instances", "camvid")

_COCO_FILES = "annotations/instances_{split}2017.json"
_LVIS_V1_FILES = "annotations/lvis_v1_{split}.json"
_LVIS_V0_5_FILES = "annotations/lvis_v0.5_{split}.json"
_read_coco = partial(_read_annotations, annotations=_COCO_FILES, read=_coco)
_read_lvis_v1 = partial(_read_annotations, annotations=_LVIS_V1_FILES, read=read_lvis)
_read_lvis_v0_5 = partial(_read_annotations, annotations=_LVIS_V0_5_FILES, read=read_lvis)
_read_cocofied = partial(_read_annotations, annotations=_LVIS_V0_5_FILES, read=_cocofied_lvis)

# What --dataset accepts.
DATASETS: Mapping[str, _Known] = {
    "coco": _Known("coco_instances", {"train": 118_287, "val": 5000}, _read_coco),
    "lvis_v1": _Known("lvis_v1", _LVIS_V1_IMAGES, _read_lvis_v1),
    "lvis_v0_5": _Known("lvis_v0_5", _LVIS_V0_5_IMAGES, _read_lvis_v0_5),
    "cocofied_lvis": _Known("cocofied_lvis_v0_5", _LVIS_V0_5_IMAGES, _read_cocofied),
    "cityscapes": _Known("cityscapes_semantic", _CITYSCAPES_IMAGES, _read_cityscapes),
    "cityscapes_instances": _Known(
        "cityscapes_instances", _CITYSCAPES_IMAGES, _read_cityscapes_instances
    ),
    "camvid": _Known("camvid", {"train": 367, "val": 101}, _read_camvid),
    # Any folder in COCO's format.
    "folder": _Known("", {}, _read_coco),
}
