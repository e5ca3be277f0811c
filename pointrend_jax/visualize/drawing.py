"""The strokes that pictures are made of: resampling, fills, outlines, dots, text, panels.

Everything works on uint8 RGB canvases. A window is an xyxy rectangle in pixels of the original
image, continuous (the centre of pixel i is i + 0.5). It knows nothing of masks and instances.
"""

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from pointrend_jax.visualize.fonts import typeface

Color = tuple[int, int, int]
Window = tuple[float, float, float, float]
# Underscores: pictures of one call may differ in size.
Rgb = UInt8[np.ndarray, "_H _W 3"]

# Okabe and Ito's colours, told apart by colour-blind readers too, and three more; neighbours differ
# in lightness as well. No black: it would vanish in shadows.
COLORS: tuple[Color, ...] = (
    (0, 158, 255), (255, 152, 0), (0, 176, 116), (238, 92, 172), (250, 225, 60),
    (214, 64, 40), (110, 220, 240), (140, 96, 224), (170, 220, 80),
)  # fmt: skip
INK: Color = (32, 38, 44)
PAPER: Color = (255, 255, 255)
# Behind a mask in the frame of its box: what lies outside the box.
OUTSIDE: Color = (92, 98, 106)

CAPTION = 14  # px, size of the text below panels
GAP = 12  # px, between panels
_SMALLEST_CAPTION = 11  # px
MOST_ENLARGED = 16  # times

_GOLDEN_ANGLE = 0.381966  # of a turn
# Fractions of a pixel in OpenCV's fixed-point coordinates: 2**4.
_SHIFT = 4


def ground(hw: tuple[int, int]) -> Rgb:
    """A plain canvas of that height and width, where there is no image to draw on."""
    return np.full((*hw, 3), OUTSIDE, np.uint8)


def color_of(index: int) -> Color:
    """A colour for each number: `COLORS`, then hues a golden angle apart in three shades."""
    if index < len(COLORS):
        return COLORS[index]
    hue, shade = (index * _GOLDEN_ANGLE) % 1.0, index % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.5, 0.75)[shade], (0.85, 0.95, 0.6)[shade])
    return round(255 * red), round(255 * green), round(255 * blue)


