"""What every set with a class for each pixel is read into, and what its label images mean."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from pointrend_jax.data.sources.folders import StoredFile


class SemanticImage(NamedTuple):
    """An image with its label image.

    Attributes:
      name: what people call the image; unique in the set.
      labels: an image of one channel, of the values in `SemanticSet.label_values`.
      instance_ids: an instance map as Cityscapes numbers it (`cityscapes_labels`); None where
        objects are not told apart.
      height, width: in pixels, of the label image.
    """

    name: str
    image: StoredFile
    labels: StoredFile
    instance_ids: StoredFile | None
    height: int
    width: int


class SemanticSet(NamedTuple):
    """A checked set.

    Attributes:
      images: at least one.
      class_names: of the classes 0..K-1.
      label_values: what each value of the label images means: 0..K-1 or `IGNORE_LABEL`.
      instance_classes: classes whose objects `instance_ids` tells apart, ascending.
    """

    images: tuple[SemanticImage, ...]
    class_names: tuple[str, ...]
    label_values: Mapping[int, int]
    instance_classes: tuple[int, ...]


def to_classes(
    values: Integer[np.ndarray, "H W"], label_values: Mapping[int, int], name: str
) -> UInt8[np.ndarray, "H W"]:
    """Classes of the values of a label image; raises ValueError, naming it, for an unknown one."""
    # Labels of any real set fit a table of 256; looking up is far faster than comparing.
    table = np.zeros(256, np.uint8)
    known = np.zeros(256, bool)
    for value, label in label_values.items():
        table[value], known[value] = label, True
    in_range = (values >= 0) & (values < 256)
    small = np.where(in_range, values, 0).astype(np.uint8)
    unknown = np.unique(values[~(in_range & known[small])]).tolist()
    if unknown:
        raise ValueError(
            f"The label image {name} has the unknown value(s) {unknown[:8]}; it must have only "
            f"{sorted(label_values)}."
        )
    return table[small]
