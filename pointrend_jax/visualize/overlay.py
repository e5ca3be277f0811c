"""Masks over their image, with outlines, boxes and names; coarse beside rendered masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw

from pointrend_jax.console import tell_progress
from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Color, Rgb, Window
from pointrend_jax.visualize.fonts import check_font, tell_missing_letters, typeface
from pointrend_jax.visualize.shapes import Mask, Shape, scaled_rings, shape_area, shape_of
from pointrend_jax.visualize.tags import Tag, place_tags

ColorBy = Literal["instance", "class"]

FILL_OPACITY = 0.42
_COMPARISON_SIDE = 464  # px, longer side of a panel


class OverlayStyle(NamedTuple):
    """How `overlay_masks` and its like draw.

    Attributes:
      color_by: "instance" gives every object a colour of its own, "class" all of a class the same,
        which is the same in every picture.
      boxes: whether boxes are drawn.
      line_width: of outlines, in pixels of the picture; None for one that fits its size.
      scale: of the picture: 1 gives it the image's size, 2 twice that, whose names have more room.
      font: file of the typeface of names; None for the one inside Pillow, or an installed one for
        names with letters that it lacks.
    """

    color_by: ColorBy = "instance"
    boxes: bool = True
    line_width: float | None = None
    scale: float = 1.0
    font: Path | None = None

    def check(self) -> None:
        """Raises ValueError if a value is out of range or the font cannot be read."""
        if self.color_by not in get_args(ColorBy):
            raise ValueError(
                f"color_by must be one of {', '.join(get_args(ColorBy))}, got {self.color_by!r}."
            )
        drawing.check_scale(self.scale)
        if self.line_width is not None and not 0 < self.line_width < np.inf:
            raise ValueError(
                f"line_width must be a positive number of pixels, got {self.line_width}."
            )
        check_font(self.font)


DEFAULT_STYLE = OverlayStyle()


class Drawn(NamedTuple):
    """An object as it is drawn: all coordinates (x, y) in pixels of the picture, continuous.

    Attributes:
      number: among all objects.
      rings: of its outline and its holes. box: None where none is drawn.
      tag: None where the picture has no room for one, or the object no name.
    """

    number: int
    color: Color
    rings: list[np.ndarray]
    box: Window | None
    tag: Tag | None


def overlay_masks(
    image: Rgb,
    boxes: Float[np.ndarray, "n 4"] | None,
    masks: Sequence[Mask],
    labels: Sequence[str],
    scores: Float[np.ndarray, " n"] | None,
    *,
    classes: Int[np.ndarray, " n"] | None = None,
    colors: Sequence[Color] | None = None,
    style: OverlayStyle = DEFAULT_STYLE,
) -> Rgb:
    """The image with translucent, outlined masks and their names.

    Large masks are drawn first, so that small ones stay visible. Names stand where they hide as
    little of any object as can be, shrink where there is little room, or are led away by a line.

    Args:
      boxes: xyxy in pixels of the image; None draws none.
      masks: of the image's size.
      scores: None for a ground truth, which has none: no number is shown.
      classes: index of each object's class, by which `style` may colour.
      colors: of each object, as where they are some of those of another picture; None for those of
        `style`.
    Returns: the picture, of `style.scale` times the image's size.
    Raises: ValueError if the lengths differ, a mask is not of the image's size, or the style is
      out of range or wants classes that are not given.
    """
    objects = drawn_objects(image, boxes, masks, labels, scores, classes, style, colors)
    canvas = drawing.scaled(image, style.scale)
    line = line_width(style, max(canvas.shape[:2]))
    for drawn in objects:
        _draw_shape(canvas, drawn.rings, drawn.color, line)
        if drawn.box is not None:
            drawing.draw_box(canvas, drawn.box, drawn.color, max(line // 2, 1))
    tags = [(drawn.tag, drawn.color) for drawn in objects if drawn.tag is not None]
    for tag, color in tags:
        if tag.leader is not None:
            drawing.draw_line(canvas, tag.leader, color, line)
    return _with_tags(canvas, tags, style.font) if tags else canvas


def drawn_objects(
    image: Rgb,
    boxes: Float[np.ndarray, "n 4"] | None,
    masks: Sequence[Mask],
    labels: Sequence[str],
    scores: Float[np.ndarray, " n"] | None,
    classes: Int[np.ndarray, " n"] | None,
    style: OverlayStyle,
    colors: Sequence[Color] | None = None,
) -> list[Drawn]:
    """The objects in the order in which they are drawn; those without a pixel and a box are not.

    Args: as `overlay_masks`, which draws them.
    """
    style.check()
    _check_lengths_and_sizes(image, boxes, masks, labels, scores, classes, colors)
    if style.color_by == "class" and classes is None:
        raise ValueError("color_by='class' needs the class index of each object: classes.")
    tell_missing_letters(labels, style.font)
    numbers = [""] * len(masks) if scores is None else [f" {score:.2f}" for score in scores]
    names = [f"{label}{number}" for label, number in zip(labels, numbers, strict=True)]
    shapes = [shape_of(mask, (image.shape[0], image.shape[1])) for mask in masks]
    rings = {i: scaled_rings(shape, style.scale) for i, shape in enumerate(shapes)}
    shown: dict[int, Window] = {}
    if boxes is not None and style.boxes:
        for i, (x0, y0, x1, y1) in enumerate((boxes * style.scale).tolist()):
            shown[i] = (x0, y0, x1, y1)
    seen = [i for i in rings if rings[i] or i in shown]
    texts = {i: names[i] for i in seen if names[i]}
    size = drawing.scaled_size(image, style.scale)
    tags = place_tags(rings, shown, texts, size, style.font)
    if len(tags) < len(texts):
        tell_progress(
            f"{len(texts) - len(tags)} of {len(texts)} names have no room in the picture that "
            "hides no object; a larger scale gives more"
        )
    if colors is None:
        by_class = classes if style.color_by == "class" else None
        numbers_of = range(len(masks)) if by_class is None else by_class.tolist()
        colors = [drawing.color_of(number) for number in numbers_of]
    return [
        Drawn(i, colors[i], rings[i], shown.get(i), tags.get(i))
        for i in painters_order(shapes, scores)
        if i in seen
    ]


def painters_order(
    shapes: Sequence[Shape], scores: Float[np.ndarray, " n"] | None = None
) -> list[int]:
    """Large shapes first; of equal ones the best score, or the first, lies on top."""
    areas = [shape_area(shape) for shape in shapes]
    order = np.arange(len(shapes)) if scores is None else np.argsort(-scores, kind="stable")
    return sorted(order[::-1].tolist(), key=areas.__getitem__, reverse=True)


def line_width(style: OverlayStyle, longer_side: int) -> int:
    """Of outlines, in whole pixels."""
    fitting = longer_side / 500 if style.line_width is None else style.line_width
    return max(round(fitting), 1)


def comparison_strip(
    images: Sequence[Rgb],
    coarse_masks: Sequence[Sequence[Mask]],
    rendered_masks: Sequence[Sequence[Mask]],
) -> Rgb:
    """One row an image: the image, its coarse masks, its rendered masks, in the same colours.

    Raises: ValueError if there is no image or the lengths differ.
    """
    if not images or not len(images) == len(coarse_masks) == len(rendered_masks):
        raise ValueError(
            "comparison_strip needs at least one image and as many lists of coarse and of rendered "
            f"masks, got {len(images)}, {len(coarse_masks)} and {len(rendered_masks)}."
        )
    rows = []
    for i, image in enumerate(images):
        scale = _COMPARISON_SIDE / max(image.shape[:2])
        panels = []
        for masks in ((), coarse_masks[i], rendered_masks[i]):
            canvas = drawing.scaled(image, scale)
            shapes = [shape_of(mask, (image.shape[0], image.shape[1])) for mask in masks]
            for j in painters_order(shapes):
                _draw_shape(canvas, scaled_rings(shapes[j], scale), drawing.color_of(j), 2)
            panels.append(canvas)
        if i < len(images) - 1:
            rows.append(drawing.row(panels, drawing.GAP))
        else:
            captions = ("image", "coarse masks", "rendered masks")
            named = list(zip(panels, captions, strict=True))
            rows.append(drawing.captioned_row(named, drawing.CAPTION + 4))
    return drawing.framed(drawing.column(rows, drawing.GAP))


def _check_lengths_and_sizes(
    image: Rgb,
    boxes: np.ndarray | None,
    masks: Sequence,
    labels: Sequence,
    scores: np.ndarray | None,
    classes: np.ndarray | None,
    colors: Sequence | None,
) -> None:
    given = {
        "boxes": boxes, "masks": masks, "labels": labels, "scores": scores, "classes": classes,
        "colors": colors,
    }  # fmt: skip
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    if len({*lengths.values()}) != 1:
        raise ValueError(
            "overlay_masks needs as many boxes, masks, labels and scores, got "
            f"{', '.join(f'{number} {name}' for name, number in lengths.items())}."
        )
    for i, mask in enumerate(masks):
        shape = image.shape[:2]
        if isinstance(mask, np.ndarray | Mapping):
            shape = tuple(mask["size"]) if isinstance(mask, Mapping) else mask.shape
        if shape != image.shape[:2]:
            raise ValueError(
                f"mask {i} must have the image's height and width {image.shape[:2]}, got {shape}."
            )


def _draw_shape(canvas: Rgb, rings: Sequence[np.ndarray], color: Color, line: int) -> None:
    if rings:
        drawing.fill_rings(canvas, rings, color, FILL_OPACITY)
        drawing.draw_rings(canvas, rings, color, line)


def _with_tags(canvas: Rgb, tags: Sequence[tuple[Tag, Color]], font: Path | None) -> Rgb:
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for tag, color in tags:
        x0, y0, x1, y1 = tag.box
        draw.rounded_rectangle(tag.box, radius=0.25 * tag.size, fill=color)
        face, ink = typeface(tag.text, tag.size, font), drawing.readable_on(color)
        draw.text(((x0 + x1) / 2, (y0 + y1) / 2), tag.text, ink, face, anchor="mm")
    return np.array(picture)
