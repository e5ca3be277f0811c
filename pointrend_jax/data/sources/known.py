"""The data sets that can be read. A new one is a reader in this room and a line of a table here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pointrend_jax.data.sources.camvid import read_camvid
from pointrend_jax.data.sources.cityscapes import read_cityscapes
from pointrend_jax.data.sources.cityscapes_instances import read_cityscapes_objects
from pointrend_jax.data.sources.coco import read_coco
from pointrend_jax.data.sources.cocofied_lvis import read_cocofied_lvis
from pointrend_jax.data.sources.embedded import generate_embedded
from pointrend_jax.data.sources.id_masks import read_id_masks
from pointrend_jax.data.sources.label_set import SemanticSet
from pointrend_jax.data.sources.lvis import read_lvis
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.registry import Registry

SPLITS = ("train", "val")

Found = TypeVar("Found", FoundObjects, SemanticSet)


class Place(NamedTuple):
    """Where a split lies.

    Attributes:
      root: the folder that the set was unpacked (or, for Cityscapes and CamVid, downloaded) to.
      split: one of `SPLITS`.
      cache_dir: for annotation files that are made of a set's own.
      annotations, images: a file and a folder, relative to `root`; "" where the reader finds its
        files itself.
      may_lack_annotations: a COCO file may have none, as those of test sets.
      class_names: of a set that has no names for its classes.
      drawing: settings of a set that is drawn here, `config.data.embedded`.
    """

    root: Path
    split: str
    cache_dir: Path
    annotations: str = ""
    images: str = ""
    may_lack_annotations: bool = False
    class_names: tuple[str, ...] = ()
    drawing: Mapping[str, Any] = {}


class Release(NamedTuple):
    """A set as its authors publish it.

    Attributes:
      name: of the TFDS data set; "" where its owner must give one.
      numbers: of images by split; {} where there is nothing to compare with.
      annotations: the file of a split, relative to the root, with "{split}" in its name.
    """

    name: str
    numbers: Mapping[str, int] = {}
    annotations: str = ""


@dataclass(frozen=True)
class Source(Generic[Found]):
    """A kind of data set.

    Attributes:
      read: checks a split and opens no image; ValueError says what is wrong with the files.
      has_named_files: the user names the annotation file and the folder of images.
      releases: by the name that `prepare --dataset` knows.
    """

    read: Callable[[Place], Found]
    has_named_files: bool = False
    releases: Mapping[str, Release] = field(default_factory=dict)


def _coco(place: Place) -> FoundObjects:
    annotations, images = _root(place) / place.annotations, place.root / place.images
    lacks = place.may_lack_annotations
    return FoundObjects(read_coco(annotations, images, may_lack_annotations=lacks), annotations)


def _lvis(place: Place) -> FoundObjects:
    annotations = _root(place) / place.annotations
    return FoundObjects(read_lvis(annotations, place.root, place.images), annotations)


def _cocofied_lvis(place: Place) -> FoundObjects:
    annotations = _root(place) / place.annotations
    return read_cocofied_lvis(annotations, place.root, place.images, place.cache_dir)


def _cityscapes_objects(place: Place) -> FoundObjects:
    return read_cityscapes_objects(_root(place), place.split, place.cache_dir)


def _id_masks(place: Place) -> FoundObjects:
    folders = place.annotations, place.images
    return read_id_masks(_root(place), *folders, place.class_names, place.cache_dir)


def _embedded(place: Place) -> FoundObjects:
    name = "-".join(str(value) for _, value in sorted(place.drawing.items()))
    root = place.cache_dir / f"embedded-{name}"
    generate_embedded(root, **place.drawing)
    split = "eval" if place.split == "val" else place.split
    return _coco(place._replace(root=root, annotations=f"annotations/{split}.json", images=split))


def _cityscapes(place: Place) -> SemanticSet:
    return read_cityscapes(_root(place), place.split)


def _camvid(place: Place) -> SemanticSet:
    return read_camvid(_root(place), place.split)


def _root(place: Place) -> Path:
    if not place.root.is_dir():
        raise ValueError(f"config.data.dir {place.root} is not a folder; set --config.data.dir.")
    return place.root


_COCO_NUMBERS = {"train": 118_287, "val": 5000}
_LVIS_V1_NUMBERS = {"train": 100_170, "val": 19_809}
_LVIS_V0_5_NUMBERS = {"train": 57_263, "val": 5000}
_CITYSCAPES_NUMBERS = {"train": 2975, "val": 500}
_COCO_FILES = "annotations/instances_{split}2017.json"
_LVIS_V1_FILES = "annotations/lvis_v1_{split}.json"
_LVIS_V0_5_FILES = "annotations/lvis_v0.5_{split}.json"

_OBJECT_SETS: dict[str, Source[FoundObjects]] = {
    "coco": Source(
        _coco,
        has_named_files=True,
        releases={
            "coco": Release("coco_instances", _COCO_NUMBERS, _COCO_FILES),
            # Any folder in COCO's format.
            "folder": Release("", {}, _COCO_FILES),
        },
    ),
    "lvis": Source(
        _lvis,
        has_named_files=True,
        releases={
            "lvis_v1": Release("lvis_v1", _LVIS_V1_NUMBERS, _LVIS_V1_FILES),
            "lvis_v0_5": Release("lvis_v0_5", _LVIS_V0_5_NUMBERS, _LVIS_V0_5_FILES),
        },
    ),
    "cocofied_lvis": Source(
        _cocofied_lvis,
        has_named_files=True,
        releases={
            "cocofied_lvis": Release("cocofied_lvis_v0_5", _LVIS_V0_5_NUMBERS, _LVIS_V0_5_FILES)
        },
    ),
    "cityscapes": Source(
        _cityscapes_objects,
        releases={"cityscapes_instances": Release("cityscapes_instances", _CITYSCAPES_NUMBERS)},
    ),
    "id_masks": Source(_id_masks, has_named_files=True),
    "embedded": Source(_embedded),
}
_LABEL_SETS: dict[str, Source[SemanticSet]] = {
    "cityscapes": Source(
        _cityscapes, releases={"cityscapes": Release("cityscapes_semantic", _CITYSCAPES_NUMBERS)}
    ),
    "camvid": Source(_camvid, releases={"camvid": Release("camvid", {"train": 367, "val": 101})}),
}
OBJECT_SETS: Registry[Source[FoundObjects]] = Registry(
    "config.data.source, of config.task 'instance',", _OBJECT_SETS, besides=("tfds",)
)
LABEL_SETS: Registry[Source[SemanticSet]] = Registry(
    "config.data.source, of config.task 'semantic',", _LABEL_SETS, besides=("tfds",)
)


def known_releases() -> dict[str, tuple[Source[Any], Release]]:
    """The sets that `prepare --dataset` knows by name, those of users included.

    Raises: ValueError if two are called the same.
    """
    releases: dict[str, tuple[Source[Any], Release]] = {}
    for sets in (OBJECT_SETS, LABEL_SETS):
        for source in (sets[name] for name in sets):
            for name, release in source.releases.items():
                if name in releases:
                    raise ValueError(
                        f"two data sets are called {name!r} for prepare --dataset; give the "
                        "release of yours another name."
                    )
                releases[name] = source, release
    return releases
