"""The mask of one annotation of a COCO file: polygons or run lengths, as they are written.

What cannot be a mask is a reason to skip the object; what is written in another way that can be
read is counted. The reasons are the constants here.
"""

import math
from collections import Counter
from itertools import chain
from typing import Any

from pointrend_jax.masks.polygons import Segmentation, is_longer_than
from pointrend_jax.masks.rle import rle_area
from pointrend_jax.masks.runs import encode_runs, run_lengths

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
PART_DROPPED = "kept: without a polygon part of fewer than three points"
POLYGON_REREAD = "kept: polygon was not in a list of polygons or was a list of points, read so"
RUNS_REREAD = "kept: RLE run lengths were whole numbers with a decimal point, read so"

# Beyond any pixel and any area of one; exact in float64, unlike what JSON can hold.
_LARGEST = 2**53
# Rasterising walks along every outline, so a stray number or a scribble would cost hours or GiB.
_FURTHEST = 10
_LONGEST = 2**21


class SkipError(Exception):
    """Raised with a reason when an annotation cannot be used."""


def parse_segmentation(value: Any, hw: tuple[int, int], report: Counter) -> Segmentation:
    """Polygons in pixels, or compressed RLE of the image's size.

    Raises: SkipError with a reason if there is no mask that can be read.
    """
    if value in (None, [], {}):
        raise SkipError(NO_SEGMENTATION)
    if isinstance(value, dict):
        return _parse_rle(value, hw, report)
    if not isinstance(value, list):
        raise SkipError(BAD_SEGMENTATION)
    parts = _list_of_polygons(value)
    if not all(isinstance(part, list) for part in parts):
        raise SkipError(BAD_SEGMENTATION)
    if not all(map(_are_numbers, parts)):
        raise SkipError(BAD_NUMBERS)
    # An odd number of values is an incomplete point: Detectron2 drops such a part too.
    polygons = [part for part in parts if len(part) >= 6 and len(part) % 2 == 0]
    if not polygons:
        raise SkipError(FEW_POINTS)
    furthest = _FURTHEST * max(hw)
    if any(max(part) > furthest or min(part) < -furthest for part in polygons):
        raise SkipError(POLYGON_FAR_OUTSIDE)
    # Along every pixel's two edges, or a hundred times along the longer side.
    if is_longer_than(polygons, min(2 * hw[0] * hw[1] + 10 * furthest, _LONGEST)):
        raise SkipError(OUTLINE_TOO_LONG)
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
        raise SkipError(WRONG_RLE_SIZE)
    runs = run_lengths(counts)
    if runs is None:
        raise SkipError(BAD_COUNTS)
    if sum(runs) != hw[0] * hw[1]:
        raise SkipError(BAD_RLE)
    if isinstance(counts, str):
        segmentation = {"size": list(hw), "counts": counts}
    else:
        segmentation = encode_runs(runs, hw)
    if rle_area(segmentation) == 0:
        raise SkipError(EMPTY_MASK)
    if isinstance(counts, list) and float in map(type, counts):
        report[RUNS_REREAD] += 1
    return segmentation


def is_number(value: Any) -> bool:
    """Whether it is a finite number, of a size that some image could have."""
    # Comparing is safe for what JSON can hold: NaN, Infinity and integers beyond any float.
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def _are_numbers(values: list) -> bool:
    """`is_number` of all, as fast as millions of coordinates need."""
    if not values:
        return True
    if not {int, float}.issuperset(map(type, values)):
        return False
    in_range = min(values) >= -_LARGEST and max(values) <= _LARGEST
    # A NaN may hide from min and max, not from a sum.
    return in_range and not math.isnan(sum(values))
