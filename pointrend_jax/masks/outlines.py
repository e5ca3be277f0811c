"""Outlines of masks by marching squares on their probabilities, to a fraction of a pixel.

COCO's convention: the pixel (0, 0) covers [0, 1] x [0, 1], so its centre is (0.5, 0.5), and an
image of W pixels ends at x = W.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from jaxtyping import Float
from skimage.measure import find_contours

# Underscore: the polygons of one call differ in length.
Polygon = Float[np.ndarray, "_P 2"]

# The largest number below one half: a pixel of exactly one half belongs to the mask.
_LEVEL = float(np.nextafter(np.float32(0.5), np.float32(0)))
# Square pixels. What a mask that only just reaches the level leaves behind is no part of it.
_SMALLEST_PART = 0.01
_ROWS_AT_A_TIME = 256


def outlines(
    probs: Float[np.ndarray, "h w"],
    at: tuple[int, int],
    image_hw: tuple[int, int],
    *,
    tolerance: float,
) -> list[Polygon]:
    """Where the probability is one half: a polygon for each part of the mask, the largest first.

    A pixel's probability is taken for that of its centre, and is linear in between. So a pixel
    belongs to the mask if, and only if, its centre lies within a polygon (but for `tolerance`). A
    part that leaves the image is closed along the image's border. A hole is joined to the outline
    of its part by a slit of no width, since a polygon of COCO has no holes: whatever fills the
    polygon leaves the hole empty.

    Args:
      probs: of the pixels of a window of the image; those beyond it are 0.
      at: (x, y) of the window's first pixel.
      tolerance: pixels; points that lie this close to the line of the others are left out.
    Returns: (x, y) of the corners in pixels of the image, the last not the first again. Empty for
      an empty mask.
    Source: Lorensen and Cline, marching cubes, in two dimensions (scikit-image).
    """
    height, width = probs.shape
    # Beyond the image's border the mask goes on as at the border; what is drawn there is cut off.
    before = int(at[1] == 0), int(at[0] == 0)
    after = int(at[1] + height == image_hw[0]), int(at[0] + width == image_hw[1])
    field = np.pad(probs, tuple(zip(before, after, strict=True)), mode="edge")
    # A border of zeros closes all lines.
    lines = find_contours(np.pad(field, 1), _LEVEL, fully_connected="high")
    first_centre = np.asarray(at) - before[::-1] - 0.5
    rings = [line[:-1, ::-1] + first_centre for line in lines]
    areas = [_signed_area(ring) for ring in rings]
    parts = [[ring] for ring, area in zip(rings, areas, strict=True) if area > 0]
    parts.sort(key=lambda part: _signed_area(part[0]))
    # Lines round a hole run the other way.
    for hole in (ring for ring, area in zip(rings, areas, strict=True) if area < 0):
        next(part for part in parts if _is_inside(hole[0], part[0])).append(hole)
    border = np.asarray([image_hw[1], image_hw[0]])
    polygons = []
    for part in parts:
        cut = [_simplified(np.clip(ring, 0, border), tolerance) for ring in part]
        outer, *holes = cut
        if _signed_area(outer) >= _SMALLEST_PART:
            polygons.append(joined([outer, *(h for h in holes if _is_large(h))]))
    return sorted(polygons, key=_signed_area, reverse=True)


def joined(polygons: Sequence[Polygon]) -> Polygon:
    """One polygon of several, joined by slits of no width between their nearest corners.

    A slit is walked both ways, so it encloses nothing.
    """
    points = np.concatenate(polygons)
    ends = np.cumsum([len(polygon) for polygon in polygons])
    numbers = [list(range(end - len(p), end)) for p, end in zip(polygons, ends, strict=True)]
    order, added, left = numbers[0], numbers[0], numbers[1:]
    slits = [(np.inf, 0, 0)] * len(left)
    while left:
        slits = [
            min(slit, _shortest(points, added, other))
            for slit, other in zip(slits, left, strict=True)
        ]
        # The nearest first, so that no slit crosses a polygon that is still to come.
        nearest = min(range(len(left)), key=slits.__getitem__)
        (_, start, end), added = slits.pop(nearest), left.pop(nearest)
        turn, place = added.index(end), order.index(start) + 1
        order[place:place] = [*added[turn:], *added[:turn], end, start]
    return points[order]


def coco_polygons(polygons: Iterable[Polygon]) -> list[list[float]]:
    """As COCO's `segmentation` has them: lists x0, y0, x1, y1, ...; hundredths of a pixel."""
    return [np.round(polygon, 2).ravel().tolist() for polygon in polygons]


def _shortest(
    points: Float[np.ndarray, "N 2"], some: Sequence[int], others: Sequence[int]
) -> tuple[float, int, int]:
    """The squared distance of the nearest two points, and their numbers."""
    best = (np.inf, 0, 0)
    for start in range(0, len(some), _ROWS_AT_A_TIME):
        rows = some[start : start + _ROWS_AT_A_TIME]
        distances = ((points[rows, None] - points[others]) ** 2).sum(axis=-1)
        row, column = np.unravel_index(distances.argmin(), distances.shape)
        best = min(best, (float(distances[row, column]), rows[row], others[column]))
    return best


def _simplified(ring: Polygon, tolerance: float) -> Polygon:
    """Without the points that Douglas and Peucker's rule finds superfluous, at least three left."""
    corners = cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, closed=True)[:, 0]
    return corners.astype(np.float64) if len(corners) > 2 else ring


def _signed_area(ring: Polygon) -> float:
    """Square pixels; negative for the outline of a hole."""
    after = np.roll(ring, -1, axis=0)
    return float(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])) / 2


def _is_large(ring: Polygon) -> bool:
    return abs(_signed_area(ring)) >= _SMALLEST_PART


def _is_inside(point: Float[np.ndarray, "2"], ring: Polygon) -> bool:
    x, y = point.tolist()
    return cv2.pointPolygonTest(ring.astype(np.float32)[:, None], (x, y), False) >= 0
