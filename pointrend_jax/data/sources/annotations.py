"""One annotation of a COCO file: what is wrong with it, and the object that it becomes.

An annotation that cannot be an object is skipped for a reason that is counted; one whose fields
contradict each other, or are written in another way that can be read, is kept, and that is counted
too. The reasons are the constants here and in `annotation_masks.py`. What makes the whole file
unusable is found in `coco.py`.
"""

from collections import Counter
from typing import Any, NamedTuple

from pointrend_jax.data.sources.annotation_masks import SkipError, is_number, parse_segmentation
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
    mask_area,
    outline_box,
    pixel_box,
)

NO_AREA = "skipped: neither box nor outline has an area inside the image"
NO_LABELLED_POINT = "skipped: neither a mask nor a labelled point in the image"
POINTS_WITHOUT_BOX = "skipped: labelled points, but neither a mask nor a box"
BAD_CROWD = "skipped: iscrowd is neither 0 nor 1"
BAD_BOX = "kept: box was not four finite numbers, taken from the mask"
ZERO_AREA_BOX = "kept: box had no area, taken from the mask"
BOX_OUTSIDE = "kept: box was outside the image, taken from the mask"
BOX_ELSEWHERE = "kept: box was another than the mask's by more than half, taken from the mask"
BOX_CLIPPED = "kept: box reached out of the image by more than a pixel, clipped"
AREA_REPLACED = "kept: area was no number of at least 0, taken from the mask"
AREA_CONTRADICTS = "kept: area was over 4 times or under a quarter of the mask's, taken from it"

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
            raise SkipError(BAD_CROWD)
        segmentation: Segmentation = []
        if annotation.get("segmentation") in (None, [], {}) and has_points(annotation):
            bbox, box = _box_alone(annotation.get("bbox"), hw, report)
        else:
            segmentation = parse_segmentation(annotation.get("segmentation"), hw, report)
            bbox, box = _boxes(annotation.get("bbox"), segmentation, hw, report)
        points = parse_points(annotation, box, hw, report)
        if points is None:
            raise SkipError(BAD_POINTS)
        if not segmentation and all(point.label == -1 for point in points):
            raise SkipError(NO_LABELLED_POINT)
    except SkipError as skip:
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
        return parse_segmentation(value, hw, Counter())
    except SkipError as skip:
        raise ValueError(str(skip).removeprefix("skipped: ")) from skip


def _box_alone(value: Any, hw: tuple[int, int], report: Counter) -> tuple[Box, Box]:
    """`_boxes` of an object without a mask, which has what the file says or is none."""
    is_box = isinstance(value, list) and len(value) == 4 and all(map(is_number, value))
    x, y, width, height = map(float, value) if is_box else (0.0, 0.0, 0.0, 0.0)
    clipped = _clip((x, y, x + width, y + height), hw)
    if width <= 0 or height <= 0 or clipped is None:
        raise SkipError(POINTS_WITHOUT_BOX)
    if max(abs(c - b) for c, b in zip(_xywh(clipped), (x, y, width, height), strict=True)) > 1.0:
        report[BOX_CLIPPED] += 1
    return (x, y, width, height), clipped


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
        raise SkipError(NO_AREA)
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
    if not (isinstance(value, list) and len(value) == 4 and all(map(is_number, value))):
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
    if value is not None and is_number(value) and value >= 0:
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
