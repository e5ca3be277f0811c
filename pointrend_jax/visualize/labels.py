"""Label maps in colour: over the photo, with a legend of the classes that occur."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from pointrend_jax.visualize import drawing
from pointrend_jax.visualize.drawing import Color, Rgb

# Source: cityscapesscripts, helpers/labels.py.
_CITYSCAPES: Mapping[str, Color] = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70),
    "wall": (102, 102, 156), "fence": (190, 153, 153), "pole": (153, 153, 153),
    "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0), "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152), "sky": (70, 130, 180), "person": (220, 20, 60),
    "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100),
    "train": (0, 80, 100), "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
}  # fmt: skip
# Source: CamVid, label_colors.txt: those of Column_Pole, Sidewalk, SignSymbol, Bicyclist, ...
_CAMVID: Mapping[str, Color] = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128),
    "road": (128, 64, 128), "pavement": (0, 0, 192), "tree": (128, 128, 0),
    "signsymbol": (192, 128, 128), "fence": (64, 64, 128), "car": (64, 0, 128),
    "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip
_GOLDEN_ANGLE = 0.381966
# px; smaller photos are shown at a multiple of their size.
_SHORTEST_SHOWN = 480
# A class in a legend must cover this part of the image.
_SHOWN_SHARE = 5e-4


def palette(class_names: Sequence[str]) -> UInt8[np.ndarray, "K 3"]:
    """A colour for each class, the same in every run.

    The published ones where all names are of Cityscapes or all of CamVid, so that pictures can be
    compared with others'; else colours far from their neighbours.
    """
    names = [name.lower() for name in class_names]
    published = next((c for c in (_CITYSCAPES, _CAMVID) if c.keys() >= set(names)), {})
    colors = [published.get(name) or _spread(i) for i, name in enumerate(names)]
    return np.asarray(colors, np.uint8).reshape(-1, 3)


def colorize(
    labels: UInt8[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The colour of each pixel's class; black where there is none, as in ground truth."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table[labels]


def overlay_labels(
    image: Rgb,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    opacity: float = 0.55,
    font: Path | None = None,
) -> Rgb:
    """The photo under the colours of its classes, with a legend below; small ones are enlarged.

    Args:
      labels: uint8 [H, W], the best class of each pixel; others than 0..K-1 stay uncoloured.
      opacity: of the colours, 0..1.
      font: file of the typeface of the legend; None for the one inside Pillow, which has Latin
        letters without accents alone.
    Raises: ValueError if image and labels differ in size.
    """
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"labels must have the size of the image, {image.shape[:2]}, got {labels.shape}."
        )
    times = max(1, round(_SHORTEST_SHOWN / min(image.shape[:2])))
    if times > 1:
        size = (times * image.shape[1], times * image.shape[0])
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        labels = np.repeat(np.repeat(labels, times, axis=0), times, axis=1)
    colors = palette(class_names)
    picture = _blended(image, labels, colors, opacity)
    width = picture.shape[1]
    size = int(np.clip(width / 70, drawing.CAPTION, 36))
    return np.concatenate([picture, legend(labels, class_names, width, size=size, font=font)])


def _blended(image: Rgb, labels: np.ndarray, colors: np.ndarray, opacity: float) -> Rgb:
    weight = np.where(labels < len(colors), np.float32(opacity), np.float32(0))[..., None]
    picture = image * (1 - weight) + colorize(labels, colors) * weight
    # A light line where classes meet, so that dark neighbours can be told apart.
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    picture[edge] = 0.35 * picture[edge] + 0.65 * 255
    return np.rint(picture).astype(np.uint8)


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
    drawing.tell_missing_letters(class_names, font)
    pixels = np.bincount(labels.ravel(), minlength=256)[: len(class_names)]
    order = [
        i for i in np.argsort(-pixels, kind="stable") if pixels[i] >= _SHOWN_SHARE * labels.size
    ]
    colors, face = palette(class_names), drawing.font(size, font)
    swatch, space, line = size + 2, round(0.45 * size), round(1.8 * size)
    entries = [(i, f"{class_names[i]} {100 * pixels[i] / labels.size:.1f} %") for i in order]
    places, x, y = [], drawing.GAP, drawing.GAP
    for _, text in entries:
        needed = swatch + space + round(face.getlength(text)) + 3 * space
        if x > drawing.GAP and x + needed > width:
            x, y = drawing.GAP, y + line
        places.append((x, y))
        x += needed
    strip = Image.new("RGB", (width, y + line + drawing.GAP // 2), drawing.PAPER)
    draw = ImageDraw.Draw(strip)
    for (i, text), (left, top) in zip(entries, places, strict=True):
        box = (left, top, left + swatch, top + swatch)
        draw.rectangle(box, tuple(colors[i].tolist()), drawing.INK)
        draw.text((left + swatch + space, top + swatch / 2), text, drawing.INK, face, anchor="lm")
    return np.asarray(strip)


def _spread(index: int) -> Color:
    """Hues a golden angle apart, in three shades."""
    hue, shade = (index * _GOLDEN_ANGLE) % 1.0, index % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.6, 0.75)[shade], (0.85, 0.95, 0.55)[shade])
    return round(255 * red), round(255 * green), round(255 * blue)
