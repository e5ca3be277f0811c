"""What the pictures are drawn with: samples of a photo or a grid, outlines, points, text, a page.

Arrays are uint8 RGB pictures. A `View` is a part of a box in box coordinates, (0, 0) to (1, 1), so
that photo, coarse mask and rendered mask of any resolution line up. numpy, Pillow and OpenCV only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

ORANGE: Colour = (255, 140, 0)
BLUE: Colour = (0, 114, 255)

_PAPER = (252, 252, 252)
_OUTSIDE = (226, 226, 226)  # what a photo shows beyond its border
_INK, _FAINT_INK = (32, 32, 32), (104, 104, 104)
_GAP = 14
_TEXT_SIZE = 13
_LINE_HEIGHT = 17
# OpenCV draws at a 16th of a pixel.
_SHIFT = 4
_SUPERSAMPLING = 4


class View(NamedTuple):
    """A rectangle in box coordinates: the box itself is View(0, 0, 1, 1)."""

    left: float
    top: float
    right: float
    bottom: float

    def to_pixels(self, coords: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Box coordinates [..., 2] (x, y) as pixels of a (width, height) picture of this view."""
        origin = np.array([self.left, self.top])
        extent = np.array([self.right - self.left, self.bottom - self.top])
        return (coords - origin) / extent * size - 0.5

    def grow(self, x: float, y: float) -> "View":
        """This view with x and y more, in its own widths and heights, on each side."""
        dx, dy = x * (self.right - self.left), y * (self.bottom - self.top)
        return View(self.left - dx, self.top - dy, self.right + dx, self.bottom + dy)


class Panel(NamedTuple):
    """A picture and its two lines of caption."""

    picture: np.ndarray
    title: str
    detail: str = ""


