"""ROIAlign as its definition reads: sample by sample, in numpy's float64."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class PlainRoi(NamedTuple):
    """A RoI's map and image, and the weights [S, H] and [S, W] of the map's rows and columns."""

    level: int
    image: int
    to_rows: np.ndarray
    to_columns: np.ndarray


def plain_rois(
    map_shapes: Sequence[tuple[int, int]],
    boxes: np.ndarray,
    image_index: np.ndarray,
    levels: np.ndarray,
    *,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int = 0,
    padded_hw: np.ndarray | None = None,
    aligned: bool = True,
) -> list[PlainRoi]:
    """The weights of each RoI; the arguments are those of `roi_align`."""
    rois = []
    for box, image, level in zip(boxes.astype(np.float64), image_index, levels, strict=True):
        stride, matrices = strides[level], []
        for axis, length in zip((1, 0), map_shapes[level], strict=True):
            edge = length
            if padded_hw is not None:
                edge = min(length, math.ceil(padded_hw[image][1 - axis] / stride))
            offset = 0.5 if aligned else 0.0
            low, high = box[axis] / stride - offset, box[axis + 2] / stride - offset
            side = high - low if aligned else max(high - low, 1.0)
            matrices.append(
                _matrix(low, side / output_size, edge, length, output_size, sampling_ratio)
            )
        rois.append(PlainRoi(int(level), int(image), *matrices))
    return rois


def plain_values(maps: Sequence[np.ndarray], rois: list[PlainRoi], side: int) -> np.ndarray:
    """[N, S, S, C]; `side` is S."""
    pooled = np.zeros((len(rois), side, side, maps[0].shape[-1]))
    for i, r in enumerate(rois):
        lines = np.tensordot(r.to_rows, maps[r.level][r.image], 1)
        pooled[i] = np.einsum("swc,tw->stc", lines, r.to_columns)
    return pooled


def plain_gradients(
    map_shapes: Sequence[tuple[int, ...]], rois: list[PlainRoi], cotangent: np.ndarray
) -> list[np.ndarray]:
    """Of the sum of `plain_values * cotangent`, in each map."""
    gradients = [np.zeros(shape) for shape in map_shapes]
    for r, g in zip(rois, cotangent, strict=True):
        lines = np.einsum("stc,tw->swc", g, r.to_columns)
        gradients[r.level][r.image] += np.tensordot(r.to_rows.T, lines, 1)
    return gradients


def _matrix(
    start: float, bin_size: float, edge: int, length: int, output_size: int, sampling_ratio: int
) -> np.ndarray:
    samples = sampling_ratio or max(math.ceil(bin_size), 0)
    matrix = np.zeros((output_size, length))
    for bin_ in range(output_size):
        for sample in range(samples):
            position = start + (bin_ + (sample + 0.5) / samples) * bin_size
            if not -1 <= position <= edge:
                continue
            position = min(max(position, 0.0), edge - 1.0)
            low = math.floor(position)
            matrix[bin_, low] += (1 - (position - low)) / samples
            matrix[bin_, min(low + 1, edge - 1)] += (position - low) / samples
    return matrix
