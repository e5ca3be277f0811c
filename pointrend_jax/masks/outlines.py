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
# The rings of one part of a mask: its outline, then the holes in it, which run the other way.
Part = Sequence[Polygon]

# The largest number below one half: a pixel of exactly one half belongs to the mask.
_LEVEL = float(np.nextafter(np.float32(0.5), np.float32(0)))
# Square pixels. What a mask that only just reaches the level leaves behind is no part of it.
_SMALLEST_PART = 0.01


def rings(
    probs: Float[np.ndarray, "h w"],
    at: tuple[int, int],
    image_hw: tuple[int, int],
    *,
    tolerance: float,
) -> list[Part]:
    """Where the probability is one half: the parts of the mask, each its outline and its holes.

    A pixel's probability is taken for that of its centre, and is linear in between. So a pixel
    belongs to the mask if, and only if, its centre lies within a part (but for `tolerance`). A
    part that leaves the image is closed along the image's border.

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
    found = [line[:-1, ::-1] + first_centre for line in lines]
    # Lines round a hole run the other way. The smallest part around a hole comes first.
    parts = [[ring] for ring in sorted(found, key=_signed_area) if _signed_area(ring) > 0]
    borders = [_as_opencv(part[0]) for part in parts]
    for hole in (ring for ring in found if _signed_area(ring) < 0):
        parts[_first_around(borders, hole)].append(hole)
    farthest = np.asarray([image_hw[1], image_hw[0]])
    cut = [[_simplified(np.clip(ring, 0, farthest), tolerance) for ring in part] for part in parts]
    return [
        [outer, *(hole for hole in holes if _is_large(hole))]
        for outer, *holes in cut
        if _signed_area(outer) >= _SMALLEST_PART
    ]


def joined_parts(parts: Iterable[Part]) -> list[Polygon]:
    """A polygon for each part, the largest first, with each hole joined to the part's outline.

    A polygon of COCO has no holes. A slit of no width leads to each, so that whatever fills the
    polygon leaves the hole empty.
    """
    return sorted(map(joined, parts), key=_signed_area, reverse=True)


def area(part: Part) -> float:
    """Square pixels within a part, its holes not counted."""
    return sum(map(_signed_area, part))


def joined(polygons: Sequence[Polygon]) -> Polygon:
    """One polygon of several, each joined to those before it by a slit between near corners.

    A slit has no width and is walked both ways, so it encloses nothing, whatever it crosses.
    """
    whole, *others = polygons
    for other in others:
        start, end = _slit(whole, other)
        turned = np.roll(other, -end, axis=0)
        whole = np.concatenate([whole[: start + 1], turned, turned[:1], whole[start:]])
    return whole


def coco_polygons(polygons: Iterable[Polygon]) -> list[list[float]]:
    """As COCO's `segmentation` has them: lists x0, y0, x1, y1, ...; hundredths of a pixel."""
    return [np.round(polygon, 2).ravel().tolist() for polygon in polygons]


def _slit(whole: Polygon, other: Polygon) -> tuple[int, int]:
    """Corners of the two, none of which has a nearer one in the other polygon.

    The nearest of all pairs would take the product of both lengths, which masks of noise make huge.
    """
    end, shortest = 0, np.inf
    while True:
        start, _ = _nearest(whole, other[end])
        nearer, distance = _nearest(other, whole[start])
        if distance >= shortest:
            return start, end
        end, shortest = nearer, distance


def _nearest(polygon: Polygon, point: Float[np.ndarray, "2"]) -> tuple[int, float]:
    """The corner nearest to a point, and its squared distance."""
    distances = ((polygon - point) ** 2).sum(axis=1)
    index = int(distances.argmin())
    return index, float(distances[index])


def _simplified(ring: Polygon, tolerance: float) -> Polygon:
    """Without the points that Douglas and Peucker's rule finds superfluous, at least three left."""
    corners = cv2.approxPolyDP(_as_opencv(ring), tolerance, closed=True)[:, 0]
    return corners.astype(np.float64) if len(corners) > 2 else ring


def _signed_area(ring: Polygon) -> float:
    """Square pixels; negative for the outline of a hole."""
    after = np.roll(ring, -1, axis=0)
    return float(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])) / 2


def _is_large(ring: Polygon) -> bool:
    return abs(_signed_area(ring)) >= _SMALLEST_PART


def _first_around(borders: Sequence[np.ndarray], hole: Polygon) -> int:
    """The first border that a hole lies in."""
    point = (float(hole[0, 0]), float(hole[0, 1]))
    for i, border in enumerate(borders):
        if cv2.pointPolygonTest(border, point, False) >= 0:
            return i
    # Where the two touch, rounding may put the point outside: then the border it is least outside.
    return int(np.argmax([cv2.pointPolygonTest(border, point, True) for border in borders]))


def _as_opencv(ring: Polygon) -> Float[np.ndarray, "P 1 2"]:
    return ring.astype(np.float32)[:, None]
