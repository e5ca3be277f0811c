"""True masks made worse in the ways in which tools make them, to train and to judge a refiner.

Low resolutions are those of Mask R-CNN's masks (28 x 28 cells of the object's box) and of heads
that predict the whole image at once (108 x 108 cells of it); polygons have the few corners that
people click. The others are what outlines drawn in a hurry, other cameras' masks and boxes are.
"""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

# Cells a side.
_OF_BOX, _OF_IMAGE = 28, 108


def degrade(
    mask: Bool[np.ndarray, "H W"], kind: str, rng: np.random.Generator
) -> Bool[np.ndarray, "H W"]:
    """A worse mask; the mask itself where nothing would be left of it.

    Args:
      mask: of an image, with at least one pixel.
      kind: of `KINDS`. How much is lost is drawn from `rng`, in proportion to the object.
    """
    worse = _HOW[kind](mask.view(np.uint8), rng) > 0
    return worse if worse.any() else mask


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """xyxy of the pixels of a mask, which has some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


Pixels = UInt8[np.ndarray, "H W"]


def _as_it_is(mask: Pixels, rng: np.random.Generator) -> Pixels:
    del rng
    return mask


def _cells_of_box(mask: Pixels, rng: np.random.Generator) -> Pixels:
    del rng
    x0, y0, x1, y1 = box_of(mask)
    worse = np.zeros(mask.shape, np.uint8)
    worse[y0:y1, x0:x1] = _through_cells(mask[y0:y1, x0:x1], _OF_BOX)
    return worse


def _cells_of_image(mask: Pixels, rng: np.random.Generator) -> Pixels:
    del rng
    return _through_cells(mask, _OF_IMAGE)


def _through_cells(mask: Pixels, side: int) -> Pixels:
    """To side x side shares of cells and back to pixels, halved there, as masks are pasted."""
    height, width = mask.shape
    probs = mask.astype(np.float32)
    # Along an axis with fewer pixels than cells a tool has no more to tell.
    shrunk = cv2.resize(probs, (min(side, width), min(side, height)), interpolation=cv2.INTER_AREA)
    back = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
    return (back >= 0.5).astype(np.uint8)


def _few_corners(mask: Pixels, rng: np.random.Generator) -> Pixels:
    tolerance = rng.uniform(0.01, 0.03)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = [cv2.approxPolyDP(o, tolerance * cv2.arcLength(o, True), True) for o in outlines]
    worse = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(worse, corners, 1)
    return worse


def _wider(mask: Pixels, rng: np.random.Generator) -> Pixels:
    return cv2.dilate(mask, _disc(_some_pixels(mask, rng)))


def _narrower(mask: Pixels, rng: np.random.Generator) -> Pixels:
    # Beyond the image the object goes on.
    return cv2.erode(mask, _disc(_some_pixels(mask, rng)))


def _shifted(mask: Pixels, rng: np.random.Generator) -> Pixels:
    angle, far = rng.uniform(0, 2 * np.pi), 1.5 * _some_pixels(mask, rng)
    by = np.asarray([[1, 0, round(far * np.cos(angle))], [0, 1, round(far * np.sin(angle))]])
    height, width = mask.shape
    return cv2.warpAffine(mask, by.astype(np.float32), (width, height), flags=cv2.INTER_NEAREST)


def _without_part(mask: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut along a line, which leaves most of it, or without a disc at its outline."""
    rows, columns = np.nonzero(mask)
    worse = mask.copy()
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        lost = along > np.quantile(along, rng.uniform(0.75, 0.95))
        worse[rows[lost], columns[lost]] = 0
        return worse
    centre = rng.integers(len(rows))
    radius = rng.uniform(0.1, 0.25) * np.sqrt(len(rows))
    cv2.circle(worse, (int(columns[centre]), int(rows[centre])), max(round(radius), 1), 0, -1)
    return worse


def _box(mask: Pixels, rng: np.random.Generator) -> Pixels:
    del rng
    x0, y0, x1, y1 = box_of(mask)
    worse = np.zeros(mask.shape, np.uint8)
    worse[y0:y1, x0:x1] = 1
    return worse


def _some_pixels(mask: Pixels, rng: np.random.Generator) -> float:
    """1 to 5 % of the side of a square of the object's area, at least one pixel."""
    return max(rng.uniform(0.01, 0.05) * float(np.sqrt(np.count_nonzero(mask))), 1.0)


def _disc(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


_HOW: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "true": _as_it_is,
    "28x28 of the box": _cells_of_box,
    "108x108 of the image": _cells_of_image,
    "polygon": _few_corners,
    "dilated": _wider,
    "eroded": _narrower,
    "shifted": _shifted,
    "part lost": _without_part,
    "box": _box,
}
KINDS = tuple(_HOW)
