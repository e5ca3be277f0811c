"""Geometry of images with a class for every pixel: resize, crop, canvas.

The order and the rounding are Detectron2's: ResizeShortestEdge, RandomCrop_CategoryAreaConstraint,
then colour, then RandomFlip.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pointrend_jax.structures import IGNORE_LABEL

# Detectron2's RandomCrop_CategoryAreaConstraint: after so many crops the last one is used.
CROP_TRIES = 10


def resize_labels(
    labels: UInt8[np.ndarray, "h w"], new_hw: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """Nearest neighbour by Pillow, as Detectron2's ResizeTransform.apply_segmentation."""
    resized = Image.fromarray(labels).resize((new_hw[1], new_hw[0]), Image.Resampling.NEAREST)
    return np.asarray(resized)


def choose_crop(
    labels: UInt8[np.ndarray, "H W"],
    crop_hw: tuple[int, int],
    max_category_area: float,
    positions: Float[np.ndarray, "tries 2"],
) -> tuple[int, int]:
    """(y, x) of the top left corner of a crop in which no class covers too much.

    The first crop with at least two classes of which none covers `max_category_area` of the
    labelled pixels or more; the last one if there is none. From 1.0 on, the first crop whatever it
    holds.

    Args:
      crop_hw: at most the size of the image.
      positions: where the crops to try lie, (y, x) in [0, 1).
    """
    rooms = np.array(labels.shape) - crop_hw + 1
    corners = [(int(y), int(x)) for y, x in np.floor(positions * rooms)]
    if max_category_area >= 1.0:
        return corners[0]
    for y, x in corners:
        crop = labels[y : y + crop_hw[0], x : x + crop_hw[1]]
        pixels = np.bincount(crop.ravel(), minlength=256)
        pixels[IGNORE_LABEL] = 0
        several = np.count_nonzero(pixels) > 1
        if several and pixels.max() < pixels.sum() * max_category_area:
            return y, x
    return corners[-1]


def place_labels(
    labels: UInt8[np.ndarray, "h w"], canvas_hw: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """The labels at the top left of a canvas without ground truth."""
    canvas = np.full(canvas_hw, IGNORE_LABEL, np.uint8)
    canvas[: labels.shape[0], : labels.shape[1]] = labels
    return canvas
