"""One annotation of a COCO file: what is wrong with it, and the object that it becomes.

An annotation that cannot be an object is skipped for a reason that is counted; the reasons are the
constants here. What makes the whole file unusable is found in `coco.py`.
"""

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from pointrend_jax.data.masks import (
    Segmentation,
    coco_mask,
    compress_counts,
    is_whole_rle,
    rasterize_polygons,
)

Box = tuple[float, float, float, float]

BAD_BOX = "skipped: box is not four finite numbers"
ZERO_AREA_BOX = "skipped: box of zero area"
BOX_OUTSIDE = "skipped: box outside the image"
NO_SEGMENTATION = "skipped: no segmentation"
FEW_POINTS = "skipped: polygon of fewer than three points"
BAD_NUMBERS = "skipped: polygon of something else than finite numbers"
POLYGON_FAR_OUTSIDE = "skipped: polygon reaches further out than ten times the image's longer side"
WRONG_RLE_SIZE = "skipped: RLE size differs from the image's"
BAD_RLE = "skipped: RLE run lengths do not fill the image"
EMPTY_MASK = "skipped: mask without a pixel"
BAD_CROWD = "skipped: iscrowd is neither 0 nor 1"
BOX_CLIPPED = "kept: box reached out of the image by more than a pixel, clipped"
PART_DROPPED = "kept: without a polygon part of fewer than three points"
AREA_REPLACED = "kept: area was no number of at least 0, taken from the mask"

# Beyond any pixel and any area of one; exact in float64, unlike what JSON can hold.
_LARGEST = 2**53
# pycocotools walks along every outline pixel by pixel, so a stray number would cost hours or GiB.
_FURTHEST = 10


class CocoObject(NamedTuple):
    """A usable annotation.

    Attributes:
      id: of the annotation file.
      box: xyxy in pixels of the original image, inside it.
      bbox: x, y, width, height as the file has them, unclipped; evaluation scores against these.
      label: class, 0..K-1.
      segmentation: polygons in pixels of the original image, or compressed RLE.
      is_crowd: a region of many objects; evaluation ignores it, training drops it.
      area: square pixels, as the file gives it or else of the mask.
    """

    id: int
    box: Box
    bbox: Box
    label: int
    segmentation: Segmentation
    is_crowd: bool
    area: float


class _SkipError(Exception):
    """Raised with a reason when an annotation cannot be used."""


def parse_annotation(
    annotation: dict[str, Any], hw: tuple[int, int], label: int, report: Counter
) -> CocoObject | None:
    """The object of an annotation, or None with its reason counted in `report`.

    A missing box is derived from the segmentation; a box partly outside the image is clipped to it,
    as Detectron2 does.

    Args:
      hw: height and width of its image.
      report: counts by reason, added to.
    """
    bbox, area, crowd = (annotation.get(key) for key in ("bbox", "area", "iscrowd"))
    try:
        if crowd not in (0, 1, None):
            raise _SkipError(BAD_CROWD)
        segmentation = _parse_segmentation(annotation.get("segmentation"), hw, report)
        unclipped = _parse_box(bbox, segmentation)
        box = _clip_box(unclipped, hw, report)
    except _SkipError as skip:
        report[str(skip)] += 1
        return None
    if area is not None and not (_is_number(area) and area >= 0):
        report[AREA_REPLACED] += 1
        area = None
    return CocoObject(
        id=annotation["id"],
        box=box,
        bbox=_xywh(unclipped) if bbox is None else _floats(bbox),
        label=label,
        segmentation=segmentation,
        is_crowd=bool(crowd),
        area=_mask_area(segmentation, hw) if area is None else float(area),
    )


def _xywh(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return (x0, y0, x1 - x0, y1 - y0)


def _floats(bbox: list) -> Box:
    x, y, width, height = map(float, bbox)
    return (x, y, width, height)


def _parse_segmentation(value: Any, hw: tuple[int, int], report: Counter) -> Segmentation:
    if isinstance(value, dict) and value:
        return _parse_rle(value, hw)
    if not isinstance(value, list) or not value:
        raise _SkipError(NO_SEGMENTATION)
    if not all(isinstance(part, list) and _are_numbers(part) for part in value):
        raise _SkipError(BAD_NUMBERS)
    # An odd number of values is an incomplete point: Detectron2 drops such a part too.
    polygons = [part for part in value if len(part) >= 6 and len(part) % 2 == 0]
    if not polygons:
        raise _SkipError(FEW_POINTS)
    furthest = _FURTHEST * max(hw)
    if any(max(part) > furthest or min(part) < -furthest for part in polygons):
        raise _SkipError(POLYGON_FAR_OUTSIDE)
    if len(polygons) < len(value):
        report[PART_DROPPED] += 1
    return polygons


def _parse_rle(rle: dict[str, Any], hw: tuple[int, int]) -> Segmentation:
    counts, size = rle.get("counts"), rle.get("size")
    if not isinstance(size, list) or size != list(hw):
        raise _SkipError(WRONG_RLE_SIZE)
    if not isinstance(counts, str | list) or not is_whole_rle(counts, hw):
        raise _SkipError(BAD_RLE)
    if isinstance(counts, list):
        segmentation = compress_counts(counts, hw)
    else:
        segmentation = {"size": list(hw), "counts": counts}
    if coco_mask.area(segmentation) == 0:
        raise _SkipError(EMPTY_MASK)
    return segmentation


def _parse_box(value: Any, segmentation: Segmentation) -> Box:
    if value is None:
        box = _segmentation_box(segmentation)
    elif isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)):
        x, y, width, height = map(float, value)
        box = (x, y, x + width, y + height)
    else:
        raise _SkipError(BAD_BOX)
    if box[2] <= box[0] or box[3] <= box[1]:
        raise _SkipError(ZERO_AREA_BOX)
    return box


def _clip_box(box: Box, hw: tuple[int, int], report: Counter) -> Box:
    x0, y0, x1, y1 = box
    image_h, image_w = hw
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(image_w)), min(y1, float(image_h)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise _SkipError(BOX_OUTSIDE)
    if max(abs(c - b) for c, b in zip(clipped, box, strict=True)) > 1.0:
        report[BOX_CLIPPED] += 1
    return clipped


def _segmentation_box(segmentation: Segmentation) -> Box:
    if isinstance(segmentation, dict):
        x, y, width, height = coco_mask.toBbox(segmentation).tolist()
        return (x, y, x + width, y + height)
    points = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation])
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (x0, y0, x1, y1)


def _mask_area(segmentation: Segmentation, hw: tuple[int, int]) -> float:
    if isinstance(segmentation, dict):
        return float(coco_mask.area(segmentation))
    return float(rasterize_polygons(segmentation, hw).sum())


def _is_number(value: Any) -> bool:
    # Comparing is safe for what JSON can hold: NaN, Infinity and integers beyond any float.
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def _are_numbers(values: list) -> bool:
    """`_is_number` of all, as fast as millions of coordinates need."""
    if not values:
        return True
    if not {int, float}.issuperset(map(type, values)):
        return False
    in_range = min(values) >= -_LARGEST and max(values) <= _LARGEST
    # A NaN may hide from min and max, not from a sum.
    return in_range and not math.isnan(sum(values))
