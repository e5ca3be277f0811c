"""Masks from the frame of their box onto the image, one at a time and only within the box's window.

Mask R-CNN, inference. Everything happens in the transposed, column-major order of COCO's RLE, so
that a mask on a large image costs what its box costs.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pointrend_jax.masks.runs import draw_changes

_THRESHOLD = 0.5
_COLUMNS_AT_A_TIME = 32


def paste_mask(
    mask_probs: Float[np.ndarray, "M M"], box: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """The pixels whose resampled probability is at least one half; False outside the box.

    Args and errors: as for `resample_to_window`.
    """
    return draw_changes(changes_of_mask(mask_probs, box, image_hw), image_hw)


def changes_of_mask(
    mask_probs: Float[np.ndarray, "M M"], box: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> Int[np.ndarray, " S"]:
    """Where `paste_mask` changes, as `encode_changes` takes it."""
    return changes_of_columns(*_binary_columns(mask_probs, box, image_hw), image_hw)


def resample_to_window(
    mask_probs: Float[np.ndarray, "M M"], box: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> tuple[Float[np.ndarray, "h w"], tuple[int, int]]:
    """Bilinear resampling of box-frame probabilities (not logits) on the pixels around the box.

    Args:
      box: xyxy in pixels of the image that is pasted on, not of the resized network input.
      image_hw: (height, width) of that image.

    Returns: the window's probabilities (a transposed view), 0 outside the mask, and the (x, y) of
      its first pixel. Every pixel beyond the window is 0.

    Raises: ValueError if the box is empty.
    Source: half-pixel centres and zeros outside, as in Detectron2 layers/mask_ops.py.
    """
    plan = _plan(mask_probs, box, image_hw)
    return plan.columns(slice(None)).T, (plan.x0, plan.y0)


def scale_boxes_to_original(
    boxes: Float[np.ndarray, "D 4"], image_hw: tuple[int, int], original_hw: tuple[int, int]
) -> tuple[Float[np.ndarray, "d 4"], Bool[np.ndarray, " D"]]:
    """Boxes of the resized image in pixels of the original, clipped to it; empty ones are dropped.

    Returns: the boxes that are left, and which of the D they are (to select scores and masks).
    Source: Detectron2 modeling/postprocessing.py (x and y are scaled separately).
    """
    height, width = original_hw
    scale_y, scale_x = height / image_hw[0], width / image_hw[1]
    scale = np.asarray([scale_x, scale_y, scale_x, scale_y], np.float32)
    limit = np.asarray([width, height, width, height], np.float32)
    scaled = np.clip(boxes.astype(np.float32) * scale, np.float32(0), limit)
    keep = (scaled[:, 2] > scaled[:, 0]) & (scaled[:, 3] > scaled[:, 1])
    return scaled[keep], keep


class _Plan(NamedTuple):
    """A mask lerped along y already, and what is left to do along x."""

    x0: int
    y0: int
    mask_columns: Float[np.ndarray, "m h"]
    x_index: Int[np.ndarray, " w"]
    x_fraction: Float[np.ndarray, " w"]

    def columns(self, part: slice) -> Float[np.ndarray, "part h"]:
        return _lerp_rows(self.mask_columns, self.x_index[part], self.x_fraction[part])


def _plan(
    mask_probs: Float[np.ndarray, "M M"], box: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> _Plan:
    box = box.astype(np.float32)
    if not (box[2] > box[0] and box[3] > box[1]):
        raise ValueError(
            f"A box must have positive width and height, got {box.tolist()}; drop empty boxes with "
            "scale_boxes_to_original first."
        )
    height, width = image_hw
    side = mask_probs.shape[0]
    x0, x_index, x_fraction = _axis(box[0], box[2], width, side)
    y0, y_index, y_fraction = _axis(box[1], box[3], height, side)
    # Zeros outside: index -1 and M read the border.
    padded = np.zeros((side + 2, side + 2), np.float32)
    padded[1:-1, 1:-1] = mask_probs
    rows = _lerp_rows(padded, y_index, y_fraction)
    return _Plan(x0, y0, np.ascontiguousarray(rows.T), x_index, x_fraction)


def _axis(
    start: np.float32, end: np.float32, length: int, side: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """First pixel of the window; for each pixel the padded index below it, and the fraction.

    float32 in the reference's order of operations: a value that falls on one half must do so here.
    """
    first = min(max(int(np.floor(start)) - 1, 0), length)
    stop = max(min(int(np.ceil(end)) + 1, length), first)
    centres = np.arange(first, stop, dtype=np.float32) + np.float32(0.5)
    normalized = (centres - start) / (end - start) * np.float32(2) - np.float32(1)
    position = (normalized + np.float32(1)) * np.float32(side / 2) - np.float32(0.5)
    low = np.floor(position)
    index = np.clip(low, -1, side - 1).astype(np.int64)
    # Beyond the border cells both neighbours are zero; the clipped index must not bring one back.
    fraction = np.where(low < -1, 0, np.where(low > side - 1, 1, position - low))
    return first, index + 1, fraction.astype(np.float32)


def _lerp_rows(
    values: Float[np.ndarray, "m n"],
    index: Int[np.ndarray, " k"],
    fraction: Float[np.ndarray, " k"],
) -> Float[np.ndarray, "k n"]:
    """Between rows `index` and the rows after them. Whole rows, which memory gives fastest."""
    result, above = values.take(index, axis=0), values.take(index + 1, axis=0)
    result *= (np.float32(1) - fraction)[:, None]
    above *= fraction[:, None]
    result += above
    return result


def _binary_columns(
    mask_probs: Float[np.ndarray, "M M"], box: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> tuple[int, Bool[np.ndarray, "w H"]]:
    """The first column of the window, and the thresholded columns of the image from there."""
    plan = _plan(mask_probs, box, image_hw)
    bits = np.zeros((len(plan.x_index), image_hw[0]), np.bool_)
    rows = slice(plan.y0, plan.y0 + plan.mask_columns.shape[1])
    # A few columns at a time stay in the cache.
    for start in range(0, len(bits), _COLUMNS_AT_A_TIME):
        part = slice(start, start + _COLUMNS_AT_A_TIME)
        np.greater_equal(plan.columns(part), _THRESHOLD, out=bits[part, rows])
    return plan.x0, bits


def changes_of_columns(
    x0: int, bits: Bool[np.ndarray, "w H"], image_hw: tuple[int, int]
) -> Int[np.ndarray, " S"]:
    """Where the mask changes whose columns from `x0` on are `bits`, and zero elsewhere.

    Returns: what `encode_changes` takes of a mask.
    """
    height, width = image_hw
    flat = bits.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate([[0], changes])
    if flat.size and flat[-1] and x0 + len(bits) < width:
        changes = np.append(changes, flat.size)
    return changes + x0 * height


def probability(logits: np.ndarray) -> np.ndarray:
    """The sigmoid, in one new array."""
    result = np.negative(logits)
    with np.errstate(over="ignore"):
        np.exp(result, out=result)
    result += 1
    return np.reciprocal(result, out=result)
