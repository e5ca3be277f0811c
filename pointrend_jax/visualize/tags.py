"""Where the names of objects stand: beside their object, or led away from it, and on none.

A name is placed where it hides least of all objects together. What it hides is counted in shares of
objects, so that a small one weighs as much as a large one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from pointrend_jax.visualize.drawing import Window, bounds
from pointrend_jax.visualize.fonts import typeface

_SIZES = (1.0, 0.8, 0.65)  # of the text that a picture of this size has
_LEAST_TEXT, _MOST_TEXT = 9, 64  # px
# px; what names hide is counted on a map whose longer side is at most this.
_MAP_SIDE = 800
# A name that would hide more than this, in shares of objects added up, is led away or left out.
_MOST_HIDDEN = 0.3
# What else counts against a place, in shares of an object: a smaller text, by its lost size; a
# leader line, and its length in heights of the text; a line that crosses another name's.
_SMALLER, _LED, _LENGTH, _CROSSING = 0.4, 0.12, 0.015, 0.2
# In heights of the text: a name that is farther from its object has a leader line.
_NEAR = 0.6
_MOST_ENDS = 200  # points of an outline that are looked at
# Led names stand in these distances, in heights of the text, and in so many directions.
_DISTANCES = (1.0, 2.0, 3.5, 5.5, 8.0, 12.0, 17.0, 23.0)
_DIRECTIONS = 16
_BESIDE = 16  # places beside an object
_ON_A_LINE = np.linspace(0, 1, 16)[:, None]


class Tag(NamedTuple):
    """A name and where it stands, in pixels of the picture.

    Attributes:
      box: xyxy, of the coloured ground. size: of the text.
      leader: [2, 2], (x, y) from the name to its object's outline; None for a name beside it.
    """

    text: str
    box: Window
    size: int
    leader: Float[np.ndarray, "2 2"] | None


def place_tags(
    objects: Mapping[int, Sequence[np.ndarray]],
    boxes: Mapping[int, Window],
    texts: Mapping[int, str],
    hw: tuple[int, int],
    font: Path | None,
) -> dict[int, Tag]:
    """A tag for each object that has room for one, by its number; the smallest choose first.

    Args:
      objects: the rings of each, in pixels of the picture.
      boxes: of the objects that are drawn with one.
      texts: of the objects that have a ring or a box.
      hw: height and width of the picture.
    """
    room = _Room(list(objects.values()), hw)
    base = np.clip(max(hw) / 58, 12, _MOST_TEXT)
    sizes = sorted({max(round(base * s), _LEAST_TEXT) for s in _SIZES}, reverse=True)
    extents = {i: boxes[i] if i in boxes else bounds(objects[i]) for i in texts}
    tags = {}
    for i in sorted(texts, key=lambda i: _area(extents[i])):
        outline = [*objects[i], *([_around(boxes[i])] if i in boxes else [])]
        ends = np.concatenate(outline)
        ends = ends[:: len(ends) // _MOST_ENDS + 1]
        tag = room.place(texts[i], sizes, extents[i], ends, font)
        if tag is not None:
            tags[i] = tag
    return tags


class _Room:
    """What of a picture is still free of objects, names and leader lines."""

    def __init__(self, objects: Sequence[Sequence[np.ndarray]], hw: tuple[int, int]) -> None:
        self._hw = hw
        self._scale = min(_MAP_SIDE / max(hw), 1.0)
        self._sums = _sums_of_shares(objects, hw, self._scale)
        self._boxes = np.zeros((0, 4))
        self._lines = np.zeros((0, 2))

    def place(
        self,
        text: str,
        sizes: Sequence[int],
        extent: Window,
        ends: Float[np.ndarray, "P 2"],
        font: Path | None,
    ) -> Tag | None:
        """The best place for a text, which is taken; None if all hide too much."""
        found = [self._places(text, size, extent, font) for size in sizes]
        boxes = np.concatenate(found)
        text_sizes = np.repeat(sizes, [len(places) for places in found])
        # The places beside an object come first and are in the order of preference.
        costs = np.concatenate([0.01 * np.minimum(np.arange(len(f)), _BESIDE) for f in found])
        hidden = self._hidden(boxes)
        costs += hidden + _SMALLER * (1 - text_sizes / sizes[0])
        allowed = (hidden <= _MOST_HIDDEN) & ~_overlap(boxes, self._boxes).any(axis=1)
        if not allowed.any():
            return None
        boxes, text_sizes, costs = boxes[allowed], text_sizes[allowed], costs[allowed]
        gaps = _gaps(boxes, ends) / (boxes[:, 3] - boxes[:, 1])
        led = gaps > _NEAR
        costs += led * (_LED + _LENGTH * gaps)
        costs += _CROSSING * self._crossings(boxes, led, extent)
        best = int(costs.argmin())
        leader = _leader(boxes[best], ends) if led[best] else None
        self._boxes = np.concatenate([self._boxes, boxes[best][None]])
        if leader is not None:
            on_it = leader[0] + (leader[1] - leader[0]) * _ON_A_LINE
            self._lines = np.concatenate([self._lines, on_it])
        x0, y0, x1, y1 = boxes[best].tolist()
        return Tag(text, (x0, y0, x1, y1), int(text_sizes[best]), leader)

    def _crossings(
        self, boxes: Float[np.ndarray, "n 4"], led: Bool[np.ndarray, " n"], extent: Window
    ) -> Int[np.ndarray, " n"]:
        """How often a box would stand on a leader line, and its own line pass below a name.

        Its own line is taken to lead to the middle of the extent.
        """
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        middle = np.asarray([(extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2])
        lines = centres[:, None] + (middle - centres)[:, None] * _ON_A_LINE
        below = _within(lines.reshape(-1, 2), self._boxes).any(axis=1)
        passes = led & below.reshape(len(boxes), len(_ON_A_LINE)).any(axis=1)
        return passes.astype(int) + _within(self._lines, boxes).any(axis=0)

    def _places(
        self, text: str, size: int, extent: Window, font: Path | None
    ) -> Float[np.ndarray, "n 4"]:
        """Boxes for the text that lie within the picture, beside the extent first."""
        width = typeface(text, size, font).getlength(text) + 0.7 * size
        height = 1.35 * size
        limits = np.maximum(np.asarray([self._hw[1] - width, self._hw[0] - height]), 0)
        # Beside an object at the border there is room within the picture.
        beside = np.clip(_beside(extent, width, height), 0, limits)
        away = _away(extent, width, height)
        away = away[((away >= 0) & (away <= limits)).all(axis=1)]
        corners = np.concatenate([beside, away])
        return np.concatenate([corners, corners + np.asarray((width, height))], axis=1)

    def _hidden(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
        """The shares of objects that lie below each box, added up."""
        height, width = self._sums.shape
        x0, y0 = np.floor(boxes[:, :2].T * self._scale).astype(int)
        x1, y1 = np.ceil(boxes[:, 2:].T * self._scale).astype(int)
        x0, x1 = np.clip(x0, 0, width - 1), np.clip(x1, 0, width - 1)
        y0, y1 = np.clip(y0, 0, height - 1), np.clip(y1, 0, height - 1)
        sums = self._sums
        return sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]


def _sums_of_shares(
    objects: Sequence[Sequence[np.ndarray]], hw: tuple[int, int], scale: float
) -> Float[np.ndarray, "h w"]:
    """Summed over all pixels above and left: which share of its objects a pixel is."""
    size = max(int(np.ceil(hw[0] * scale)), 1), max(int(np.ceil(hw[1] * scale)), 1)
    shares = np.zeros(size, np.float32)
    for rings in objects:
        if not rings:
            continue
        covered = np.zeros(size, np.uint8)
        # Pixels that a ring only touches count as well, so that the smallest object has one.
        cv2.fillPoly(covered, [np.floor(ring * scale).astype(np.int32) for ring in rings], 1)
        if number := int(covered.sum()):
            shares += covered * np.float32(1 / number)
    return np.pad(shares.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))


def _beside(extent: Window, width: float, height: float) -> Float[np.ndarray, "n 2"]:
    """Top left corners above, below, left and right of an extent and in its corners; best first."""
    x0, y0, x1, y1 = extent
    right, bottom, centre = x1 - width, y1 - height, (x0 + x1 - width) / 2
    above, below, middle = y0 - height, y1, (y0 + y1 - height) / 2
    return np.asarray([
        (x0, above), (right, above), (centre, above), (x0, below), (right, below), (centre, below),
        (x0 - width, y0), (x1, y0), (x0 - width, middle), (x1, middle),
        (x0 - width, bottom), (x1, bottom),
        (x0, y0), (right, y0), (x0, bottom), (right, bottom),
    ])  # fmt: skip


def _away(extent: Window, width: float, height: float) -> Float[np.ndarray, "n 2"]:
    """Top left corners around an extent, at several distances."""
    x0, y0, x1, y1 = extent
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    half = np.asarray([(x1 - x0 + width) / 2, (y1 - y0 + height) / 2])
    first = np.asarray([(x0 + x1 - width) / 2, (y0 + y1 - height) / 2])
    return np.concatenate([first + around * (half + d * height) for d in _DISTANCES])


def _gaps(
    boxes: Float[np.ndarray, "n 4"], ends: Float[np.ndarray, "P 2"]
) -> Float[np.ndarray, " n"]:
    """The distance of each box to the nearest of the points."""
    nearest = np.clip(ends, boxes[:, None, :2], boxes[:, None, 2:])
    return np.sqrt(((nearest - ends) ** 2).sum(axis=-1).min(axis=1))


def _leader(
    box: Float[np.ndarray, "4"], ends: Float[np.ndarray, "P 2"]
) -> Float[np.ndarray, "2 2"]:
    """The shortest line from a box to one of the points."""
    starts = np.clip(ends, box[:2], box[2:])
    nearest = int(((ends - starts) ** 2).sum(axis=1).argmin())
    return np.stack([starts[nearest], ends[nearest]])


def _overlap(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]
) -> Bool[np.ndarray, "n m"]:
    first, second = boxes[:, None], others[None]
    begins = (first[..., :2] < second[..., 2:]) & (second[..., :2] < first[..., 2:])
    return np.asarray(begins.all(axis=-1))


def _within(
    points: Float[np.ndarray, "p 2"], boxes: Float[np.ndarray, "n 4"]
) -> Bool[np.ndarray, "p n"]:
    inside = (points[:, None] >= boxes[None, :, :2]) & (points[:, None] <= boxes[None, :, 2:])
    return np.asarray(inside.all(axis=-1))


def _around(box: Window) -> Float[np.ndarray, "P 2"]:
    """Points along the sides of a box."""
    (x0, y0), (x1, y1) = box[:2], box[2:]
    xs, ys = np.linspace(x0, x1, 16), np.linspace(y0, y1, 16)
    sides = [np.stack(np.broadcast_arrays(x, y), axis=-1)
             for x, y in ((xs, y0), (xs, y1), (x0, ys), (x1, ys))]  # fmt: skip
    return np.concatenate(sides)


def _area(window: Window) -> float:
    return (window[2] - window[0]) * (window[3] - window[1])
