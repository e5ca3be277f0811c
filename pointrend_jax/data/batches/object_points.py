"""Labelled points of objects in a batch: those of a step, on the resized image, in equal numbers.

Source: Detectron2 projects/PointSup, dataset_mapper.py and detection_utils.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32

from pointrend_jax.data.batches.transforms import ImageObjects, has_extent, transform_boxes


class PlacedPoints(NamedTuple):
    """Of M objects on the resized image.

    Attributes: boxes xyxy, classes, and P points each; label -1 where an object has no more.
    """

    boxes: Float32[np.ndarray, "M 4"]
    classes: Int32[np.ndarray, " M"]
    coords: Float32[np.ndarray, "M P 2"]
    labels: Int32[np.ndarray, "M P"]


def transform_points(
    objects: ImageObjects,
    old_hw: tuple[int, int],
    new_hw: tuple[int, int],
    *,
    flip: bool,
    number: int,
    rng: np.random.Generator,
) -> PlacedPoints:
    """The objects on the resized and then flipped image, each with `number` points.

    An object that has more gives some of them, drawn without repetition. Objects whose box has
    become empty are left out, as with masks.
    """
    boxes = transform_boxes(objects.boxes, old_hw, new_hw, flip=flip).astype(np.float32)
    kept = np.flatnonzero(has_extent(boxes))
    coords = np.zeros((len(kept), number, 2), np.float32)
    labels = np.full((len(kept), number), -1, np.int32)
    scale = np.array([new_hw[1] / old_hw[1], new_hw[0] / old_hw[0]])
    for place, i in enumerate(kept.tolist()):
        drawn = _some(objects.points[i], number, rng)
        coords[place, : len(drawn)] = drawn[:, :2] * scale
        labels[place, : len(drawn)] = drawn[:, 2]
    if flip:
        coords[..., 0] = new_hw[1] - coords[..., 0]
    return PlacedPoints(boxes[kept], objects.labels[kept].astype(np.int32), coords, labels)


def as_arrays(points: Sequence[Sequence[Sequence[float]]]) -> list[Float[np.ndarray, "n 3"]]:
    """Lists of (x, y, label) as `ImageObjects.points` has them."""
    return [np.asarray(of_object, np.float64).reshape(-1, 3) for of_object in points]


def _some(
    points: Float[np.ndarray, "n 3"], number: int, rng: np.random.Generator
) -> Float[np.ndarray, "m 3"]:
    if len(points) <= number:
        return points
    return points[rng.choice(len(points), number, replace=False)]
