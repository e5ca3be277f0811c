"""Masks over their image, with outlines, boxes and labels; coarse beside rendered masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Rgb

# bool [H, W], or a compressed COCO RLE, which is decoded when its turn comes.
Mask = np.ndarray | Mapping[str, Any]

_SMALL = 640  # px: overlays of smaller images are enlarged, or their labels would hide them
_MOST_ENLARGED = 8  # times
_FILL_OPACITY = 0.42
_COMPARISON_SIDE = 464  # px, longer side of a panel


def overlay_masks(
    image: Rgb,
    boxes: Float[np.ndarray, "n 4"] | None,
    masks: Sequence[Mask],
    labels: Sequence[str],
    scores: Float[np.ndarray, " n"] | None,
    *,
    font: Path | None = None,
) -> Rgb:
    """The image with translucent, outlined masks and their labels; the best score lies on top.

    Args:
      boxes: xyxy in pixels of the image; None draws none.
      masks: of the image's size.
      scores: None for a ground truth, which has none: no number is shown, the first lies on top.
      font: file of the typeface of the labels; None for the one inside Pillow, which has Latin
        letters without accents alone.
    Returns: the picture, of the image's size, or a whole multiple of it if the image is small.
    Raises: ValueError if the lengths differ or a mask is not of the image's size.
    """
    _check_lengths_and_sizes(image, boxes, masks, labels, scores)
    drawing.tell_missing_letters(labels, font)
    factor = _enlargement(image, _SMALL)
    canvas = _enlarge(image, factor, cv2.INTER_CUBIC)
    line = max(round(max(canvas.shape[:2]) / 500), 1)
    order = np.arange(len(masks)) if scores is None else np.argsort(-scores, kind="stable")
    anchors: dict[int, drawing.Window] = {}
    for i in order[::-1].tolist():
        extent = _draw_mask(canvas, masks[i], drawing.color_of(i), factor, line)
        if boxes is not None:
            x0, y0, x1, y1 = (float(v) * factor for v in boxes[i])
            extent = (x0, y0, x1, y1)
            drawing.draw_box(canvas, extent, drawing.color_of(i), max(line // 2, 1))
        if extent is not None:
            anchors[i] = extent
    numbers = [""] * len(masks) if scores is None else [f" {score:.2f}" for score in scores]
    texts = {i: f"{labels[i]}{numbers[i]}" for i in order.tolist() if i in anchors}
    return _draw_labels(canvas, anchors, texts, font)


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
        side = _COMPARISON_SIDE
        factor = _enlargement(image, side)
        panels = []
        for masks in ((), coarse_masks[i], rendered_masks[i]):
            canvas = _enlarge(image, factor, cv2.INTER_CUBIC)
            line = max(round(2 * max(canvas.shape[:2]) / _COMPARISON_SIDE), 1)
            for j, mask in enumerate(masks):
                _draw_mask(canvas, mask, drawing.color_of(j), factor, line)
            panels.append(drawing.fit(canvas, side))
        if i == len(images) - 1:
            captions = ("image", "coarse masks", "rendered masks")
            panels = [
                drawing.captioned(p, c, drawing.CAPTION + 4)
                for p, c in zip(panels, captions, strict=True)
            ]
        rows.append(drawing.row(panels, drawing.GAP))
    return drawing.framed(drawing.column(rows, drawing.GAP))


def _check_lengths_and_sizes(
    image: Rgb,
    boxes: np.ndarray | None,
    masks: Sequence,
    labels: Sequence,
    scores: np.ndarray | None,
) -> None:
    given = {"boxes": boxes, "masks": masks, "labels": labels, "scores": scores}
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    if len({*lengths.values()}) != 1:
        raise ValueError(
            "overlay_masks needs as many boxes, masks, labels and scores, got "
            f"{', '.join(f'{number} {name}' for name, number in lengths.items())}."
        )
    for i, mask in enumerate(masks):
        shape = tuple(mask["size"]) if isinstance(mask, Mapping) else mask.shape
        if shape != image.shape[:2]:
            raise ValueError(
                f"mask {i} must have the image's height and width {image.shape[:2]}, got {shape}."
            )


def _enlargement(image: Rgb, least: int) -> int:
    """The whole factor that makes the longer side at least `least`, within reason."""
    return min(-(-least // max(image.shape[:2])), _MOST_ENLARGED)


def _enlarge(image: np.ndarray, factor: int, interpolation: int) -> np.ndarray:
    if factor == 1:
        return image.copy()
    height, width = image.shape[:2]
    return cv2.resize(image, (width * factor, height * factor), interpolation=interpolation)


def _draw_mask(
    canvas: Rgb, mask: Mask, color: drawing.Color, factor: int, line: int
) -> drawing.Window | None:
    """Fills and outlines a mask of the image before enlargement; its extent, None if empty."""
    bits = decode_rle(mask) if isinstance(mask, Mapping) else mask
    bits = np.ascontiguousarray(bits).view(np.uint8)
    x, y, width, height = cv2.boundingRect(bits)
    if not width:
        return None
    # A border of zeros closes the outlines of masks that touch the image's edge.
    field = np.pad(bits[y : y + height, x : x + width], 2).astype(np.float32)
    field = _enlarge(field, factor, cv2.INTER_NEAREST)
    # Takes the steps off the outline; parts one pixel thin keep more than half of their weight.
    field = cv2.GaussianBlur(field, (0, 0), 0.7 * factor)
    inner = field[2 * factor : -2 * factor, 2 * factor : -2 * factor]
    drawing.fill(canvas, _FILL_OPACITY * inner, (x * factor, y * factor), color)
    at = ((x - 2) * factor, (y - 2) * factor)
    drawing.draw_outline(canvas, field, color, width=line, at=at)
    return (x * factor, y * factor, (x + width) * factor, (y + height) * factor)


def _draw_labels(
    canvas: Rgb,
    extents: Mapping[int, drawing.Window],
    texts: Mapping[int, str],
    font: Path | None,
) -> Rgb:
    """Tags in the masks' colours, above their extent or where they hide no other."""
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    height, width = canvas.shape[:2]
    size = int(np.clip(max(height, width) / 58, 12, 64))
    face = drawing.font(size, font)
    spots: dict[int, drawing.Window] = {}
    for i, text in texts.items():
        tag = (face.getlength(text) + 0.7 * size, 1.35 * size)
        spots[i] = _free_spot(extents[i], tag, (width, height), list(spots.values()))
    # Where there is no room, what comes first in `texts` covers what comes later.
    for i in reversed(spots):
        color, (x0, y0, x1, y1) = drawing.color_of(i), spots[i]
        draw.rounded_rectangle(spots[i], radius=0.25 * size, fill=color)
        ink = drawing.readable_on(color)
        draw.text(((x0 + x1) / 2, (y0 + y1) / 2), texts[i], ink, face, anchor="mm")
    return np.array(picture)


def _free_spot(
    extent: drawing.Window,
    tag: tuple[float, float],
    canvas: tuple[int, int],
    placed: Sequence[drawing.Window],
) -> drawing.Window:
    """Above, inside or below the extent, left or right: the first within no other tag."""
    x0, y0, x1, y1 = extent
    tops = (y0 - tag[1], y0, y1, y1 - tag[1])
    spots = []
    for x in (x0, x1 - tag[0]):
        for y in tops:
            left = min(max(x, 0.0), max(canvas[0] - tag[0], 0.0))
            top = min(max(y, 0.0), max(canvas[1] - tag[1], 0.0))
            spots.append((left, top, left + tag[0], top + tag[1]))
    free = (s for s in spots if not any(_overlap(s, other) for other in placed))
    return next(free, spots[0])


def _overlap(a: drawing.Window, b: drawing.Window) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
