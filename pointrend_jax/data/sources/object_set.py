"""What every set of objects is read into, whatever its files look like."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.data.sources.annotations import CocoObject
from pointrend_jax.data.sources.folders import StoredFile


class CocoImage(NamedTuple):
    """An image with its objects, crowd regions included; sizes in pixels.

    Attributes:
      neg_category_ids, not_exhaustive_category_ids: of a federated set (`lvis.py`): the categories
        known to be absent, and those of which not every object is annotated.
    """

    id: int
    file: StoredFile
    height: int
    width: int
    objects: tuple[CocoObject, ...]
    neg_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()


class CocoSet(NamedTuple):
    """A validated set.

    Attributes:
      images: by ascending id.
      category_ids: of the file, ascending; class k is `category_ids[k]`.
      class_names: in the same order.
      skipped: how many annotations were skipped or changed, by reason.
      frequencies: of a federated set, by class: "r"are, "c"ommon or "f"requent; else empty.
      remarks: what else its owner must be told, in words.
    """

    images: tuple[CocoImage, ...]
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    skipped: dict[str, int]
    frequencies: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class FoundObjects(NamedTuple):
    """A validated set with the files that it was read from.

    Attributes:
      annotations: the file in COCO's format; one in the cache if the set has no such file.
      instance_files: from an image id to its map of Cityscapes' label ids and instance ids; None
        for other sets.
    """

    dataset: CocoSet
    annotations: Path
    instance_files: Callable[[int], StoredFile] | None = None
