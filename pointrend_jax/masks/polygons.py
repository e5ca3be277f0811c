"""Object masks as a data set gives them, COCO polygons or compressed RLE: area, box, pixels."""

from collections.abc import Sequence
from operator import mul

import numpy as np
from jaxtyping import Bool

from pointrend_jax.masks.rle import coco_mask

# Polygons [x0, y0, x1, y1, ...] in pixels, or compressed RLE {"size": [h, w], "counts": str}.
Segmentation = list[list[float]] | dict
# x0, y0, x1, y1 in pixels.
Box = tuple[float, float, float, float]


def rasterize_polygons(
    polygons: Sequence[Sequence[float]], hw: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """The union of polygons as a mask. Source: Detectron2 structures/masks.py polygons_to_bitmask.

    Args:
      polygons: flat x, y lists of at least three points, in pixels of the target.
    """
    if not polygons:
        return np.zeros(hw, bool)
    return coco_mask.decode(_merged(polygons, hw)).astype(bool)


def pixel_box(segmentation: Segmentation, hw: tuple[int, int]) -> Box:
    """The box of an object's pixels; all 0 where it has none."""
    x, y, width, height = coco_mask.toBbox(_rle(segmentation, hw)).tolist()
    return (x, y, x + width, y + height)


def outline_box(segmentation: Segmentation) -> Box:
    """The box of an object: of the points of its polygons, or of the pixels of its RLE."""
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        return pixel_box(segmentation, (height, width))
    columns, rows = ([v for part in segmentation for v in part[k::2]] for k in (0, 1))
    return (float(min(columns)), float(min(rows)), float(max(columns)), float(max(rows)))


def mask_area(segmentation: Segmentation, hw: tuple[int, int]) -> float:
    """The number of an object's pixels."""
    return float(coco_mask.area(_rle(segmentation, hw)))


def enclosed_area(segmentation: Segmentation) -> float:
    """Square pixels; of polygons the sum of the areas that they enclose, as COCO counts it."""
    if isinstance(segmentation, dict):
        return float(coco_mask.area(segmentation))
    total = 0.0
    for part in segmentation:
        # Lists, as hundreds of thousands of short polygons are faster without arrays.
        x, y = part[0::2], part[1::2]
        twice = sum(map(mul, x, y[1:])) + x[-1] * y[0] - sum(map(mul, y, x[1:])) - y[-1] * x[0]
        total += abs(twice) / 2
    return float(total)


def is_longer_than(polygons: Sequence[Sequence[float]], length: float) -> bool:
    """Whether the outlines together have more steps of a pixel, diagonal ones included.

    pycocotools walks along every outline in steps of a fifth of a pixel, with 16 bytes for each.
    """
    # Their number of points times their extent is at least as much, and fast to see.
    if sum(len(part) // 2 * (max(part) - min(part)) for part in polygons) <= length:
        return False
    points = (np.reshape(part, (-1, 2)) for part in polygons)
    return sum(float(np.abs(p - np.roll(p, 1, axis=0)).max(axis=1).sum()) for p in points) > length


def _rle(segmentation: Segmentation, hw: tuple[int, int]) -> dict:
    return segmentation if isinstance(segmentation, dict) else _merged(segmentation, hw)


def _merged(polygons: Sequence[Sequence[float]], hw: tuple[int, int]) -> dict:
    rles = coco_mask.frPyObjects([np.asarray(p, np.float64) for p in polygons], *hw)
    return coco_mask.merge(rles)
