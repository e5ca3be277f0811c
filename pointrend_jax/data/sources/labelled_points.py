"""Labelled points of an annotation instead of its mask, and such points made of masks.

Cheng, Parkhi, Kirillov, "Pointly-Supervised Instance Segmentation" (2022). An annotation has
"point_coords", [column, row] of pixels, and as many "point_labels": 1 on the object, 0 not on it,
-1 not known. Fractions are read too: a point lies half a pixel from where its numbers say, as whole
numbers mean a pixel's centre.

Source: Detectron2 projects/PointSup.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from pointrend_jax.masks.polygons import Box

BAD_POINTS = (
    "skipped: point_coords are no pairs of finite numbers, or point_labels not as many of 0, 1, -1"
)
POINTS_OUTSIDE = "kept: points outside the image, ignored"
OBJECT_OUTSIDE_BOX = "kept: points said to be on the object, but outside its box, ignored"

# Whole numbers are floors, so the centre of a pixel at the border may lie outside a box.
_BOX_SLACK = 1.0
# A coordinate of any image, with room for points beyond it.
_LARGEST = 2**24


class LabelledPoint(NamedTuple):
    """x, y in pixels of the original image, continuous: the centre of pixel 0 is 0.5."""

    x: float
    y: float
    label: int


def has_points(annotation: dict[str, Any]) -> bool:
    """Whether the annotation says anything about labelled points."""
    return any(annotation.get(name) is not None for name in ("point_coords", "point_labels"))


def parse_points(
    annotation: dict[str, Any], box: Box, hw: tuple[int, int], report: Counter
) -> tuple[LabelledPoint, ...] | None:
    """The labelled points, those of no use with -1; None if they are malformed.

    Args:
      box: of the object, xyxy.
      report: counts by reason, added to; malformed points are not counted here.
    """
    if not has_points(annotation):
        return ()
    coords, labels = annotation.get("point_coords"), annotation.get("point_labels")
    if not (isinstance(coords, list) and isinstance(labels, list) and len(coords) == len(labels)):
        return None
    if not (all(map(_is_pair, coords)) and all(map(_is_label, labels))):
        return None
    points, reasons = [], set()
    for (column, row), label in zip(coords, labels, strict=True):
        point = LabelledPoint(column + 0.5, row + 0.5, int(label))
        reason = _of_no_use(point, box, hw)
        if reason and point.label != -1:
            reasons.add(reason)
            point = point._replace(label=-1)
        points.append(point)
    report.update(reasons)
    return tuple(points)


def draw_points(
    mask: Bool[np.ndarray, "H W"], box: Box, number: int, rng: np.random.Generator
) -> dict[str, list]:
    """`number` points, uniform in the box, with what the mask says of their pixels.

    Args: box, xyxy inside the image.
    Returns: "point_coords" and "point_labels" of an annotation.
    """
    x0, y0, x1, y1 = box
    places = rng.random((number, 2)) * [x1 - x0, y1 - y0] + [x0, y0]
    # Rounding may give the end of the box itself.
    pixels = np.minimum(np.floor(places).astype(int), [mask.shape[1] - 1, mask.shape[0] - 1])
    labels = mask[pixels[:, 1], pixels[:, 0]].astype(int)
    return {"point_coords": pixels.tolist(), "point_labels": labels.tolist()}


def _of_no_use(point: LabelledPoint, box: Box, hw: tuple[int, int]) -> str | None:
    if not (0 <= point.x <= hw[1] and 0 <= point.y <= hw[0]):
        return POINTS_OUTSIDE
    x0, y0, x1, y1 = box
    within_x = x0 - _BOX_SLACK <= point.x <= x1 + _BOX_SLACK
    if point.label == 1 and not (within_x and y0 - _BOX_SLACK <= point.y <= y1 + _BOX_SLACK):
        return OBJECT_OUTSIDE_BOX
    return None


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    # Comparing is safe for what JSON can hold: NaN, Infinity and integers beyond any float.
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def _is_label(value: Any) -> bool:
    return type(value) in (int, float) and value in (-1, 0, 1)
