"""How one mask is rendered, as figures 2 and 5 of the PointRend paper show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb

_COARSE_COLOR = drawing.COLORS[1]
_RENDERED_COLOR = drawing.COLORS[0]
_POINT_COLOR = drawing.COLORS[1]
_PANEL = 232  # px, longer side of the panels that show the whole box
_MARGIN = 0.12  # around the box, of its longer side
_LEAST_ASPECT = 0.6  # of the window: thin boxes get more surroundings
_ZOOM = 0.3  # side of the zoomed square, of the box's longer side


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
    font: Path | None = None,
) -> Rgb:
    """How one mask is rendered: first row, the whole box; second row, a part of its boundary.

    Args:
      box: xyxy in pixels of `image`.
      coarse_probs: the coarse mask, in the frame of the box.
      steps: from the first to the full resolution, at least one.
      font: as of `overlay_masks`.
    Raises: ValueError if the box is empty or there is no step.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (x1 > x0 and y1 > y0) or not steps:
        raise ValueError(
            f"explain_picture needs a box of positive size and at least one step, got "
            f"{[x0, y0, x1, y1]} and {len(steps)} steps."
        )
    whole = _Figure(image, (x0, y0, x1, y1), _window_around((x0, y0, x1, y1)), _PANEL)
    boundary = _boundary_window(whole.box, steps[-1])
    first = _whole_row(whole, boundary, coarse_probs, steps, label, font)
    side = (first.shape[1] - 3 * drawing.GAP) // 4
    zoom = _Figure(image, whole.box, boundary, side)
    second = _boundary_row(zoom, coarse_probs, steps[-1])
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
        scale = longer_side / max(width, height)
        self._size = (max(round(width * scale), 1), max(round(height * scale), 1))

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

    def mask(self, probs: np.ndarray, point_coords: np.ndarray | None = None) -> Rgb:
        """Probabilities as grey, every sample a square, and points as dots."""
        panel = self._in_box(np.rint(np.clip(probs, 0, 1) * 255)[..., None].repeat(3, axis=2))
        if point_coords is not None:
            x0, y0, x1, y1 = self.box
            points = np.asarray(point_coords) * (x1 - x0, y1 - y0) + (x0, y0)
            sample = (
                (x1 - x0) / probs.shape[1] * self._size[0] / (self._window[2] - self._window[0])
            )
            radius = float(np.clip(0.3 * sample, 0.7, 4.0))
            drawing.draw_dots(panel, self._to_panel(points), radius, _POINT_COLOR)
        return panel

    def uncertainty(self, uncertainty: np.ndarray) -> Rgb:
        """Bright where uncertain. Logits are squashed: beyond a few units they are all sure."""
        brightness = np.rint(255 * np.exp(np.minimum(uncertainty, 0) / 2)).astype(np.uint8)
        colored = cv2.applyColorMap(brightness, cv2.COLORMAP_INFERNO)
        return self._in_box(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB))

    def outlined(self, probs: np.ndarray, color: drawing.Color, width: int) -> Rgb:
        """The photo with the outline of a mask, resampled as it is when it is pasted."""
        panel = self.photo()
        field = drawing.resample(probs.astype(np.float32), self.box, self._window, self._size)
        drawing.draw_outline(panel, field, color, width=width, halo=True)
        return panel

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
    boundary: drawing.Window,
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
        panel = figure.mask(step.mask_probs, step.point_coords)
        panels.append((panel, f"{_size(step.mask_probs)}, {points}"))
    panels.append((figure.uncertainty(steps[-1].uncertainty), "uncertainty, last step"))
    rendered = figure.outlined(steps[-1].mask_probs, _RENDERED_COLOR, 2)
    figure.frame(rendered, boundary)
    panels.append((rendered, "rendered"))
    return drawing.captioned_row(panels, drawing.CAPTION, font)


def _boundary_row(figure: _Figure, coarse_probs: np.ndarray, step: RenderingStep) -> Rgb:
    return drawing.captioned_row(
        [
            (figure.photo(), "a part of the boundary"),
            (figure.outlined(coarse_probs, _COARSE_COLOR, 3), "coarse mask"),
            (figure.outlined(step.mask_probs, _RENDERED_COLOR, 3), "rendered mask"),
            (figure.mask(step.mask_probs, step.point_coords), "points of the last step"),
        ],
        drawing.CAPTION,
    )


def _size(samples: np.ndarray) -> str:
    return f"{samples.shape[1]}x{samples.shape[0]}"


def _window_around(box: drawing.Window) -> drawing.Window:
    width, height = box[2] - box[0], box[3] - box[1]
    margin = 2 * _MARGIN * max(width, height)
    width, height = width + margin, height + margin
    width, height = max(width, _LEAST_ASPECT * height), max(height, _LEAST_ASPECT * width)
    return _centred((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, width, height)


def _boundary_window(box: drawing.Window, step: RenderingStep) -> drawing.Window:
    """The square with the most points of a step: where the outline winds most."""
    x0, y0, x1, y1 = box
    side = _ZOOM * max(x1 - x0, y1 - y0)
    points = np.asarray(step.point_coords) * (x1 - x0, y1 - y0) + (x0, y0)
    candidates = points[:: len(points) // 1000 + 1]
    near = np.abs(candidates[:, None] - points[None]).max(axis=-1) <= side / 2
    x, y = candidates[near.sum(axis=1).argmax()]
    return _centred(float(x), float(y), side, side)


def _centred(x: float, y: float, width: float, height: float) -> drawing.Window:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
