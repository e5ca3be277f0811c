"""An overlay as SVG or PDF: outlines as paths over the embedded photo, sharp at any enlargement.

Matplotlib draws both, so that one way of drawing serves two formats; PDF files of Pillow hold
pixels alone.
"""

import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pointrend_jax.masks.outlines import Polygon
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

    size = drawing.scaled_size(image, style.scale)

    def draw(axes: Any, folder: Path) -> None:
        _add_objects(axes, objects, style, line_width(style, max(size)), folder)

    save_page(path, image, size, draw)


def save_page(
    path: Path,
    image: Rgb,
    size: tuple[int, int],
    draw: Callable[[Any, Path], None],
    *,
    below: int = 0,
) -> None:
    """Writes a page of the photo and what is drawn over it, whole or not at all.

    Args:
      path: ends in one of `VECTOR_FORMATS`.
      size: height and width of the photo on the page.
      draw: is given matplotlib's axes, whose units are pixels of the page, and an empty folder that
        lasts until the page is written.
      below: pixels of paper under the photo.
    """
    matplotlib: Any = import_module("matplotlib")
    figures: Any = import_module("matplotlib.figure")
    kind, content = path.suffix.lower(), io.BytesIO()
    with matplotlib.rc_context(_SETTINGS), tempfile.TemporaryDirectory() as folder:
        (height, width), whole = size, size[0] + below
        figure = figures.Figure(
            figsize=(width / _POINTS_AN_INCH, whole / _POINTS_AN_INCH),
            facecolor=rgb(drawing.PAPER),
        )
        axes = figure.add_axes((0, 0, 1, 1))
        # "none" embeds the photo's own pixels.
        axes.imshow(image, extent=(0, width, height, 0), interpolation="none", aspect="auto")
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(whole, 0)
        draw(axes, Path(folder))
        with warnings.catch_warnings():
            # Which texts lack letters has been told once, with what to do.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
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


def _add_objects(
    axes: Any, objects: Sequence[Drawn], style: OverlayStyle, line: int, folder: Path
) -> None:
    for drawn in objects:
        _add_object(axes, drawn, line)
    for drawn in objects:
        if drawn.tag is not None and drawn.tag.leader is not None:
            color, leader = rgb(drawn.color), drawn.tag.leader
            axes.plot(*leader.T, color=color, linewidth=line)
            axes.plot(*leader[-1], "o", color=color, markersize=3 * line)
    for drawn in objects:
        if drawn.tag is not None:
            font = page_font(drawn.tag.text, drawn.tag.size, style.font, folder)
            _add_tag(axes, drawn.tag, drawn.color, font)


def _add_object(axes: Any, drawn: Drawn, line: int) -> None:
    patches: Any = import_module("matplotlib.patches")
    color = rgb(drawn.color)
    if drawn.rings:
        add_rings(
            axes, drawn.rings, f"object-{drawn.number}",
            facecolor=(*color, FILL_OPACITY), edgecolor=color, linewidth=line,
        )  # fmt: skip
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


def add_rings(axes: Any, rings: Sequence[Polygon], name: str, **style: Any) -> None:
    """One path of closed rings, holes and all, in a group of that name; style, of matplotlib."""
    patches: Any = import_module("matplotlib.patches")
    paths: Any = import_module("matplotlib.path")
    # A closed path says its first point again.
    closed = [paths.Path(np.concatenate([r, r[:1]]), closed=True) for r in rings]
    whole = paths.Path.make_compound_path(*closed)
    axes.add_patch(patches.PathPatch(whole, joinstyle="round", gid=name, **style))


def _add_tag(axes: Any, tag: Tag, color: Color, font: Any) -> None:
    patches: Any = import_module("matplotlib.patches")
    x0, y0, x1, y1 = tag.box
    rounded = f"round,pad=0,rounding_size={0.25 * tag.size}"
    axes.add_patch(
        patches.FancyBboxPatch(
            (x0, y0), x1 - x0, y1 - y0, boxstyle=rounded, facecolor=rgb(color), linewidth=0
        )
    )
    ink = rgb(drawing.readable_on(color))
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    axes.text(*middle, tag.text, color=ink, fontproperties=font, ha="center", va="center_baseline")


def page_font(text: str, size: int, file: Path | None, folder: Path) -> Any:
    """The typeface of a text, which matplotlib wants as a file.

    Args: folder, of `save_page`.
    """
    managers: Any = import_module("matplotlib.font_manager")
    # Its stubs do not know that Pillow's own typeface is kept in memory.
    source: Any = typeface(text, size, file).path
    if isinstance(source, io.BytesIO):
        content, source = source.getvalue(), folder / "pillow.ttf"
        source.write_bytes(content)
    return managers.FontProperties(fname=str(source), size=size)


def rgb(color: Color) -> tuple[float, float, float]:
    """As matplotlib has colours."""
    return color[0] / 255, color[1] / 255, color[2] / 255
