"""Object masks in their three forms: COCO polygons, COCO run lengths, packed bits.

Polygons and compressed RLE are how a mask is stored and travels to the resized image; packed bits
are how it travels to the device (`structures.InstanceBatch.mask_bits`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from pycocotools import mask

# Any: the stubs of pycocotools know neither polygons nor the bytes of an RLE.
coco_mask: Any = mask

# Polygons [x0, y0, x1, y1, ...] in pixels, or compressed RLE {"size": [h, w], "counts": str}.
Segmentation = list[list[float]] | dict


def rasterize_polygons(
    polygons: Sequence[Sequence[float]], hw: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """The union of polygons as a mask. Source: Detectron2 structures/masks.py polygons_to_bitmask.

    Args:
      polygons: flat x, y lists of at least three points, in pixels of the target.
    """
    if not polygons:
        return np.zeros(hw, bool)
    rles = coco_mask.frPyObjects([np.asarray(p, np.float64) for p in polygons], *hw)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def rasterize_within_box(
    polygons: Sequence[Sequence[float]], box: Float[np.ndarray, "4"], size: int
) -> Bool[np.ndarray, "S S"]:
    """The union of polygons in the frame of a box, `size` x `size`, without a bitmap in between.

    What Detectron2 trains its mask heads on where annotations are polygons; training here crops
    packed masks instead. Source: Detectron2 structures/masks.py rasterize_polygons_within_box.

    Args:
      box: xyxy in pixels, as the polygons; counts as at least 0.1 pixels wide and high.
    """
    scale = np.float32(size) / np.maximum(box[2:] - box[:2], np.float32(0.1))
    moved = [
        ((np.asarray(p, np.float64).reshape(-1, 2) - box[:2]) * scale).ravel() for p in polygons
    ]
    return rasterize_polygons([p.tolist() for p in moved], (size, size))


def decode_rle(rle: dict) -> Bool[np.ndarray, "H W"]:
    """The mask of a compressed RLE that `is_whole_rle` has accepted."""
    return coco_mask.decode(rle).astype(bool)


def encode_rle(mask: Bool[np.ndarray, "H W"]) -> dict:
    """Compressed RLE with `counts` as text, as JSON needs it."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")}


def compress_counts(counts: list[int], hw: tuple[int, int]) -> dict:
    """Uncompressed RLE (COCO's crowd regions) to compressed RLE."""
    rle = coco_mask.frPyObjects({"size": list(hw), "counts": counts}, *hw)
    return {"size": list(hw), "counts": rle["counts"].decode("ascii")}


def is_whole_rle(counts: list | str, hw: tuple[int, int]) -> bool:
    """Whether run lengths, compressed or not, fill an image of `hw` exactly.

    pycocotools does not check this, and writes beyond the mask if they do not.
    """
    runs = _parse_counts(counts) if isinstance(counts, str) else counts
    if runs is None or not all(type(run) is int and run >= 0 for run in runs):
        return False
    return sum(runs) == hw[0] * hw[1]


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


def _parse_counts(text: str) -> list[int] | None:
    """Run lengths of a compressed RLE, None if malformed. Source: rleFrString of pycocotools.

    Five bits a character, least significant first; from the fourth run on a run is stored as
    its difference from the one two before.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for char in text:
        code = ord(char) - 48
        # The C code shifts an int, which has room for six characters; no image needs more.
        if not 0 <= code < 64 or shift > 25:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return None if shift else runs
