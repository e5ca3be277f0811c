"""One annotation of a COCO file: what is wrong with it, and the object that it becomes.

An annotation that cannot be an object is skipped for a reason that is counted; one whose fields
contradict each other, or are written in another way that can be read, is kept, and that is counted
too. The reasons are the constants here. What makes the whole file unusable is found in `coco.py`.
"""

import math
from collections import Counter
from itertools import chain
from typing import Any, NamedTuple

from pointrend_jax.data.sources.labelled_points import (
    BAD_POINTS,
    LabelledPoint,
    has_points,
    parse_points,
)
from pointrend_jax.masks.polygons import (
    Box,
    Segmentation,
    enclosed_area,
    is_longer_than,
    mask_area,
    outline_box,
    pixel_box,
)
from pointrend_jax.masks.rle import rle_area
from pointrend_jax.masks.runs import encode_runs, run_lengths

NO_AREA = "skipped: neither box nor outline has an area inside the image"
NO_SEGMENTATION = "skipped: no segmentation"
BAD_SEGMENTATION = "skipped: segmentation is neither a list of polygons nor RLE"
FEW_POINTS = "skipped: polygon of fewer than three points"
BAD_NUMBERS = "skipped: polygon of something else than finite numbers"
POLYGON_FAR_OUTSIDE = "skipped: polygon reaches further out than ten times the image's longer side"
OUTLINE_TOO_LONG = "skipped: outline longer than any object of the image's size has"
WRONG_RLE_SIZE = "skipped: RLE size differs from the image's"
BAD_COUNTS = 'skipped: RLE "counts" are neither run lengths nor COCO\'s compressed text'
BAD_RLE = "skipped: RLE run lengths do not fill the image"
EMPTY_MASK = "skipped: mask without a pixel"
NO_LABELLED_POINT = "skipped: neither a mask nor a labelled point in the image"
POINTS_WITHOUT_BOX = "skipped: labelled points, but neither a mask nor a box"
BAD_CROWD = "skipped: iscrowd is neither 0 nor 1"
BAD_BOX = "kept: box was not four finite numbers, taken from the mask"
ZERO_AREA_BOX = "kept: box had no area, taken from the mask"
BOX_OUTSIDE = "kept: box was outside the image, taken from the mask"
BOX_ELSEWHERE = "kept: box was another than the mask's by more than half, taken from the mask"
BOX_CLIPPED = "kept: box reached out of the image by more than a pixel, clipped"
PART_DROPPED = "kept: without a polygon part of fewer than three points"
POLYGON_REREAD = "kept: polygon was not in a list of polygons or was a list of points, read so"
RUNS_REREAD = "kept: RLE run lengths were whole numbers with a decimal point, read so"
AREA_REPLACED = "kept: area was no number of at least 0, taken from the mask"
AREA_CONTRADICTS = "kept: area was over 4 times or under a quarter of the mask's, taken from it"

# Beyond any pixel and any area of one; exact in float64, unlike what JSON can hold.
_LARGEST = 2**53
# Rasterising walks along every outline, so a stray number or a scribble would cost hours or GiB.
_FURTHEST = 10
_LONGEST = 2**21
# A box within so many pixels, or with so much overlap (IoU), is the mask's. COCO's own boxes are
# within 1 pixel of the outline's, but boxes that people draw are not, nor those of hidden parts.
_BOX_SLACK, _BOX_OVERLAP = 2.0, 0.5
# Within this factor an area is the mask's. COCO's are the polygons' to the last digit; some
# programs count pixels, and many take the box.
_AREA_FACTOR = 4


