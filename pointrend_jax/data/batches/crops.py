"""Crops of photos around given masks: a square window around the object, on a canvas of one size.

A large photo costs what its objects cost, and a mask is never drawn on the whole of it. The window
lies inside the photo; where the photo is smaller than the window, the canvas is padded at the right
and at the bottom as every image is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from pointrend_jax.data.batches.transforms import (
    SIZE_DIVISIBILITY,
    padded_sizes,
    place_image,
    resize_image,
)
from pointrend_jax.masks.degrade import box_of
from pointrend_jax.structures import Config, GivenBatch

# By how much of a pixel the canvas must say another share than it was given. Along an ordinary
# outline, where half of a pixel lies on the other side, a refiner must be as sure anyway.
_LEAST_CHANGE = 0.2
# What a refiner, which knows no classes, calls what it sees.
CLASS_NAMES = ("object",)
# xyxy in whole pixels of the photo.
Window = tuple[int, int, int, int]


class CropShape(NamedTuple):
    """How objects are cut out; `configs/base.py` says more.

    Attributes: canvas, pixels a side; margin, of the longer side of the mask's box, on each side of
      it; least_side, of a window, in pixels of the photo.
    """

    canvas: int
    margin: float
    least_side: int


def crop_shape(config: Config) -> CropShape:
    """How `config` has objects cut out."""
    refine = config.model.refine
    return CropShape(int(config.data.buckets[0][0]), float(refine.margin), int(refine.least_side))


class Crop(NamedTuple):
    """An object and its surroundings.

    Attributes:
      window: of the photo.
      inside_hw: height and width of the part of the canvas that shows it.
      image: uint8 [h, w, 3] of that size.
      given: bool [y1 - y0, x1 - x0], the given mask in the window, in pixels of the photo.
      soft: uint8 [h, w], the same on the canvas: the share of each pixel, 255 for all.
    """

    window: Window
    inside_hw: tuple[int, int]
    image: np.ndarray
    given: np.ndarray
    soft: np.ndarray


def make_crop(
    image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], shape: CropShape
) -> Crop:
    """The crop of a mask that has at least one pixel."""
    (height, width), box = mask.shape, box_of(mask)
    longer = max(box[2] - box[0], box[3] - box[1])
    side = max(round(longer * (1 + 2 * shape.margin)), shape.least_side)
    x0, x1 = _span(box[0], box[2], side, width)
    y0, y1 = _span(box[1], box[3], side, height)
    scale = shape.canvas / side
    inside_hw = max(round((y1 - y0) * scale), 1), max(round((x1 - x0) * scale), 1)
    given = np.ascontiguousarray(mask[y0:y1, x0:x1])
    pixels = resize_image(np.ascontiguousarray(image[y0:y1, x0:x1]), inside_hw)
    return Crop((x0, y0, x1, y1), inside_hw, pixels, given, on_canvas(given, inside_hw))


def on_canvas(
    mask: Bool[np.ndarray, "h w"], inside_hw: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """The share of each pixel that a mask covers, 255 for all of it."""
    image = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
    resized = image.resize((inside_hw[1], inside_hw[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _span(start: int, end: int, side: int, length: int) -> tuple[int, int]:
    """`side` pixels around [start, end], moved into [0, length]; all of it where that is less."""
    first = min(max((start + end - side) // 2, 0), max(length - side, 0))
    return first, min(first + side, length)


def given_batch(crops: Sequence[Crop], canvas: int, batch_size: int) -> GivenBatch:
    """Crops in a batch of `batch_size` slots; those that only fill it are one black cell."""
    hw = np.full((batch_size, 2), SIZE_DIVISIBILITY, np.int32)
    images = np.zeros((batch_size, canvas, canvas, 3), np.uint8)
    given = np.zeros((batch_size, canvas, canvas), np.uint8)
    for slot, crop in enumerate(crops):
        hw[slot] = crop.inside_hw
        images[slot] = place_image(crop.image, (canvas, canvas))
        place_mask(given[slot], crop.soft)
    valid = np.arange(batch_size) < len(crops)
    return GivenBatch(images, hw, padded_sizes(hw), valid, given)


def place_mask(canvas: UInt8[np.ndarray, "H W"], soft: UInt8[np.ndarray, "h w"]) -> None:
    """Writes a mask to the top left of a canvas."""
    canvas[: soft.shape[0], : soft.shape[1]] = soft


def change_by(
    crop: Crop, probs: Float[np.ndarray, "H W"], *, sure: float
) -> Bool[np.ndarray, "h w"]:
    """The given mask in pixels of the photo, changed where the canvas is sure of the other side.

    A mask may be finer than its canvas. What is too thin for that, a strand or a gap, lies on the
    other side there already, and stays unless the canvas says another share than it was given.

    Args:
      probs: of the canvas.
      sure: the probability of the other side from which on a pixel changes, at least one half.
    """
    height, width = crop.inside_hw
    size = crop.given.shape[1], crop.given.shape[0]
    # Pixels of the canvas are averaged where they are smaller than those of the photo.
    how = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR

    def of_other_side(shares: np.ndarray) -> np.ndarray:
        resized = cv2.resize(np.ascontiguousarray(shares, np.float32), size, interpolation=how)
        return np.where(crop.given, 1.0 - resized, resized)

    now, before = of_other_side(probs[:height, :width]), of_other_side(crop.soft / 255)
    return crop.given ^ ((now >= sure) & (now - before >= _LEAST_CHANGE))
