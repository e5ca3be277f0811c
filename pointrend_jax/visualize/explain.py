"""How one mask is rendered, as figures 2 and 5 of the PointRend paper show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb
from pointrend_jax.visualize.shapes import Mask, Shape, shape_of

_COARSE_COLOR = drawing.COLORS[1]
_RENDERED_COLOR = drawing.COLORS[0]
_TRUTH_COLOR = drawing.COLORS[2]
_POINT_COLOR = drawing.COLORS[1]
_PANEL = 200  # px, longer side of the panels that show the whole box
_MARGIN = 0.12  # around the box, of its longer side
_LEAST_ASPECT = 0.6  # of the window: thin boxes get more surroundings
_ZOOM = 0.3  # side of the zoomed square, of the box's longer side
_BEYOND = 0.1  # of the zoomed square, may lie outside the box
# Of a point: its radius in cells of its step and in pixels, and how much it covers.
_RADIUS, _LEAST_RADIUS, _MOST_RADIUS, _OPACITY = 0.22, 0.5, 4.0, 0.75


@runtime_checkable
class RenderingStep(Protocol):
    """What a picture needs of a subdivision step, in the frame of the box.

    mask_probs [S, S] after the step; uncertainty [S, S] by which and point_coords [P, 2] in [0, 1]
    where it predicted.
    """

    @property
    def mask_probs(self) -> np.ndarray: ...
    @property
    def uncertainty(self) -> np.ndarray: ...
    @property
    def point_coords(self) -> np.ndarray: ...


def explain_picture(
    image: Rgb,
    box: Float[np.ndarray, "4"],
    coarse_probs: Float[np.ndarray, "m m"],
    steps: Sequence[RenderingStep],
    label: str,
    *,
    truth: Mask | None = None,
    font: Path | None = None,
) -> Rgb:
    """How one mask is rendered: first row, the whole box; second row, where it changed most.

    Args:
      box: xyxy in pixels of `image`.
      coarse_probs: the coarse mask, in the frame of the box.
      steps: from the first to the full resolution, at least one.
      truth: the object's true mask, which is shown beside the others; None where nobody knows it.
      font: as of `OverlayStyle`.
    Raises: ValueError if the box is empty or there is no step.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (x1 > x0 and y1 > y0) or not steps:
        raise ValueError(
            f"explain_picture needs a box of positive size and at least one step, got "
            f"{[x0, y0, x1, y1]} and {len(steps)} steps."
        )
    whole = _Figure(image, (x0, y0, x1, y1), _window_around((x0, y0, x1, y1)), _PANEL)
    zoomed = _changed_window(whole.box, coarse_probs, steps[-1])
    first = _whole_row(whole, zoomed, coarse_probs, steps, label, font)
    number = 4 + (truth is not None)
    side = (first.shape[1] - (number - 1) * drawing.GAP) // number
    zoom = _Figure(image, whole.box, zoomed, side)
    second = _zoomed_row(zoom, coarse_probs, steps[-1], truth)
    return drawing.framed(drawing.column([first, second], drawing.GAP))


class _Figure:
    """Panels of one window of an image, and of masks in the frame of `box`, on the same pixels."""

    def __init__(
        self, image: Rgb, box: drawing.Window, window: drawing.Window, longer_side: int
    ) -> None:
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

    def frame(self, panel: Rgb, window: drawing.Window) -> None:
        """Draws a rectangle of the image onto a panel."""
        x0, y0, x1, y1 = self._to_panel(np.asarray(window).reshape(2, 2)).ravel().tolist()
        drawing.draw_box(panel, (x0, y0, x1, y1), drawing.PAPER, 1)

    def mask(self, probs: np.ndarray) -> Rgb:
        """Probabilities as grey, every sample a square."""
        return self._in_box(np.rint(np.clip(probs, 0, 1) * 255)[..., None].repeat(3, axis=2))

    def step(self, step: RenderingStep, line: int) -> Rgb:
        """The mask after a step, and on it the step's points, translucent and below the outline."""
        panel = self.mask(step.mask_probs)
        x0, y0, x1, y1 = self.box
        points = np.asarray(step.point_coords) * (x1 - x0, y1 - y0) + (x0, y0)
        cell = (x1 - x0) / step.mask_probs.shape[1] * self._scale
        radius = float(np.clip(_RADIUS * cell, _LEAST_RADIUS, _MOST_RADIUS))
        dotted = panel.copy()
        drawing.draw_dots(dotted, self._to_panel(points), radius, _POINT_COLOR)
        panel = cv2.addWeighted(dotted, _OPACITY, panel, 1 - _OPACITY, 0)
        self._outline(panel, step.mask_probs, _RENDERED_COLOR, line, halo=False)
        return np.asarray(panel, np.uint8)

    def uncertainty(self, uncertainty: np.ndarray) -> Rgb:
        """Bright where uncertain. Logits are squashed: beyond a few units they are all sure."""
        brightness = np.rint(255 * np.exp(np.minimum(uncertainty, 0) / 2)).astype(np.uint8)
        colored = cv2.applyColorMap(brightness, cv2.COLORMAP_INFERNO)
        return self._in_box(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB))

    def outlined(self, probs: np.ndarray, color: drawing.Color, width: int) -> Rgb:
        """The photo with the outline of a mask, resampled as it is when it is pasted."""
        panel = self.photo()
        self._outline(panel, probs, color, width, halo=True)
        return panel

    def true(self, truth: Mask, width: int) -> Rgb:
        """The photo with the outline of a mask of the whole image."""
        panel = self.photo()
        rings = [self._to_panel(ring) for part in self._shape(truth) for ring in part]
        drawing.draw_rings(panel, rings, drawing.INK, width + 2)
        drawing.draw_rings(panel, rings, _TRUTH_COLOR, width)
        return panel

    def _shape(self, mask: Mask) -> Shape:
        return shape_of(mask, (self._image.shape[0], self._image.shape[1]))

    def _outline(
        self, panel: Rgb, probs: np.ndarray, color: drawing.Color, width: int, *, halo: bool
    ) -> None:
        field = drawing.resample(probs.astype(np.float32), self.box, self._window, self._size)
        drawing.draw_outline(panel, field, color, width=width, halo=halo)

    def _in_box(self, samples: np.ndarray) -> Rgb:
        return drawing.resample(
            samples.astype(np.uint8),
            self.box,
            self._window,
            self._size,
            interpolation=cv2.INTER_NEAREST,
            outside=drawing.OUTSIDE,
        )

    def _to_panel(self, points: np.ndarray) -> np.ndarray:
        x0, y0, x1, y1 = self._window
        return (points - (x0, y0)) * (self._size[0] / (x1 - x0), self._size[1] / (y1 - y0))