class CocoObject(NamedTuple):
    """A usable annotation.

    Attributes:
      id: of the annotation file.
      box: xyxy in pixels of the original image, inside it.
      bbox: x, y, width, height as the file has them, unclipped; evaluation scores against these.
      label: class, 0..K-1.
      segmentation: polygons in pixels of the original image, or compressed RLE; [] of an object
        that has labelled points instead.
      is_crowd: a region of many objects; evaluation ignores it, training drops it.
      area: square pixels, as the file gives it or else of the mask, or of the box.
      points: of the mask, known whether or not there is one.
    """

    id: int
    box: Box
    bbox: Box
    label: int
    segmentation: Segmentation
    is_crowd: bool
    area: float
    points: tuple[LabelledPoint, ...] = ()


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
    crowd = annotation.get("iscrowd")
    try:
        if crowd not in (0, 1, None):
            raise _SkipError(BAD_CROWD)
        segmentation: Segmentation = []
        if annotation.get("segmentation") in (None, [], {}) and has_points(annotation):
            bbox, box = _box_alone(annotation.get("bbox"), hw, report)
        else:
            segmentation = _parse_segmentation(annotation.get("segmentation"), hw, report)
            bbox, box = _boxes(annotation.get("bbox"), segmentation, hw, report)
        points = parse_points(annotation, box, hw, report)
        if points is None:
            raise _SkipError(BAD_POINTS)
        if not segmentation and all(point.label == -1 for point in points):
            raise _SkipError(NO_LABELLED_POINT)
    except _SkipError as skip:
        report[str(skip)] += 1
        return None
    return CocoObject(
        id=annotation["id"],
        box=box,
        bbox=bbox,
        label=label,
        segmentation=segmentation,
        is_crowd=bool(crowd),
        area=_area(annotation.get("area"), segmentation, hw, report, is_crowd=bool(crowd))
        if segmentation
        else (box[2] - box[0]) * (box[3] - box[1]),
        points=points,
    )


def checked_segmentation(value: Any, hw: tuple[int, int]) -> Segmentation:
    """A mask alone, as `parse_annotation` reads it. Raises ValueError with the reason."""
    try:
        return _parse_segmentation(value, hw, Counter())
    except _SkipError as skip:
        raise ValueError(str(skip).removeprefix("skipped: ")) from skip


def _box_alone(value: Any, hw: tuple[int, int], report: Counter) -> tuple[Box, Box]:
    """`_boxes` of an object without a mask, which has what the file says or is none."""
    is_box = isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))
    x, y, width, height = map(float, value) if is_box else (0.0, 0.0, 0.0, 0.0)
    clipped = _clip((x, y, x + width, y + height), hw)
    if width <= 0 or height <= 0 or clipped is None:
        raise _SkipError(POINTS_WITHOUT_BOX)
    if max(abs(c - b) for c, b in zip(_xywh(clipped), (x, y, width, height), strict=True)) > 1.0:
        report[BOX_CLIPPED] += 1
    return (x, y, width, height), clipped


def _parse_segmentation(value: Any, hw: tuple[int, int], report: Counter) -> Segmentation:
    if value in (None, [], {}):
        raise _SkipError(NO_SEGMENTATION)
    if isinstance(value, dict):
        return _parse_rle(value, hw, report)
    if not isinstance(value, list):
        raise _SkipError(BAD_SEGMENTATION)
    parts = _list_of_polygons(value)
    if not all(isinstance(part, list) for part in parts):
        raise _SkipError(BAD_SEGMENTATION)
    if not all(map(_are_numbers, parts)):
        raise _SkipError(BAD_NUMBERS)
    # An odd number of values is an incomplete point: Detectron2 drops such a part too.
    polygons = [part for part in parts if len(part) >= 6 and len(part) % 2 == 0]
    if not polygons:
        raise _SkipError(FEW_POINTS)
    furthest = _FURTHEST * max(hw)
    if any(max(part) > furthest or min(part) < -furthest for part in polygons):
        raise _SkipError(POLYGON_FAR_OUTSIDE)
    # Along every pixel's two edges, or a hundred times along the longer side.
    if is_longer_than(polygons, min(2 * hw[0] * hw[1] + 10 * furthest, _LONGEST)):
        raise _SkipError(OUTLINE_TOO_LONG)
    if len(polygons) < len(parts):
        report[PART_DROPPED] += 1
    if parts is not value:
        report[POLYGON_REREAD] += 1
    return polygons


def _list_of_polygons(value: list) -> list:
    """`value` itself, unless it is one polygon, or has lists of points where coordinates belong."""
    if isinstance(value[0], int | float):
        return [value]
    # A polygon has more than one point, so lists of two numbers are points.
    if len(value) > 2 and all(map(_is_point, value)):
        return [list(chain.from_iterable(value))]
    if any(isinstance(part, list) and part and isinstance(part[0], list) for part in value):
        return [
            list(chain.from_iterable(part))
            if isinstance(part, list) and all(map(_is_point, part))
            else part
            for part in value
        ]
    return value


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _are_numbers(value)


