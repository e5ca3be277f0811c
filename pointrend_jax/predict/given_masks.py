"""A mask that somebody gives, in any of the forms in which tools have masks: what is accepted."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool

from pointrend_jax.data.images import decode_map, read_bytes
from pointrend_jax.data.sources.annotations import checked_segmentation
from pointrend_jax.masks.polygons import Segmentation, rasterize_polygons
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.storage import local_path

# An array of the photo's size; a COCO RLE; polygons x0, y0, x1, y1, ...; a file of numbers, in
# which every number but 0 is an object.
MaskLike = np.ndarray | jax.Array | dict | Sequence | Path | str
# What masks wait as: a full map of each would take the photo's pixels times their number.
Waiting = Segmentation | np.ndarray


def read_masks(masks: object, image_hw: tuple[int, int]) -> list[Waiting]:
    """The masks of a photo, checked.

    Args:
      masks: a sequence with an entry for each mask (a file may have several), an array [n, H, W],
        or the path of one file.
    Raises: ValueError that names the mask and says what is wrong with it.
    """
    if isinstance(masks, (str, Path)):
        return _of_file(masks, image_hw)
    if isinstance(masks, (np.ndarray, jax.Array)):
        if masks.ndim != 3:
            raise ValueError(
                "masks must be one array [number, height, width] or a sequence of masks, got an "
                f"array of shape {tuple(masks.shape)}; give a single mask as [mask]."
            )
        return [_of_array(mask, f"mask {i}", image_hw) for i, mask in enumerate(masks)]
    if not isinstance(masks, Sequence):
        raise ValueError(
            f"masks must be a sequence with an entry for each mask, got {type(masks).__name__}; "
            "give a single mask as [mask]."
        )
    found: list[Waiting] = []
    for i, mask in enumerate(masks):
        if isinstance(mask, (str, Path)):
            found += _of_file(mask, image_hw)
        elif isinstance(mask, (np.ndarray, jax.Array)):
            found.append(_of_array(mask, f"mask {i}", image_hw))
        else:
            found.append(_of_coco(mask, f"mask {i}", image_hw))
    return found


def drawn(mask: Waiting, image_hw: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The pixels of a mask of `read_masks`."""
    if isinstance(mask, np.ndarray):
        return mask
    if isinstance(mask, dict):
        return decode_rle(mask)
    return rasterize_polygons(mask, image_hw)


def _of_coco(value: object, which: str, image_hw: tuple[int, int]) -> Waiting:
    try:
        return checked_segmentation(value, image_hw)
    except ValueError as error:
        raise ValueError(
            f"{which}: {error}; a mask is an array of the image's {image_hw[0]} x {image_hw[1]} "
            "pixels (height x width), a COCO RLE of that size, a list of polygons, or the path of "
            "an image of numbered objects."
        ) from error


def _of_array(mask: np.ndarray | jax.Array, which: str, image_hw: tuple[int, int]) -> np.ndarray:
    array = np.asarray(mask)
    if array.shape != image_hw:
        raise ValueError(
            f"{which} must have the image's {image_hw[0]} x {image_hw[1]} pixels (height x width), "
            f"got an array of shape {array.shape}."
        )
    if array.dtype.kind == "f":
        # Probabilities; logits would lie beyond.
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"{which} has floats that are no probabilities from 0 to 1; give logits as "
                "logits > 0."
            )
        return array >= 0.5
    if array.dtype.kind not in "biu":
        raise ValueError(
            f"{which} must be of booleans, whole numbers (0 is no object) or probabilities, got "
            f"{array.dtype}."
        )
    return array != 0


def _of_file(path: str | Path, image_hw: tuple[int, int]) -> list[Waiting]:
    file = local_path(path)
    numbers = decode_map(read_bytes(file), str(file))
    if numbers.shape != image_hw:
        raise ValueError(
            f"the mask file {file} must have the image's {image_hw[0]} x {image_hw[1]} pixels "
            f"(height x width), got {numbers.shape[0]} x {numbers.shape[1]}."
        )
    objects = [number for number in np.unique(numbers) if number != 0]
    if not objects:
        raise ValueError(f"the mask file {file} has no object: all of its pixels are 0.")
    return [encode_mask(numbers == number) for number in objects]
