"""How a label map is rendered: coarse, then the uncertainty and the points of every step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb
from pointrend_jax.visualize.labels import colorize, legend, palette

_PANEL = 480  # px, longer side of a panel
_TEXT = 18  # px
_POINT_COLOR = drawing.COLORS[1]


@runtime_checkable
class LabelStep(Protocol):
    """What a picture needs of a subdivision step, in the frame of the image.

    labels [h, w] after the step; uncertainty [h, w] by which and point_coords [P, 2] in [0, 1]
    where it predicted.
    """

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def uncertainty(self) -> np.ndarray: ...
    @property
    def point_coords(self) -> np.ndarray: ...


def explain_labels_picture(
    image: Rgb,
    coarse_labels: np.ndarray,
    steps: Sequence[LabelStep],
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    font: Path | None = None,
) -> Rgb:
    """First row: the photo, the coarse and the final labels, and where they differ. Below, for each
    step: by which uncertainty it chose, the chosen points, and the labels after it.

    Args:
      coarse_labels: uint8 [h, w]. labels: uint8 [H, W], of the photo's size.
      steps: from the first to the full resolution, at least one.
      font: as of `overlay_labels`.
    Raises: ValueError if there is no step.
    """
    if not steps:
        raise ValueError("explain_labels_picture needs at least one step, got none.")
    sheet = _Sheet(image, palette(class_names))
    rows = [
        [
            drawing.captioned(sheet.photo(), "image", _TEXT),
            sheet.labels(coarse_labels, f"coarse, {_size(coarse_labels)}"),
            sheet.labels(labels, f"rendered, {_size(labels)}"),
            sheet.changes(coarse_labels, labels),
        ]
    ]
    for number, step in enumerate(steps, 1):
        rows.append(
            [
                sheet.uncertainty(step, f"step {number}: uncertainty, {_size(step.labels)}"),
                sheet.points(step, f"step {number}: {len(step.point_coords)} points"),
                sheet.labels(step.labels, f"step {number}: labels"),
            ]
        )
    table = drawing.column([drawing.row(row, drawing.GAP) for row in rows], drawing.GAP)
    names = legend(labels, class_names, table.shape[1], size=_TEXT, font=font)
    return drawing.framed(np.concatenate([table, names]))


class _Sheet:
    """Panels of one size."""

    def __init__(self, image: Rgb, colors: np.ndarray) -> None:
        self._image, self._colors = image, colors
        height, width = image.shape[:2]
        scale = _PANEL / max(height, width)
        self._size = max(round(width * scale), 1), max(round(height * scale), 1)

    def photo(self) -> Rgb:
        return self._resized(self._image)

    def labels(self, labels: np.ndarray, caption: str) -> Rgb:
        """Every label a square where they are few; areas averaged where they are many."""
        return drawing.captioned(self._resized(colorize(labels, self._colors)), caption, _TEXT)

    def changes(self, coarse_labels: np.ndarray, labels: np.ndarray) -> Rgb:
        """Where rendering changed a pixel's class, over the pale photo."""
        height, width = labels.shape
        enlarged = cv2.resize(coarse_labels, (width, height), interpolation=cv2.INTER_NEAREST)
        changed = np.asarray(enlarged != labels)
        pale = 255 - (255 - self.photo()) // 4
        drawing.fill(pale, self._resized(changed.astype(np.float32)), (0, 0), drawing.COLORS[5])
        caption = f"changed: {changed.mean():.1%} of the pixels"
        return drawing.captioned(pale, caption, _TEXT)

    def uncertainty(self, step: LabelStep, caption: str) -> Rgb:
        """Bright where the two best classes are close; thin lines stay visible."""
        # Margins of logits are squashed: beyond a few units they are all sure. Those of
        # probabilities end at 1.
        unit = min(max(-float(step.uncertainty.min()) / 4, 1e-6), 2.0)
        brightness = self._brightest(np.exp(np.minimum(step.uncertainty, 0) / unit))
        levels = np.rint(255 * brightness).astype(np.uint8)
        colored = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
        panel = np.asarray(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB))
        return drawing.captioned(panel, caption, _TEXT)

    def points(self, step: LabelStep, caption: str) -> Rgb:
        panel = 255 - (255 - self.photo()) // 2
        points = np.asarray(step.point_coords, np.float32) * np.asarray(self._size)
        cell = self._size[0] / step.labels.shape[1]
        drawing.draw_dots(panel, points, float(np.clip(0.4 * cell, 0.8, 3.0)), _POINT_COLOR)
        return drawing.captioned(panel, caption, _TEXT)

    def _resized(self, field: np.ndarray) -> np.ndarray:
        enlarges = field.shape[1] < self._size[0]
        mode = cv2.INTER_NEAREST if enlarges else cv2.INTER_AREA
        return np.asarray(cv2.resize(field, self._size, interpolation=mode))

    def _brightest(self, field: np.ndarray) -> np.ndarray:
        shrink = max(field.shape[1] // self._size[0], 1)
        field = cv2.dilate(field.astype(np.float32), np.ones((shrink, shrink), np.uint8))
        return self._resized(field)


def _size(labels: np.ndarray) -> str:
    return f"{labels.shape[1]}x{labels.shape[0]}"
