"""The labels of Cityscapes, and how its instance maps number objects.

A label image (*_labelIds.png) has the label id of each pixel. An instance map (*_instanceIds.png)
has label id * 1000 + n for the pixels of a single object, and the label id alone for groups of
objects and for everything that is no object. Source: cityscapesscripts, helpers/labels.py.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Integer

LABEL_IDS = range(34)
# The evaluated classes by label id. Their order is that of the train ids 0, 1, 2, ...
EVALUATED: Mapping[int, str] = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
# The evaluated classes whose objects are told apart.
INSTANCES: Mapping[int, str] = {i: name for i, name in EVALUATED.items() if i >= 24}
VOID = tuple(i for i in LABEL_IDS if i not in EVALUATED)

CLASSES, INSTANCE_CLASSES = tuple(EVALUATED.values()), tuple(INSTANCES.values())

_OBJECTS_OF_A_LABEL = 1000


def is_single_object(instance_ids: Integer[np.ndarray, "*S"]) -> Bool[np.ndarray, "*S"]:
    """Where the values of an instance map stand for one object."""
    return instance_ids >= _OBJECTS_OF_A_LABEL


def labels_of(instance_ids: Integer[np.ndarray, "*S"]) -> Integer[np.ndarray, "*S"]:
    """The label ids of the values of an instance map."""
    return np.where(
        is_single_object(instance_ids), instance_ids // _OBJECTS_OF_A_LABEL, instance_ids
    )