def _whole_row(
    figure: _Figure,
    zoomed: drawing.Window,
    coarse_probs: np.ndarray,
    steps: Sequence[RenderingStep],
    label: str,
    font: Path | None,
) -> Rgb:
    photo = figure.photo()
    figure.frame(photo, figure.box)
    panels = [(photo, label), (figure.mask(coarse_probs), f"coarse, {_size(coarse_probs)}")]
    for step in steps:
        number = len(step.point_coords)
        points = "all points" if number == step.mask_probs.size else f"{number} points"
        panels.append((figure.step(step, 1), f"{_size(step.mask_probs)}, {points}"))
    panels.append((figure.uncertainty(steps[-1].uncertainty), "uncertainty, last step"))
    rendered = figure.outlined(steps[-1].mask_probs, _RENDERED_COLOR, 2)
    figure.frame(rendered, zoomed)
    panels.append((rendered, "rendered"))
    return drawing.captioned_row(panels, drawing.CAPTION, font)


def _zoomed_row(
    figure: _Figure, coarse_probs: np.ndarray, step: RenderingStep, truth: Mask | None
) -> Rgb:
    panels = [
        (figure.photo(), "where rendering changed most"),
        (figure.outlined(coarse_probs, _COARSE_COLOR, 3), "coarse mask"),
        (figure.outlined(step.mask_probs, _RENDERED_COLOR, 3), "rendered mask"),
        (figure.step(step, 2), "points of the last step"),
    ]
    if truth is not None:
        panels.insert(3, (figure.true(truth, 3), "ground truth"))
    return drawing.captioned_row(panels, drawing.CAPTION + 4)


def _size(samples: np.ndarray) -> str:
    return f"{samples.shape[1]}x{samples.shape[0]}"


def _window_around(box: drawing.Window) -> drawing.Window:
    width, height = box[2] - box[0], box[3] - box[1]
    margin = 2 * _MARGIN * max(width, height)
    width, height = width + margin, height + margin
    width, height = max(width, _LEAST_ASPECT * height), max(height, _LEAST_ASPECT * width)
    return _centred((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, width, height)


def _changed_window(
    box: drawing.Window, coarse_probs: np.ndarray, step: RenderingStep
) -> drawing.Window:
    """The square in the box in which most pixels changed sides from coarse to rendered.

    Where none did, the one with most points of the step.
    """
    x0, y0, x1, y1 = box
    side = _ZOOM * max(x1 - x0, y1 - y0)
    rendered = np.asarray(step.mask_probs, np.float32)
    rows, columns = rendered.shape
    coarse = cv2.resize(np.asarray(coarse_probs, np.float32), (columns, rows))
    changed = ((coarse >= 0.5) != (rendered >= 0.5)).astype(np.float32)
    if not changed.any():
        for x, y in np.asarray(step.point_coords):
            changed[min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)] = 1
    # In cells, of which a box that is not square has more along one side of the window.
    window = [max(round(side / length * cells), 1) for length, cells in
              ((x1 - x0, columns), (y1 - y0, rows))]  # fmt: skip
    sums = cv2.boxFilter(
        changed, -1, (window[0], window[1]), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    row, column = np.unravel_index(int(np.asarray(sums).argmax()), sums.shape)
    x = x0 + (float(column) + 0.5) / columns * (x1 - x0)
    y = y0 + (float(row) + 0.5) / rows * (y1 - y0)
    return _centred(_within(x, x0, x1, side), _within(y, y0, y1, side), side, side)


def _within(centre: float, low: float, high: float, side: float) -> float:
    """The centre moved so that a window hardly leaves low..high; in the middle if it is wider."""
    reach = (0.5 - _BEYOND) * side
    if high - low < 2 * reach:
        return (low + high) / 2
    return float(np.clip(centre, low + reach, high - reach))


def _centred(x: float, y: float, width: float, height: float) -> drawing.Window:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