def resample(
    field: np.ndarray,
    source: Window,
    window: Window,
    size: tuple[int, int],
    *,
    interpolation: int = cv2.INTER_LINEAR,
    outside: float | Color = 0.0,
) -> np.ndarray:
    """The part of `field` in `window`, on `size` pixels.

    Args:
      field: [h, w] or [h, w, 3], spread over the rectangle `source`.
      size: (width, height) of the result.
      interpolation: one of OpenCV's; where the result is smaller, areas are averaged first.
      outside: the value beyond `source`.
    """
    field, source = _crop(field, source, window)
    if 0 in field.shape:
        shape = (size[1], size[0], *field.shape[2:])
        return np.broadcast_to(np.asarray(outside, field.dtype), shape).copy()
    # A single sample of many pixels would alias.
    shrink_x = int((window[2] - window[0]) / size[0] / _pixel(source, field, 0))
    shrink_y = int((window[3] - window[1]) / size[1] / _pixel(source, field, 1))
    if max(shrink_x, shrink_y) >= 2:
        height, width = field.shape[:2]
        small = (max(width // max(shrink_x, 1), 1), max(height // max(shrink_y, 1), 1))
        field = cv2.resize(field, small, interpolation=cv2.INTER_AREA)
    matrix = np.zeros((2, 3))
    for axis in (0, 1):
        # Half-pixel centres on both sides.
        scale = (window[2 + axis] - window[axis]) / size[axis]
        pixel = _pixel(source, field, axis)
        matrix[axis, axis] = scale / pixel
        matrix[axis, 2] = (window[axis] + 0.5 * scale - source[axis]) / pixel - 0.5
    border = outside if isinstance(outside, tuple) else (outside,) * 3
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(field, matrix, size, flags=flags, borderValue=border)


def fill(
    canvas: Rgb, coverage: Float[np.ndarray, "h w"], at: tuple[int, int], color: Color
) -> None:
    """Blends `color` in, as much as `coverage` (0..1) says, with its first pixel at (x, y)."""
    (x, y), (height, width) = at, coverage.shape
    part = canvas[y : y + height, x : x + width]
    weight = coverage[..., None].astype(np.float32)
    part[:] = np.rint(part * (1 - weight) + np.asarray(color, np.float32) * weight)


def glowing(brightness: np.ndarray) -> Rgb:
    """Colours of numbers in 0..1: from black over red to a pale yellow."""
    colored = cv2.applyColorMap(np.rint(255 * brightness).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB))


def draw_outline(
    canvas: Rgb,
    field: Float[np.ndarray, "h w"],
    color: Color,
    *,
    width: int,
    at: tuple[int, int] = (0, 0),
    halo: bool = False,
) -> None:
    """Draws where `field` crosses one half, to a fraction of a pixel.

    Args:
      width: of the line, pixels. halo: a dark edge on both sides, for busy backgrounds.
    """
    lines = [_fixed(line[:, ::-1] + np.asarray(at)) for line in find_contours(field, 0.5)]
    if halo:
        cv2.polylines(canvas, lines, False, INK, width + 2, cv2.LINE_AA, _SHIFT)
    cv2.polylines(canvas, lines, False, color, width, cv2.LINE_AA, _SHIFT)


def fill_rings(canvas: Rgb, rings: Sequence[np.ndarray], color: Color, opacity: float) -> None:
    """Blends `color` in, as much as `opacity` says, within an odd number of the rings.

    Args:
      rings: each [P, 2], (x, y) in pixels of the canvas, continuous.
    """
    x0, y0, x1, y1 = bounds(rings)
    # Whole pixels around them, and one more that smooth edges spill over to.
    left, top = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
    right, bottom = min(int(x1) + 2, canvas.shape[1]), min(int(y1) + 2, canvas.shape[0])
    if right <= left or bottom <= top:
        return
    coverage = np.zeros((bottom - top, right - left), np.uint8)
    lines = [_fixed(ring - (left + 0.5, top + 0.5)) for ring in rings]
    cv2.fillPoly(coverage, lines, 255, cv2.LINE_AA, _SHIFT)
    fill(canvas, coverage * np.float32(opacity / 255), (left, top), color)


def draw_rings(canvas: Rgb, rings: Iterable[np.ndarray], color: Color, width: int) -> None:
    """Closed lines; each ring as of `fill_rings`."""
    lines = [_fixed(ring - 0.5) for ring in rings]
    cv2.polylines(canvas, lines, True, color, width, cv2.LINE_AA, _SHIFT)


def draw_line(canvas: Rgb, line: np.ndarray, color: Color, width: int) -> None:
    """A line [P, 2] of (x, y) in pixels of the canvas, with a dot at its end."""
    cv2.polylines(canvas, [_fixed(line - 0.5)], False, color, width, cv2.LINE_AA, _SHIFT)
    draw_dots(canvas, line[-1:], 1.5 * width, color)


def bounds(rings: Sequence[np.ndarray]) -> Window:
    """The smallest rectangle around them."""
    lowest = np.min([ring.min(axis=0) for ring in rings], axis=0)
    highest = np.max([ring.max(axis=0) for ring in rings], axis=0)
    return float(lowest[0]), float(lowest[1]), float(highest[0]), float(highest[1])


def draw_dots(canvas: Rgb, points: Float[np.ndarray, "P 2"], radius: float, color: Color) -> None:
    """Discs at (x, y) in pixels of the canvas, continuous."""
    for x, y in _fixed(points - 0.5).tolist():
        size = round(radius * 2**_SHIFT)
        cv2.circle(canvas, (x, y), size, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_box(canvas: Rgb, box: Window, color: Color, width: int) -> None:
    """An xyxy box in pixels of the canvas, continuous."""
    first, last = _fixed(np.asarray(box).reshape(2, 2) - 0.5).tolist()
    cv2.rectangle(canvas, first, last, color, width, cv2.LINE_AA, _SHIFT)


def readable_on(color: Color) -> Color:
    """Ink or paper, whichever stands out from `color` (by its luma)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return INK if luma > 140 else PAPER


def captioned_row(panels: Sequence[tuple[Rgb, str]], size: int, file: Path | None = None) -> Rgb:
    """Panels side by side, each with a centred line of text below.

    All captions have one size, and less than `size` where one would be wider than its panel; what
    is still too wide at the smallest size is shortened.
    """

    def room(panel: Rgb) -> int:
        return panel.shape[1] - size

    while size > _SMALLEST_CAPTION and any(
        typeface(text, size, file).getlength(text) > room(panel) for panel, text in panels
    ):
        size -= 1
    texts = [shortened(text, room(panel), size, file) for panel, text in panels]
    captions = zip(panels, texts, strict=True)
    return row([captioned(panel, text, size, file) for (panel, _), text in captions], GAP)


def shortened(text: str, width: int, size: int, file: Path | None = None) -> str:
    """A text of at most `width` pixels: "..." stands for the end of what precedes its last word.

    So the score behind a long name stays, if there is room for it.
    """

    def fits(candidate: str) -> bool:
        return typeface(candidate, size, file).getlength(candidate) <= width

    if fits(text):
        return text
    name, _, last = text.rpartition(" ")
    for begin, end in ((name, f"... {last}"), (text, "...")):
        for kept in range(len(begin) - 1, 0, -1):
            candidate = begin[:kept].rstrip() + end
            if fits(candidate):
                return candidate
    return "..."


def panel_width(above: Rgb, number: int) -> int:
    """The width of so many panels that together are as wide as a row above them."""
    return (above.shape[1] - (number - 1) * GAP) // number


def captioned(panel: Rgb, caption: str, size: int, file: Path | None = None) -> Rgb:
    """The panel with a centred line of text below."""
    width, height = panel.shape[1], round(2.0 * size)
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    face = typeface(caption, size, file)
    draw.text((width / 2, height * 0.42), caption, INK, face, anchor="mm")
    return np.concatenate([panel, np.asarray(strip)])


def row(panels: Sequence[Rgb], gap: int) -> Rgb:
    """Panels side by side on paper, aligned at the top."""
    height = max(p.shape[0] for p in panels)
    return _join([np.pad(p, ((0, height - p.shape[0]), (0, 0), (0, 0)), constant_values=255)
                  for p in panels], gap, axis=1)  # fmt: skip


def column(panels: Sequence[Rgb], gap: int) -> Rgb:
    """Panels below one another on paper, aligned at the left."""
    width = max(p.shape[1] for p in panels)
    return _join([np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255)
                  for p in panels], gap, axis=0)  # fmt: skip


def sheet(panels: Sequence[Rgb], *, columns: int, side: int) -> Rgb:
    """Panels as rows of `columns`, each in a field of `side` pixels."""
    fields = []
    for panel in panels:
        small = fit(panel, side)
        beyond = ((0, side - small.shape[0]), (0, side - small.shape[1]), (0, 0))
        fields.append(np.pad(small, beyond, constant_values=255))
    rows = [row(fields[i : i + columns], GAP) for i in range(0, len(fields), columns)]
    return framed(column(rows, GAP))


def framed(picture: Rgb) -> Rgb:
    """The picture with a margin of paper."""
    return np.pad(picture, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


def fit(panel: Rgb, side: int) -> Rgb:
    """The panel with its longer side `side` pixels long."""
    return scaled(panel, side / max(panel.shape[:2]))


def check_scale(scale: float) -> None:
    """Raises ValueError unless a picture may have so many times the image's size."""
    if not 0 < scale <= MOST_ENLARGED:
        raise ValueError(f"scale must be above 0 and at most {MOST_ENLARGED}, got {scale}.")


def scaled(panel: Rgb, scale: float) -> Rgb:
    """The panel at so many times its size."""
    height, width = scaled_size(panel, scale)
    if (height, width) == panel.shape[:2]:
        return panel.copy()
    mode = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(panel, (width, height), interpolation=mode), np.uint8)


def enlarging(image: Rgb, least_side: int) -> float:
    """The scale that gives the longer side that many pixels; 1 where it has as many."""
    return min(max(least_side / max(image.shape[:2]), 1.0), MOST_ENLARGED)


def scaled_size(panel: Rgb, scale: float) -> tuple[int, int]:
    """Height and width of a panel at so many times its size, whole pixels."""
    return max(round(panel.shape[0] * scale), 1), max(round(panel.shape[1] * scale), 1)


def _join(panels: Sequence[Rgb], gap: int, axis: int) -> Rgb:
    shape = list(panels[0].shape)
    shape[axis] = gap
    between = np.full(shape, 255, np.uint8)
    parts = [part for panel in panels for part in (between, panel)]
    return np.concatenate(parts[1:], axis)


def _crop(field: np.ndarray, source: Window, window: Window) -> tuple[np.ndarray, Window]:
    """Whole pixels that the window needs, with two more for interpolation, and their rectangle."""
    slices, rectangle = [], [0.0] * 4
    for axis in (0, 1):
        length, pixel = field.shape[1 - axis], _pixel(source, field, axis)
        first = int(np.floor((window[axis] - source[axis]) / pixel)) - 2
        last = int(np.ceil((window[2 + axis] - source[axis]) / pixel)) + 2
        first, last = max(first, 0), max(min(last, length), 0)
        slices.append(slice(first, max(first, last)))
        rectangle[axis], rectangle[2 + axis] = (source[axis] + i * pixel for i in (first, last))
    return field[slices[1], slices[0]], (rectangle[0], rectangle[1], rectangle[2], rectangle[3])


def _pixel(source: Window, field: np.ndarray, axis: int) -> float:
    """The extent of one sample of `field`, in pixels of the original image."""
    return (source[2 + axis] - source[axis]) / field.shape[1 - axis]


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * 2**_SHIFT).astype(np.int32)
