"""Label maps in colour: over the photo, with a legend of the classes that occur."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pointrend_jax.storage import write_whole
from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Color, Rgb
from pointrend_jax.visualize.fonts import tell_missing_letters, typeface

# Source: cityscapesscripts, helpers/labels.py.
_CITYSCAPES: Mapping[str, Color] = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70),
    "wall": (102, 102, 156), "fence": (190, 153, 153), "pole": (153, 153, 153),
    "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0), "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152), "sky": (70, 130, 180), "person": (220, 20, 60),
    "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100),
    "train": (0, 80, 100), "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
}  # fmt: skip
# The hues of CamVid's label_colors.txt (those of Column_Pole, Sidewalk, SignSymbol and the like),
# softened: its own colours are so dark and full that the photo below them cannot be made out.
_CAMVID: Mapping[str, Color] = {
    "sky": (172, 178, 184), "building": (182, 88, 84), "pole": (216, 212, 150),
    "road": (152, 110, 152), "pavement": (96, 108, 208), "tree": (142, 148, 66),
    "signsymbol": (232, 156, 156), "fence": (98, 100, 152), "car": (122, 74, 176),
    "pedestrian": (124, 110, 52), "bicyclist": (58, 152, 206),
}  # fmt: skip
# Of the colours over the photo.
OPACITY = 0.55
# That are made floats at a time.
_ROWS = 64
# A class in a legend must cover this part of the image.
_SHOWN_SHARE = 5e-4


def palette(class_names: Sequence[str]) -> UInt8[np.ndarray, "K 3"]:
    """A colour for each class, the same in every run.

    The published ones where all names are of Cityscapes, and their hues where all are of CamVid, so
    that pictures can be compared with others'; else colours far from their neighbours.
    """
    names = [name.lower() for name in class_names]
    published = next((c for c in (_CITYSCAPES, _CAMVID) if c.keys() >= set(names)), {})
    colors = [published.get(name) or drawing.color_of(i) for i, name in enumerate(names)]
    return np.asarray(colors, np.uint8).reshape(-1, 3)


def colorize(
    labels: UInt8[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The colour of each pixel's class; black where there is none, as in ground truth."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table[labels]


def save_label_map(
    path: Path, labels: UInt8[np.ndarray, "H W"], class_names: Sequence[str]
) -> None:
    """Writes a label map as a PNG file with a palette: values are classes, shown in their colours.

    Values of no class are black.
    Raises: ValueError if the path does not end in .png, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"a label map must end in .png, which keeps its values, got {path.name}.")
    picture = Image.fromarray(labels)
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(class_names)] = palette(class_names)
    picture.putpalette(colors.tobytes())
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_whole(path, content.getvalue())


def overlay_labels(
    image: Rgb,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    opacity: float = OPACITY,
    scale: float = 1.0,
    font: Path | None = None,
) -> Rgb:
    """The photo under the colours of its classes, with a legend below.

    Args:
      labels: uint8 [H, W], the best class of each pixel; others than 0..K-1 stay uncoloured.
      opacity: of the colours, 0..1.
      scale: of the picture: 1 gives it the image's size, to which the legend is added.
      font: file of the typeface of the legend; None for the one inside Pillow, or an installed one
        for names with letters that it lacks.
    Raises: ValueError if image and labels differ in size, or the scale is out of range.
    """
    check_labels(image, labels, scale)
    image = drawing.scaled(image, scale)
    size = image.shape[1], image.shape[0]
    labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    colors = palette(class_names)
    picture = _blended(image, labels, colors, opacity)
    size, width = legend_size(size[0]), size[0]
    return np.concatenate([picture, legend(labels, class_names, width, size=size, font=font)])


def check_labels(image: Rgb, labels: np.ndarray, scale: float) -> None:
    """Raises ValueError if image and labels differ in size, or the scale is out of range."""
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"labels must have the size of the image, {image.shape[:2]}, got {labels.shape}."
        )
    drawing.check_scale(scale)


def _blended(image: Rgb, labels: np.ndarray, colors: np.ndarray, opacity: float) -> Rgb:
    # A light line where classes meet, so that dark neighbours can be told apart.
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    blended = np.empty_like(image)
    # Part by part, as floats take the memory of many images.
    for start in range(0, len(image), _ROWS):
        rows = slice(start, start + _ROWS)
        weight = np.where(labels[rows] < len(colors), np.float32(opacity), np.float32(0))[..., None]
        picture = image[rows] * (1 - weight) + colorize(labels[rows], colors) * weight
        picture[edge[rows]] = 0.35 * picture[edge[rows]] + 0.65 * 255
        blended[rows] = np.rint(picture)
    return blended


class Entry(NamedTuple):
    """A class in a legend: its index, its name and share, and where its swatch begins."""

    label: int
    text: str
    at: tuple[int, int]


class LegendLayout(NamedTuple):
    """What stands in a legend, in pixels.

    Attributes:
      height: of the strip.
      swatch: side of a square of colour; its name begins `space` to the right of it.
    """

    entries: list[Entry]
    height: int
    swatch: int
    space: int


def legend_layout(
    labels: np.ndarray, class_names: Sequence[str], width: int, *, size: int, font: Path | None
) -> LegendLayout:
    """The classes that occur, largest first, in lines of `width` pixels; as `legend` takes it."""
    tell_missing_letters(class_names, font)
    pixels = np.bincount(labels.ravel(), minlength=256)[: len(class_names)]
    order = [
        i for i in np.argsort(-pixels, kind="stable") if pixels[i] >= _SHOWN_SHARE * labels.size
    ]
    swatch, space, line = size + 2, round(0.45 * size), round(1.8 * size)
    entries, x, y = [], drawing.GAP, drawing.GAP
    for i in order:
        text = f"{class_names[i]} {100 * pixels[i] / labels.size:.1f} %"
        needed = swatch + space + round(typeface(text, size, font).getlength(text)) + 3 * space
        if x > drawing.GAP and x + needed > width:
            x, y = drawing.GAP, y + line
        entries.append(Entry(int(i), text, (x, y)))
        x += needed
    return LegendLayout(entries, y + line + drawing.GAP // 2, swatch, space)


def legend_size(width: int) -> int:
    """Pixels of the text below a picture of that width."""
    return int(np.clip(width / 70, drawing.CAPTION, 36))


def legend(
    labels: np.ndarray,
    class_names: Sequence[str],
    width: int,
    *,
    size: int = drawing.CAPTION,
    font: Path | None = None,
) -> Rgb:
    """Swatch, name and share of the classes that occur, largest first, on a strip of paper.

    Args:
      size: of the text in pixels.
      font: file of its typeface; None for the one inside Pillow.
    """
    layout, colors = (
        legend_layout(labels, class_names, width, size=size, font=font),
        palette(class_names),
    )
    strip = Image.new("RGB", (width, layout.height), drawing.PAPER)
    draw = ImageDraw.Draw(strip)
    for entry in layout.entries:
        (left, top), swatch = entry.at, layout.swatch
        box = (left, top, left + swatch, top + swatch)
        draw.rectangle(box, tuple(colors[entry.label].tolist()), drawing.INK)
        middle = (left + swatch + layout.space, top + swatch / 2)
        draw.text(middle, entry.text, drawing.INK, typeface(entry.text, size, font), anchor="lm")
    return np.asarray(strip)
