"""Masks resized to the network's input and packed to bits, as they travel to the devices.

`structures.ObjectBatch.mask_bits` holds them.
"""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image


def resize_mask(mask: Bool[np.ndarray, "h w"], new_hw: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Nearest-neighbour resize by Pillow, as Detectron2's ResizeTransform.apply_segmentation."""
    image = Image.fromarray(mask.astype(np.uint8))
    resized = image.resize((new_hw[1], new_hw[0]), Image.Resampling.NEAREST)
    return np.asarray(resized).astype(bool)


def pack_mask(
    mask: Bool[np.ndarray, "h w"], canvas_hw: tuple[int, int]
) -> UInt8[np.ndarray, "H W8"]:
    """Bits along x, little-endian, on a canvas whose width is a multiple of 8; zero beyond."""
    bits = np.zeros((canvas_hw[0], canvas_hw[1] // 8), np.uint8)
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size == 0:
        return bits
    # Only the window of the object, in whole bytes: decoded masks lie column by column, and turning
    # all of one costs ten times as much as the rest.
    first, last = columns[0] // 8, columns[-1] // 8
    window = mask[:, 8 * first : 8 * (last + 1)]
    rows = np.flatnonzero(window.any(axis=1))
    top, bottom = rows[0], rows[-1] + 1
    packed = np.packbits(np.ascontiguousarray(window[top:bottom]), axis=-1, bitorder="little")
    bits[top:bottom, first : last + 1] = packed
    return bits


def unpack_masks(
    bits: UInt8[np.ndarray, "N H W8"], image_hw: tuple[int, int]
) -> Bool[np.ndarray, "N h w"]:
    """The inverse of `pack_mask`: the part of each canvas that belongs to the image."""
    height, width = image_hw
    pixels = np.unpackbits(bits[:, :height], axis=-1, bitorder="little")
    return pixels[:, :, :width].astype(bool)
