"""Panels of one window of an image, which the pictures of a rendering are made of.

A figure knows the rectangle that masks or label maps are spread over: the box of an object, or the
whole image. Everything that it draws lies on the same pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb, Window

_ZOOM = 0.3  # side of the zoomed square, of the rectangle's longer side
_BEYOND = 0.1  # of the zoomed square, may lie outside the rectangle
_POINT_COLOR = drawing.COLORS[1]
# Of a point: its radius in cells of its step and in pixels, and how much it covers.
_RADIUS, _LEAST_RADIUS, _MOST_RADIUS, _OPACITY = 0.22, 0.5, 4.0, 0.75


class Figure:
    """Panels of one window of an image, and of what is spread over a rectangle of it.

    Attributes:
      box: the rectangle, xyxy in pixels of the image.
    """

    def __init__(self, image: Rgb, box: Window, window: Window, longer_side: int) -> None:
        self.box = box
        self._image = image
        self._window = window
        width, height = window[2] - window[0], window[3] - window[1]
        self._scale = longer_side / max(width, height)
        self._size = (max(round(width * self._scale), 1), max(round(height * self._scale), 1))

    def photo(self) -> Rgb:
        height, width = self._image.shape[:2]
        return drawing.resample(
            self._image,
            (0.0, 0.0, float(width), float(height)),
            self._window,
            self._size,
            interpolation=cv2.INTER_CUBIC,
            outside=drawing.OUTSIDE,
        )

    def spread(self, samples: np.ndarray) -> Rgb:
        """Colours [h, w, 3]: every sample a square where they are few, averaged where many."""
        few = self._cell(samples.shape[1]) >= 1
        return drawing.resample(
            samples.astype(np.uint8),
            self.box,
            self._window,
            self._size,
            interpolation=cv2.INTER_NEAREST if few else cv2.INTER_LINEAR,
            outside=drawing.OUTSIDE,
        )

    def field(self, values: np.ndarray) -> np.ndarray:
        """Numbers [h, w] between samples, 0 outside."""
        return drawing.resample(
            values.astype(np.float32), self.box, self._window, self._size, outside=0.0
        )

    def brightest(self, values: np.ndarray) -> np.ndarray:
        """Numbers [h, w], of which the largest is kept where a pixel has many of them."""
        shrink = max(int(1 / self._cell(values.shape[1])), 1)
        return cv2.dilate(values.astype(np.float32), np.ones((shrink, shrink), np.uint8))

    def frame(self, panel: Rgb, window: Window, color: drawing.Color = drawing.PAPER) -> None:
        """Draws a rectangle of the image onto a panel."""
        x0, y0, x1, y1 = self.to_panel(np.asarray(window).reshape(2, 2)).ravel().tolist()
        drawing.draw_box(panel, (x0, y0, x1, y1), color, 1)

    def dotted(self, panel: Rgb, point_coords: np.ndarray, columns: int) -> Rgb:
        """The panel with translucent points.

        Args:
          point_coords: [P, 2], (x, y) in [0, 1] of the rectangle.
          columns: cells that the step of the points has along x.
        """
        x0, y0, x1, y1 = self.box
        points = np.asarray(point_coords) * (x1 - x0, y1 - y0) + (x0, y0)
        radius = float(np.clip(_RADIUS * self._cell(columns), _LEAST_RADIUS, _MOST_RADIUS))
        dotted = panel.copy()
        drawing.draw_dots(dotted, self.to_panel(points), radius, _POINT_COLOR)
        return np.asarray(cv2.addWeighted(dotted, _OPACITY, panel, 1 - _OPACITY, 0), np.uint8)

    def to_panel(self, points: np.ndarray) -> np.ndarray:
        """Points of the image in pixels of the panel."""
        x0, y0, x1, y1 = self._window
        return (points - (x0, y0)) * (self._size[0] / (x1 - x0), self._size[1] / (y1 - y0))

    def _cell(self, columns: int) -> float:
        """How many pixels of the panel a cell has of those that fill the rectangle."""
        return (self.box[2] - self.box[0]) / columns * self._scale


def changed_window(box: Window, changed: np.ndarray, point_coords: np.ndarray) -> Window:
    """The square in the rectangle that has most changed pixels, or else most points.

    Args:
      changed: [h, w], whether rendering changed a pixel.
      point_coords: [P, 2] in [0, 1] of the rectangle, which decide where nothing changed.
    """
    x0, y0, x1, y1 = box
    side = _ZOOM * max(x1 - x0, y1 - y0)
    counted = changed.astype(np.float32)
    rows, columns = counted.shape
    if not counted.any():
        for x, y in np.asarray(point_coords):
            counted[min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)] = 1
    # In cells, of which a box that is not square has more along one side of the window.
    window = [max(round(side / length * cells), 1) for length, cells in
              ((x1 - x0, columns), (y1 - y0, rows))]  # fmt: skip
    sums = cv2.boxFilter(
        counted, -1, (window[0], window[1]), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    row, column = np.unravel_index(int(np.asarray(sums).argmax()), sums.shape)
    x = x0 + (float(column) + 0.5) / columns * (x1 - x0)
    y = y0 + (float(row) + 0.5) / rows * (y1 - y0)
    return centred(_within(x, x0, x1, side), _within(y, y0, y1, side), side, side)


def most_points(steps: Sequence[np.ndarray], box: Window, window: Window) -> tuple[int, int]:
    """Which step has most points in the window, the last of those that have as many; how many.

    Args:
      steps: the points of each, [P, 2] in [0, 1] of the rectangle `box`.
    """
    x0, y0, x1, y1 = box
    low, high = (
        (np.asarray(corner) - (x0, y0)) / (x1 - x0, y1 - y0) for corner in (window[:2], window[2:])
    )
    numbers = [int(((p >= low) & (p <= high)).all(axis=-1).sum()) for p in steps]
    most = max(range(len(numbers)), key=lambda i: (numbers[i], i))
    return most, numbers[most]


def centred(x: float, y: float, width: float, height: float) -> Window:
    """The window of that size around a point."""
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _within(centre: float, low: float, high: float, side: float) -> float:
    """The centre moved so that a window hardly leaves low..high; in the middle if it is wider."""
    reach = (0.5 - _BEYOND) * side
    if high - low < 2 * reach:
        return (low + high) / 2
    return float(np.clip(centre, low + reach, high - reach))
