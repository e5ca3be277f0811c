"""How a label map is rendered: coarse, then the uncertainty and the points of every step."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb
from pointrend_jax.visualize.figure import Figure, centred, changed_window, most_points
from pointrend_jax.visualize.labels import colorize, legend, palette

_PANEL = 480  # px, longer side of a panel
_LEAST_ASPECT = 0.5  # width of a panel, of its height: tall images get something beside them
_TEXT = 18  # px


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
    truth: np.ndarray | None = None,
    font: Path | None = None,
) -> Rgb:
    """First row: the photo, the coarse and the final labels, and where they differ. Second row: the
    part in which they differ most. Below, for each step: by which uncertainty it chose, the chosen
    points, and the labels after it.

    Args:
      coarse_labels: uint8 [h, w]. labels: uint8 [H, W], of the photo's size.
      steps: from the first to the full resolution, at least one.
      truth: the true labels, [H, W], which are shown beside the others; None where nobody knows
        them.
      font: as of `overlay_labels`.
    Raises: ValueError if there is no step.
    """
    if not steps:
        raise ValueError("explain_labels_picture needs at least one step, got none.")
    height, width = image.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    around = centred(width / 2, height / 2, max(width, _LEAST_ASPECT * height), height)
    colors = palette(class_names)
    size = (labels.shape[1], labels.shape[0])
    coarse = cv2.resize(coarse_labels, size, interpolation=cv2.INTER_NEAREST)
    changed = np.asarray(coarse != labels)
    zoomed = changed_window(box, changed, steps[-1].point_coords)
    maps = [(coarse_labels, "coarse"), (labels, "rendered")]
    if truth is not None:
        maps.append((truth, "ground truth"))

    whole = _Maps(Figure(image, box, around, _PANEL), colors)
    first = whole.first_row(maps, changed, zoomed)
    zoom = Figure(image, box, zoomed, drawing.panel_width(first, 2 + len(maps)))
    second = _Maps(zoom, colors).zoomed_row(maps, steps, zoomed)
    rows = [first, second, *(whole.step_row(step, i) for i, step in enumerate(steps, 1))]
    table = drawing.column(rows, drawing.GAP)
    names = legend(labels, class_names, table.shape[1], size=_TEXT, font=font)
    return drawing.framed(np.concatenate([table, names]))


class _Maps(NamedTuple):
    """Rows of panels of label maps that are spread over a figure's box."""

    figure: Figure
    colors: np.ndarray

    def first_row(
        self,
        maps: Sequence[tuple[np.ndarray, str]],
        changed: np.ndarray,
        zoomed: drawing.Window,
    ) -> Rgb:
        panels = [(self.figure.photo(), "image")]
        panels += [(self.labels(labels), f"{name}, {_size(labels)}") for labels, name in maps]
        pale = self._paled(4)
        drawing.fill(pale, self.figure.field(changed), (0, 0), drawing.COLORS[5])
        self.figure.frame(pale, zoomed, drawing.INK)
        panels.append((pale, f"changed: {changed.mean():.1%} of the pixels"))
        return drawing.captioned_row(panels, _TEXT)

    def zoomed_row(
        self,
        maps: Sequence[tuple[np.ndarray, str]],
        steps: Sequence[LabelStep],
        zoomed: drawing.Window,
    ) -> Rgb:
        most, number = most_points([step.point_coords for step in steps], self.figure.box, zoomed)
        panels = [(self.figure.photo(), "where rendering changed most")]
        panels += [(self.labels(labels), name) for labels, name in maps]
        panels.append((self.points(steps[most]), f"step {most + 1}: {number} points here"))
        return drawing.captioned_row(panels, _TEXT)

    def step_row(self, step: LabelStep, number: int) -> Rgb:
        panels = [
            (self.uncertainty(step), f"step {number}: uncertainty, {_size(step.labels)}"),
            (self.points(step), f"step {number}: {len(step.point_coords)} points"),
            (self.labels(step.labels), f"step {number}: labels"),
        ]
        return drawing.captioned_row(panels, _TEXT)

    def labels(self, labels: np.ndarray) -> Rgb:
        return self.figure.spread(colorize(labels, self.colors))

    def uncertainty(self, step: LabelStep) -> Rgb:
        """Bright where the two best classes are close; thin lines stay visible."""
        # Margins of logits are squashed: beyond a few units they are all sure. Those of
        # probabilities end at 1.
        unit = min(max(-float(step.uncertainty.min()) / 4, 1e-6), 2.0)
        brightness = self.figure.brightest(np.exp(np.minimum(step.uncertainty, 0) / unit))
        return self.figure.spread(drawing.glowing(brightness))

    def points(self, step: LabelStep) -> Rgb:
        return self.figure.dotted(self._paled(2), step.point_coords, step.labels.shape[1])

    def _paled(self, part: int) -> Rgb:
        """The photo in pale grey, on which colours stand out."""
        grey = cv2.cvtColor(self.figure.photo(), cv2.COLOR_RGB2GRAY)
        return 255 - (255 - grey[..., None].repeat(3, axis=2)) // part


def _size(labels: np.ndarray) -> str:
    return f"{labels.shape[1]}x{labels.shape[0]}"
