"""A label map as SVG or PDF: an area a class, as paths over the embedded photo, with a legend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb
from pointrend_jax.visualize.labels import (
    OPACITY,
    check_labels,
    legend_layout,
    legend_size,
    palette,
)
from pointrend_jax.visualize.shapes import scaled_rings, shape_of
from pointrend_jax.visualize.vector import add_rings, check_matplotlib, page_font, rgb, save_page

_LINE = 0.5


def save_vector_labels(
    path: Path,
    image: Rgb,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    scale: float = 1.0,
    font: Path | None = None,
) -> None:
    """Writes what `overlay_labels` draws to a .svg or .pdf file, whole or not at all.

    The areas of a class are one path, without pixels' stairs, in a group called `class-0` and so on
    by the class; the legend is text. The arguments are those of `overlay_labels`.

    Raises: ValueError as `overlay_labels`, if the file cannot be written, or if matplotlib is not
      installed.
    """
    check_matplotlib()
    check_labels(image, labels, scale)
    height, width = size = drawing.scaled_size(image, scale)
    text_size, colors = legend_size(width), palette(class_names)
    # Of the labels as `overlay_labels` counts them.
    shown = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    legend = legend_layout(np.asarray(shown), class_names, width, size=text_size, font=font)

    def draw(axes: Any, folder: Path) -> None:
        for label in np.unique(labels[labels < len(colors)]).tolist():
            rings = scaled_rings(shape_of(labels == label, image.shape[:2]), scale)
            color = rgb(tuple(colors[label].tolist()))
            add_rings(
                axes, rings, f"class-{label}",
                facecolor=(*color, OPACITY), edgecolor="white", linewidth=_LINE,
            )  # fmt: skip
        for entry in legend.entries:
            left, top = entry.at[0], height + entry.at[1]
            right, bottom = left + legend.swatch, top + legend.swatch
            axes.fill(
                [left, right, right, left], [top, top, bottom, bottom],
                facecolor=rgb(tuple(colors[entry.label].tolist())), edgecolor=rgb(drawing.INK),
                linewidth=1,
            )  # fmt: skip
            axes.text(
                right + legend.space, (top + bottom) / 2, entry.text, color=rgb(drawing.INK),
                fontproperties=page_font(entry.text, text_size, font, folder),
                va="center_baseline",
            )  # fmt: skip

    save_page(path, image, size, draw, below=legend.height)
