"""An overlay as SVG or PDF: outlines as paths over the embedded photo, sharp at any enlargement.

Matplotlib draws both, so that one way of drawing serves two formats; PDF files of Pillow hold
pixels alone.
"""

import io
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pointrend_jax.storage import write_whole
from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Color, Rgb
from pointrend_jax.visualize.fonts import typeface
from pointrend_jax.visualize.overlay import (
    DEFAULT_STYLE,
    FILL_OPACITY,
    Drawn,
    OverlayStyle,
    drawn_objects,
    line_width,
)
from pointrend_jax.visualize.shapes import Mask
from pointrend_jax.visualize.tags import Tag

VECTOR_FORMATS = (".svg", ".pdf")

# A pixel of the picture is a point of the page.
_POINTS_AN_INCH = 72
# Two files of the same picture have the same bytes: no time, and no random names within.
_SETTINGS = {"svg.hashsalt": "pointrend_jax"}
_NO_TIME = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def save_vector_overlay(
    path: Path,
    image: Rgb,
    boxes: Float[np.ndarray, "n 4"] | None,
    masks: Sequence[Mask],
    labels: Sequence[str],
    scores: Float[np.ndarray, " n"] | None,
    *,
    classes: Int[np.ndarray, " n"] | None = None,
    style: OverlayStyle = DEFAULT_STYLE,
) -> None:
    """Writes what `overlay_masks` draws to a .svg or .pdf file, whole or not at all.

    Each object is one path, its holes within it; in SVG the group around it is called `object-0`
    and so on, by the order of `masks`.

    Args:
      masks: rings give outlines to a fraction of a pixel; the others of `Mask` are smoothed.
    Raises: ValueError as `overlay_masks`, if the file cannot be written, or if matplotlib is not
      installed.
    """
    check_matplotlib()
    objects = drawn_objects(image, boxes, masks, labels, scores, classes, style)
    matplotlib: Any = import_module("matplotlib")
    kind, content = path.suffix.lower(), io.BytesIO()
    with matplotlib.rc_context(_SETTINGS), tempfile.TemporaryDirectory() as folder:
        figure = _figure(image, objects, style, Path(folder))
        figure.savefig(content, format=kind[1:], metadata=_NO_TIME[kind])
    write_whole(path, content.getvalue())


def check_matplotlib() -> None:
    """Raises ValueError, saying what to install, if matplotlib is not there."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise ValueError(
            f"SVG and PDF files are drawn by matplotlib, which is missing ({error}): pip install "
            "'pointrend_jax[plot]' (on a checkout: pip install -r requirements.txt)."
        ) from error


def _figure(image: Rgb, objects: Sequence[Drawn], style: OverlayStyle, folder: Path) -> Any:
    figures: Any = import_module("matplotlib.figure")
    height, width = drawing.scaled_size(image, style.scale)
    figure = figures.Figure(figsize=(width / _POINTS_AN_INCH, height / _POINTS_AN_INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    # "none" embeds the photo's own pixels.
    axes.imshow(image, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    line = line_width(style, max(height, width))
    for drawn in objects:
        _add_object(axes, drawn, line)
    for drawn in objects:
        if drawn.tag is not None and drawn.tag.leader is not None:
            color, leader = _rgb(drawn.color), drawn.tag.leader
            axes.plot(*leader.T, color=color, linewidth=line)
            axes.plot(*leader[-1], "o", color=color, markersize=3 * line)
    for drawn in objects:
        if drawn.tag is not None:
            _add_tag(axes, drawn.tag, drawn.color, _font(drawn.tag, style.font, folder))
    return figure


def _add_object(axes: Any, drawn: Drawn, line: int) -> None:
    patches: Any = import_module("matplotlib.patches")
    paths: Any = import_module("matplotlib.path")
    color = _rgb(drawn.color)
    if drawn.rings:
        # A closed path says its first point again.
        rings = [paths.Path(np.concatenate([r, r[:1]]), closed=True) for r in drawn.rings]
        axes.add_patch(
            patches.PathPatch(
                paths.Path.make_compound_path(*rings),
                facecolor=(*color, FILL_OPACITY),
                edgecolor=color,
                linewidth=line,
                joinstyle="round",
                gid=f"object-{drawn.number}",
            )
        )
    if drawn.box is not None:
        x0, y0, x1, y1 = drawn.box
        axes.add_patch(
            patches.Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=color,
                linewidth=max(line / 2, 0.5),
                gid=f"box-{drawn.number}",
            )
        )


def _add_tag(axes: Any, tag: Tag, color: Color, font: Any) -> None:
    patches: Any = import_module("matplotlib.patches")
    x0, y0, x1, y1 = tag.box
    rounded = f"round,pad=0,rounding_size={0.25 * tag.size}"
    axes.add_patch(
        patches.FancyBboxPatch(
            (x0, y0), x1 - x0, y1 - y0, boxstyle=rounded, facecolor=_rgb(color), linewidth=0
        )
    )
    ink = _rgb(drawing.readable_on(color))
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    axes.text(*middle, tag.text, color=ink, fontproperties=font, ha="center", va="center_baseline")


def _font(tag: Tag, file: Path | None, folder: Path) -> Any:
    """The typeface of a tag, which matplotlib wants as a file."""
    managers: Any = import_module("matplotlib.font_manager")
    # Its stubs do not know that Pillow's own typeface is kept in memory.
    source: Any = typeface(tag.text, tag.size, file).path
    if isinstance(source, io.BytesIO):
        content, source = source.getvalue(), folder / "pillow.ttf"
        source.write_bytes(content)
    return managers.FontProperties(fname=str(source), size=tag.size)


def _rgb(color: Color) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255
