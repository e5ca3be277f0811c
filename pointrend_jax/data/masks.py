"""Object masks in their three forms: COCO polygons, COCO run lengths, packed bits.

Polygons and compressed RLE are how a mask is stored and travels to the resized image; packed bits
are how it travels to the device (`structures.InstanceBatch.mask_bits`).
"""

from collections.abc import Sequence
from operator import mul
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from pycocotools import mask

# Any: the stubs of pycocotools know neither polygons nor the bytes of an RLE.
coco_mask: Any = mask

# Polygons [x0, y0, x1, y1, ...] in pixels, or compressed RLE {"size": [h, w], "counts": str}.
Segmentation = list[list[float]] | dict
# x0, y0, x1, y1 in pixels.
Box = tuple[float, float, float, float]


def rasterize_polygons(
    polygons: Sequence[Sequence[float]], hw: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """The union of polygons as a mask. Source: Detectron2 structures/masks.py polygons_to_bitmask.

    Args:
      polygons: flat x, y lists of at least three points, in pixels of the target.
    """
    if not polygons:
        return np.zeros(hw, bool)
    return coco_mask.decode(_merged(polygons, hw)).astype(bool)


def pixel_box(segmentation: Segmentation, hw: tuple[int, int]) -> Box:
    """The box of an object's pixels; all 0 where it has none."""
    x, y, width, height = coco_mask.toBbox(_rle(segmentation, hw)).tolist()
    return (x, y, x + width, y + height)


def outline_box(segmentation: Segmentation) -> Box:
    """The box of an object: of the points of its polygons, or of the pixels of its RLE."""
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        return pixel_box(segmentation, (height, width))
    columns, rows = ([v for part in segmentation for v in part[k::2]] for k in (0, 1))
    return (float(min(columns)), float(min(rows)), float(max(columns)), float(max(rows)))


def mask_area(segmentation: Segmentation, hw: tuple[int, int]) -> float:
    """The number of an object's pixels."""
    return float(coco_mask.area(_rle(segmentation, hw)))


def enclosed_area(segmentation: Segmentation) -> float:
    """Square pixels; of polygons the sum of the areas that they enclose, as COCO counts it."""
    if isinstance(segmentation, dict):
        return float(coco_mask.area(segmentation))
    total = 0.0
    for part in segmentation:
        # Lists, as hundreds of thousands of short polygons are faster without arrays.
        x, y = part[0::2], part[1::2]
        twice = sum(map(mul, x, y[1:])) + x[-1] * y[0] - sum(map(mul, y, x[1:])) - y[-1] * x[0]
        total += abs(twice) / 2
    return float(total)


def is_longer_than(polygons: Sequence[Sequence[float]], length: float) -> bool:
    """Whether the outlines together have more steps of a pixel, diagonal ones included.

    pycocotools walks along every outline in steps of a fifth of a pixel, with 16 bytes for each.
    """
    # Their number of points times their extent is at least as much, and fast to see.
    if sum(len(part) // 2 * (max(part) - min(part)) for part in polygons) <= length:
        return False
    points = (np.reshape(part, (-1, 2)) for part in polygons)
    return sum(float(np.abs(p - np.roll(p, 1, axis=0)).max(axis=1).sum()) for p in points) > length


def _rle(segmentation: Segmentation, hw: tuple[int, int]) -> dict:
    return segmentation if isinstance(segmentation, dict) else _merged(segmentation, hw)


def _merged(polygons: Sequence[Sequence[float]], hw: tuple[int, int]) -> dict:
    rles = coco_mask.frPyObjects([np.asarray(p, np.float64) for p in polygons], *hw)
    return coco_mask.merge(rles)


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
    """The mask of a compressed RLE whose `run_lengths` fill the image."""
    return coco_mask.decode(rle).astype(bool)


def encode_rle(mask: Bool[np.ndarray, "H W"]) -> dict:
    """Compressed RLE with `counts` as text, as JSON needs it."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")}


def compress_counts(counts: list[int], hw: tuple[int, int]) -> dict:
    """Uncompressed RLE (COCO's crowd regions) to compressed RLE."""
    rle = coco_mask.frPyObjects({"size": list(hw), "counts": counts}, *hw)
    return {"size": list(hw), "counts": rle["counts"].decode("ascii")}


def run_lengths(counts: Any) -> list[int] | None:
    """The run lengths of an RLE, compressed or not; None if they are none.

    They must fill the image exactly: pycocotools does not check this, and writes beyond the mask if
    they do not.
    """
    runs = _parse_counts(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not {int, float}.issuperset(map(type, runs)):
        return None
    # JSON of other languages has whole numbers as 30.0; infinity and NaN are none.
    if not all(run >= 0 and run % 1 == 0 for run in runs):
        return None
    return [int(run) for run in runs]


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