def font(size: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow. Raises: ValueError if Pillow was built without FreeType."""
    default = ImageFont.load_default(size=size)
    if not isinstance(default, ImageFont.FreeTypeFont):
        raise ValueError("Text needs a Pillow with FreeType; install the wheel of Pillow.")
    return default


def sample_photo(
    image: np.ndarray, box: np.ndarray, view: View, size: tuple[int, int]
) -> np.ndarray:
    """The part of `image` that `view` of `box` (xyxy) shows, as a (width, height) picture."""
    left, top, right, bottom = (float(side) for side in box)
    scale = np.array([right - left, bottom - top])
    extent = np.array([view.right - view.left, view.bottom - view.top]) * scale
    # Several samples a pixel where the photo shrinks: a single one would alias.
    factor = int(np.clip(np.ceil((extent / size).max()), 1, 12))
    fine = (size[0] * factor, size[1] * factor)
    step = extent / fine
    start = np.array([left, top]) + np.array([view.left, view.top]) * scale + step / 2 - 0.5
    matrix = np.array([[step[0], 0, start[0]], [0, step[1], start[1]]])
    picture = cv2.warpAffine(
        image,
        matrix,
        fine,
        flags=(cv2.INTER_CUBIC if factor == 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_OUTSIDE,
    )
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def sample_cells(grid: np.ndarray, view: View, size: tuple[int, int]) -> np.ndarray:
    """The cells [S, S] of a box as flat rectangles: [height, width]; their mean where many meet."""
    factor = max(1, int(np.ceil(max(grid.shape) / min(size))))
    x, y = _centres(view, (size[0] * factor, size[1] * factor))
    rows = np.clip(np.floor(y * grid.shape[0]), 0, grid.shape[0] - 1).astype(int)
    columns = np.clip(np.floor(x * grid.shape[1]), 0, grid.shape[1] - 1).astype(int)
    cells = grid.astype(np.float32)[rows[:, None], columns]
    return cv2.resize(cells, size, interpolation=cv2.INTER_AREA)


def draw_level_outline(
    picture: np.ndarray, grid: np.ndarray, view: View, colour: Colour, thickness: int = 2
) -> None:
    """Draws where the bilinearly upsampled `grid` [S, S] of a box, 0 beyond it, crosses 0.5."""
    height, width = picture.shape[:2]
    # A border out of sight, or the outline would run along the sides of the picture.
    border = 2 * thickness
    fine = ((width + 2 * border) * _SUPERSAMPLING, (height + 2 * border) * _SUPERSAMPLING)
    x, y = _centres(view.grow(border / width, border / height), fine)
    values = _bilinear_weights(y, grid.shape[0]) @ grid @ _bilinear_weights(x, grid.shape[1]).T
    draw_outline(
        picture, values > 0.5, colour, thickness, scale=1 / _SUPERSAMPLING, offset=(-border,) * 2
    )


def draw_outline(
    picture: np.ndarray,
    mask: np.ndarray,
    colour: Colour,
    thickness: int,
    *,
    scale: float = 1.0,
    offset: tuple[int, int] = (0, 0),
) -> None:
    """Draws the antialiased outlines of a bool mask, whose pixels are `scale` pixels of `picture`.

    Args:
      offset: (x, y) of the mask's corner in `picture`.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        points = contour[:, 0].astype(float)
        if len(points) > 8:
            # The mean of five neighbours takes the stairs out of the line, not the corners.
            points = np.mean([np.roll(points, i, axis=0) for i in range(-2, 3)], axis=0)
        points = (points + 0.5) * scale - 0.5 + offset
        fixed = np.round(points * 2**_SHIFT).astype(np.int32)
        cv2.polylines(picture, [fixed], True, colour, thickness, cv2.LINE_AA, _SHIFT)


def draw_points(
    picture: np.ndarray, coords: np.ndarray, view: View, colour: Colour, radius: float
) -> None:
    """Draws dots at box coordinates [P, 2]."""
    height, width = picture.shape[:2]
    pixels = view.to_pixels(coords, (width, height))
    seen = ((pixels > -radius - 1) & (pixels < np.array([width, height]) + radius)).all(1)
    one = 2**_SHIFT
    for x, y in np.round(pixels[seen] * one).astype(int).tolist():
        cv2.circle(picture, (x, y), round(radius * one), colour, -1, cv2.LINE_AA, _SHIFT)


def draw_rectangle(picture: np.ndarray, part: View, view: View, colour: Colour) -> None:
    """Draws the sides of `part` on a picture of `view`, white beneath so that they always show."""
    corners = np.array([[part.left, part.top], [part.right, part.bottom]])
    size = (picture.shape[1], picture.shape[0])
    first, last = np.round(view.to_pixels(corners, size)).astype(int).tolist()
    for line_colour, thickness in (((255, 255, 255), 3), (colour, 1)):
        cv2.rectangle(picture, first, last, line_colour, thickness)


def draw_page(rows: Sequence[Sequence[Panel]], heading: str = "") -> np.ndarray:
    """Lays panels out in rows and aligned columns, captions below, a heading above."""
    text, detail, large = font(_TEXT_SIZE), font(_TEXT_SIZE - 1), font(_TEXT_SIZE + 5)
    captions_width = max(
        max(text.getlength(p.title), detail.getlength(p.detail)) for row in rows for p in row
    )
    column = max(int(captions_width) + 1, *(p.picture.shape[1] for row in rows for p in row))
    heights = [max(p.picture.shape[0] for p in row) for row in rows]
    top = _GAP + (2 * _LINE_HEIGHT if heading else 0)
    caption_height = 2 * _LINE_HEIGHT + 6
    size = (
        max(len(row) for row in rows) * (column + _GAP) + _GAP,
        top + sum(heights) + len(rows) * (caption_height + _GAP),
    )
    page = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(page)
    if heading:
        draw.text((_GAP, _GAP), heading, _INK, large)
    for row, height in zip(rows, heights, strict=True):
        for i, panel in enumerate(row):
            left = _GAP + i * (column + _GAP)
            middle = left + column / 2
            x = left + (column - panel.picture.shape[1]) // 2
            page.paste(Image.fromarray(panel.picture), (x, top))
            y = top + height + 5
            draw.text((middle, y), panel.title, _INK, text, anchor="ma")
            draw.text((middle, y + _LINE_HEIGHT), panel.detail, _FAINT_INK, detail, anchor="ma")
        top += height + caption_height + _GAP
    return np.asarray(page).copy()


def _centres(view: View, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x [width] and y [height] of the pixel centres of a picture, in box coordinates."""
    x = view.left + (np.arange(size[0]) + 0.5) / size[0] * (view.right - view.left)
    y = view.top + (np.arange(size[1]) + 0.5) / size[1] * (view.bottom - view.top)
    return x, y


def _bilinear_weights(coords: np.ndarray, num_cells: int) -> np.ndarray:
    """[len(coords), num_cells]; cells have half-pixel centres, and zeros lie beyond them."""
    # OpenCV interpolates at 32nds of a cell: stairs where a coarse cell fills the picture.
    distance = np.abs(coords[:, None] * num_cells - 0.5 - np.arange(num_cells))
    return np.clip(1 - distance, 0, 1)