def _parse_rle(rle: dict[str, Any], hw: tuple[int, int], report: Counter) -> Segmentation:
    counts, size = rle.get("counts"), rle.get("size")
    if not isinstance(size, list) or size != list(hw):
        raise _SkipError(WRONG_RLE_SIZE)
    runs = run_lengths(counts)
    if runs is None:
        raise _SkipError(BAD_COUNTS)
    if sum(runs) != hw[0] * hw[1]:
        raise _SkipError(BAD_RLE)
    if isinstance(counts, str):
        segmentation = {"size": list(hw), "counts": counts}
    else:
        segmentation = encode_runs(runs, hw)
    if rle_area(segmentation) == 0:
        raise _SkipError(EMPTY_MASK)
    if isinstance(counts, list) and float in map(type, counts):
        report[RUNS_REREAD] += 1
    return segmentation


def _boxes(
    value: Any, segmentation: Segmentation, hw: tuple[int, int], report: Counter
) -> tuple[Box, Box]:
    """`CocoObject.bbox` and `CocoObject.box`: of the file, or else of the mask."""
    of_mask = outline_box(segmentation)
    problem, box = None, of_mask
    if value is not None:
        problem, box = _parse_box(value, of_mask, segmentation, hw)
    if problem is not None:
        box = of_mask
    clipped = _clip(box, hw)
    if clipped is None:
        raise _SkipError(NO_AREA)
    if problem is not None:
        report[problem] += 1
    if clipped != box and max(abs(c - b) for c, b in zip(clipped, box, strict=True)) > 1.0:
        report[BOX_CLIPPED] += 1
    if value is None or problem is not None:
        return _xywh(box), clipped
    x, y, width, height = map(float, value)
    return (x, y, width, height), clipped


def _parse_box(
    value: Any, of_mask: Box, segmentation: Segmentation, hw: tuple[int, int]
) -> tuple[str | None, Box]:
    """What is wrong with a box of the file, and the box as xyxy."""
    if not (isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))):
        return BAD_BOX, of_mask
    x, y, width, height = map(float, value)
    box = (x, y, x + width, y + height)
    if width <= 0 or height <= 0:
        return ZERO_AREA_BOX, box
    clipped = _clip(box, hw)
    if clipped is None:
        return BOX_OUTSIDE, box
    if _are_near(box, of_mask):
        return None, box
    expected = _clip(of_mask, hw)
    # The box of the file is all that is known of an outline without an area.
    if expected is None or _are_alike(clipped, expected):
        return None, box
    # The pixels of a thin, slanted outline may have another box than its points.
    return (None if _are_alike(clipped, pixel_box(segmentation, hw)) else BOX_ELSEWHERE), box


def _are_near(one: Box, other: Box) -> bool:
    return all(-_BOX_SLACK <= a - b <= _BOX_SLACK for a, b in zip(one, other, strict=True))


def _are_alike(one: Box, other: Box) -> bool:
    if _are_near(one, other):
        return True
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared >= _BOX_OVERLAP * (sum(areas) - shared)


def _clip(box: Box, hw: tuple[int, int]) -> Box | None:
    """The part of a box inside the image; None if there is none with an area."""
    x0, y0, x1, y1 = box
    image_h, image_w = hw
    if 0.0 <= x0 < x1 <= image_w and 0.0 <= y0 < y1 <= image_h:
        return box
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(image_w)), min(y1, float(image_h)))
    return None if clipped[2] <= clipped[0] or clipped[3] <= clipped[1] else clipped


def _xywh(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return (x0, y0, x1 - x0, y1 - y0)


def _area(
    value: Any, segmentation: Segmentation, hw: tuple[int, int], report: Counter, *, is_crowd: bool
) -> float:
    if value is not None and _is_number(value) and value >= 0:
        # No score looks at the area of a crowd region, and COCO's own have others than their masks.
        if is_crowd or _is_about(value, enclosed_area(segmentation)):
            return float(value)
        # A thin outline, or parts that overlap, have more or fewer pixels.
        counted = mask_area(segmentation, hw)
        if _is_about(value, counted):
            return float(value)
        report[AREA_CONTRADICTS] += 1
        return counted
    if value is not None:
        report[AREA_REPLACED] += 1
    return mask_area(segmentation, hw)


def _is_about(area: float, expected: float) -> bool:
    return abs(area - expected) <= 1.0 or (
        expected <= _AREA_FACTOR * area and area <= _AREA_FACTOR * expected
    )


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
