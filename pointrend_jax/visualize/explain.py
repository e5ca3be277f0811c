"""How one mask is rendered, as figures 2 and 5 of the PointRend paper show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb
from pointrend_jax.visualize.figure import Figure, centred, changed_window, most_points
from pointrend_jax.visualize.shapes import Mask, Shape, shape_of

COARSE_COLOR = drawing.COLORS[1]
RENDERED_COLOR = drawing.COLORS[0]
_TRUTH_COLOR = drawing.COLORS[2]
_PANEL = 200  # px, longer side of the panels that show the whole box
_MARGIN = 0.12  # around the box, of its longer side
_LEAST_ASPECT = 0.6  # of the window: thin boxes get more surroundings


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
    box_window = (x0, y0, x1, y1)
    whole = Figure(image, box_window, window_around(box_window), _PANEL)
    rendered = np.asarray(steps[-1].mask_probs, np.float32)
    coarse = cv2.resize(np.asarray(coarse_probs, np.float32), rendered.shape[::-1])
    changed = (coarse >= 0.5) != (rendered >= 0.5)
    zoomed = changed_window(box_window, changed, steps[-1].point_coords)
    first = _whole_row(MaskPanels(whole), zoomed, coarse_probs, steps, label, font)
    number = 4 + (truth is not None)
    zoom = MaskPanels(Figure(image, box_window, zoomed, drawing.panel_width(first, number)))
    shape = None if truth is None else shape_of(truth, (image.shape[0], image.shape[1]))
    second = _zoomed_row(zoom, zoomed, coarse_probs, steps, shape)
    return drawing.framed(drawing.column([first, second], drawing.GAP))


class MaskPanels(NamedTuple):
    """Panels of masks in the frame of a figure's box."""

    figure: Figure

    def mask(self, probs: np.ndarray) -> Rgb:
        """Probabilities as grey."""
        return self.figure.spread(np.rint(np.clip(probs, 0, 1) * 255)[..., None].repeat(3, axis=2))

    def step(self, step: RenderingStep, line: int) -> Rgb:
        """The mask after a step, and on it the step's points, below the outline."""
        columns = step.mask_probs.shape[1]
        panel = self.figure.dotted(self.mask(step.mask_probs), step.point_coords, columns)
        self._outline(panel, step.mask_probs, RENDERED_COLOR, line, halo=False)
        return panel

    def uncertainty(self, uncertainty: np.ndarray) -> Rgb:
        """Bright where uncertain. Logits are squashed: beyond a few units they are all sure."""
        return self.figure.spread(drawing.glowing(np.exp(np.minimum(uncertainty, 0) / 2)))

    def outlined(self, probs: np.ndarray, color: drawing.Color, width: int) -> Rgb:
        """The photo with the outline of a mask, resampled as it is when it is pasted."""
        panel = self.figure.photo()
        self._outline(panel, probs, color, width, halo=True)
        return panel

    def true(self, shape: Shape, width: int) -> Rgb:
        """The photo with the outline of a mask of the whole image."""
        panel = self.figure.photo()
        rings = [self.figure.to_panel(ring) for part in shape for ring in part]
        drawing.draw_rings(panel, rings, drawing.INK, width + 2)
        drawing.draw_rings(panel, rings, _TRUTH_COLOR, width)
        return panel

    def _outline(
        self, panel: Rgb, probs: np.ndarray, color: drawing.Color, width: int, *, halo: bool
    ) -> None:
        drawing.draw_outline(panel, self.figure.field(probs), color, width=width, halo=halo)


def _whole_row(
    masks: MaskPanels,
    zoomed: drawing.Window,
    coarse_probs: np.ndarray,
    steps: Sequence[RenderingStep],
    label: str,
    font: Path | None,
) -> Rgb:
    photo = masks.figure.photo()
    masks.figure.frame(photo, masks.figure.box)
    panels = [(photo, label), (masks.mask(coarse_probs), f"coarse, {_size(coarse_probs)}")]
    for step in steps:
        number = len(step.point_coords)
        points = "all points" if number == step.mask_probs.size else f"{number} points"
        panels.append((masks.step(step, 1), f"{_size(step.mask_probs)}, {points}"))
    panels.append((masks.uncertainty(steps[-1].uncertainty), "uncertainty, last step"))
    rendered = masks.outlined(steps[-1].mask_probs, RENDERED_COLOR, 2)
    masks.figure.frame(rendered, zoomed)
    panels.append((rendered, "rendered"))
    return drawing.captioned_row(panels, drawing.CAPTION, font)


def _zoomed_row(
    masks: MaskPanels,
    zoomed: drawing.Window,
    coarse_probs: np.ndarray,
    steps: Sequence[RenderingStep],
    truth: Shape | None,
) -> Rgb:
    most, number = most_points([step.point_coords for step in steps], masks.figure.box, zoomed)
    panels = [
        (masks.figure.photo(), "where rendering changed most"),
        (masks.outlined(coarse_probs, COARSE_COLOR, 3), "coarse mask"),
        (masks.outlined(steps[-1].mask_probs, RENDERED_COLOR, 3), "rendered mask"),
        (masks.step(steps[most], 1), f"{_size(steps[most].mask_probs)}, {number} points here"),
    ]
    if truth is not None:
        panels.insert(3, (masks.true(truth, 3), "ground truth"))
    return drawing.captioned_row(panels, drawing.CAPTION + 4)


def _size(samples: np.ndarray) -> str:
    return f"{samples.shape[1]}x{samples.shape[0]}"


def window_around(box: drawing.Window) -> drawing.Window:
    """A box and its surroundings, of which a thin box gets more."""
    width, height = box[2] - box[0], box[3] - box[1]
    margin = 2 * _MARGIN * max(width, height)
    width, height = width + margin, height + margin
    width, height = max(width, _LEAST_ASPECT * height), max(height, _LEAST_ASPECT * width)
    return centred((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, width, height)
