"""Where ROIAlign's samples lie, and what a cell of a map weighs in the mean of each bin.

Detectron2's checkpoints were trained with `sampling_ratio=0`: a bin is the mean of
ceil(roi / bins) x ceil(roi / bins) bilinear samples, about 7 on real proposals but up to hundreds
for an extreme box. The axes are independent of each other: a sample's weight of a cell is the
product of one weight an axis, and so is the mean's. Source: Mask R-CNN; Detectron2
layers/roi_align.py.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

# Adaptive samples of a bin lie more than half a cell apart, so that at most four are less than a
# cell away from a given one.
_NEAR = 4


class AxisSamples(NamedTuple):
    """The samples of N RoIs along one axis, in cells of the map; every field is [N]."""

    start: Array  # of the RoI
    bin_size: Array
    number: Array  # of samples of a bin, int32
    edge: Array  # cells of the map that exist (beyond them is padding), int32


class Places(NamedTuple):
    """Where the maps of N RoIs lie, one after another in memory; both fields are [N]."""

    first: Array  # of the RoI's map: the place that it begins at
    pitch: Array  # places from one line of that map to the next


class Samples(NamedTuple):
    """The samples of N RoIs in a pyramid, whose maps lie at `places`."""

    places: Places
    y: AxisSamples
    x: AxisSamples

    @property
    def of_a_bin(self) -> Int[Array, " N"]:
        """How many samples a bin has on both axes together."""
        return self.y.number * self.x.number


def place_samples(
    map_shapes: Sequence[tuple[int, ...]],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    levels: Int[Array, " N"],
    padded_hw: Int[Array, "B 2"] | None,
    *,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int,
    aligned: bool,
    lines: Sequence[tuple[int, ...]] | None = None,
) -> Samples:
    """The samples of each box; the arguments are those of `roi_align`.

    Args:
      map_shapes: (B, H, W) of each map.
      lines: how they lie, see `place_maps`; None: one after another, row by row.
    """
    height, width = (
        jnp.asarray([shape[axis] for shape in map_shapes], jnp.int32)[levels] for axis in (1, 2)
    )
    stride = jnp.asarray(strides, jnp.int32)[levels]
    edge_y, edge_x = height, width
    if padded_hw is not None:
        edge = -(-padded_hw[image_index] // stride[:, None])
        edge_y, edge_x = jnp.minimum(edge[:, 0], height), jnp.minimum(edge[:, 1], width)
    boxes = jax.lax.stop_gradient(boxes) * (1.0 / stride.astype(boxes.dtype))[:, None]
    boxes = boxes - 0.5 if aligned else boxes
    shortest = None if aligned else 1.0
    y, x = (
        axis_samples(
            boxes[:, axis], boxes[:, axis + 2], edge, output_size=output_size,
            sampling_ratio=sampling_ratio, shortest=shortest,
        )
        for axis, edge in ((1, edge_y), (0, edge_x))
    )  # fmt: skip
    lines = map_shapes if lines is None else lines
    return Samples(place_maps(lines, levels, image_index), y, x)


def place_maps(
    lines: Sequence[tuple[int, ...]], levels: Int[Array, " N"], image_index: Int[Array, " N"]
) -> Places:
    """Args: lines, (B, lines, places of a line) of each map; all lie one after another."""
    sizes = [math.prod(shape) for shape in lines]
    before, of_image, pitch = (
        jnp.asarray(of_level, jnp.int32)[levels]
        for of_level in (
            np.concatenate([[0], np.cumsum(sizes)[:-1]]),
            [number * length for _, number, length in lines],
            [length for _, _, length in lines],
        )
    )
    return Places(before + image_index * of_image, pitch)


def samples_of(samples: Samples, rois: Bool[Array, " N"]) -> Samples:
    """The samples of these RoIs; the others have none."""
    number = jnp.where(rois, samples.y.number, 0)
    return samples._replace(y=samples.y._replace(number=number))


def axis_samples(
    low: Float[Array, " N"],
    high: Float[Array, " N"],
    edge: Int[Array, " N"],
    *,
    output_size: int,
    sampling_ratio: int = 0,
    shortest: float | None = None,
) -> AxisSamples:
    """The samples of boxes that reach from `low` to `high` along an axis.

    Args:
      low, high: in cells, the centre of cell 0 being 0.
      sampling_ratio: samples of a bin; 0 adapts to the box.
      shortest: what a box has at least; None leaves it as it is.
    """
    side = high - low
    side = side if shortest is None else jnp.maximum(side, shortest)
    bin_size = side / output_size
    number = jnp.ceil(bin_size) if sampling_ratio == 0 else jnp.full_like(low, sampling_ratio)
    # A box turned inside out has no adaptive samples and pools to 0.
    return AxisSamples(low, bin_size, jnp.maximum(number, 0.0).astype(jnp.int32), edge)


def sample_position(
    axis: AxisSamples, sample: Int[Array, " N"], output_size: int
) -> tuple[Float[Array, "N S"], Bool[Array, "N S"]]:
    """Where a sample of each bin lies, held within the map, and whether it counts: the border
    repeats for one cell, then comes 0."""
    bins = jnp.arange(output_size, dtype=axis.start.dtype)[None, :]
    by_bin = jax.tree.map(lambda x: x[:, None], axis)
    return _position(by_bin, bins, sample[:, None].astype(axis.start.dtype))


def touched_cells(axis: AxisSamples, output_size: int) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
    """The first cell that a RoI's samples touch along an axis, and how many there are to the last
    one."""
    first, _ = sample_position(axis, jnp.zeros_like(axis.number), output_size)
    last, _ = sample_position(axis, axis.number - 1, output_size)
    # In a box turned inside out the last sample lies first.
    low = jnp.floor(jnp.minimum(first[:, 0], last[:, -1])).astype(jnp.int32)
    high = jnp.floor(jnp.maximum(first[:, 0], last[:, -1])).astype(jnp.int32) + 1
    return low, jnp.minimum(high, axis.edge - 1) - low + 1


def axis_weights(
    axis: AxisSamples,
    first_cell: Int[Array, " N"],
    num_cells: int,
    *,
    output_size: int,
    sampling_ratio: int = 0,
) -> Float[Array, "N S L"]:
    """What each of L cells weighs in the mean of each bin: the mean of its samples' tents.

    In float32 (the boxes' type), whatever that of the maps. A cell looks at the few samples that
    can lie near it, so the cost does not depend on how many a bin has.

    Args:
      first_cell: each RoI's first of L = `num_cells` successive cells.
      sampling_ratio: as it was for `axis_samples`.
    """
    by_cell = jax.tree.map(lambda x: x[:, None, None], axis)
    bins = jnp.arange(output_size)[None, :, None]
    cells = (first_cell[:, None] + jnp.arange(num_cells)[None, :])[:, None, :]
    return cell_weights(by_cell, bins, cells, sampling_ratio=sampling_ratio)


def cell_weights(
    axis: AxisSamples, bins: Num[Array, "..."], cells: Num[Array, "..."], *, sampling_ratio: int = 0
) -> Float[Array, "..."]:
    """`axis_weights` of any bins and cells; shapes broadcast, those of the fields of `axis` too."""
    dtype = axis.start.dtype
    bins, cells, number = (x.astype(dtype) for x in (bins, cells, axis.number))
    num_samples, first = sampling_ratio, jnp.zeros((1,) * cells.ndim, dtype)
    if sampling_ratio == 0:
        num_samples = _NEAR
        # The sample, as a fraction, that lies one cell before the cell. Before the map's first cell
        # it counts. At most three more follow within a cell of the cell.
        bin_start = axis.start + bins * axis.bin_size
        before = (cells - 1.0 - bin_start) * number / axis.bin_size - 0.5
        first = jnp.where(number > _NEAR, jnp.floor(before), 0.0)
    total = jnp.zeros((), dtype)
    for i in range(num_samples):
        sample = first + i
        position, inside = _position(axis, bins, sample)
        tent = jnp.maximum(1.0 - jnp.abs(position - cells), 0.0)
        counts = inside & (sample >= 0) & (sample < number)
        total = total + jnp.where(counts, tent, 0.0)
    return total / jnp.maximum(number, 1.0)


def _position(axis: AxisSamples, bins: Array, sample: Array) -> tuple[Array, Array]:
    """`sample_position` for fields, bins and samples of shapes that broadcast."""
    dtype = axis.start.dtype
    within = (sample + 0.5) * axis.bin_size / jnp.maximum(axis.number, 1).astype(dtype)
    position = axis.start + bins * axis.bin_size + within
    last = (axis.edge - 1).astype(dtype)
    inside = (position >= -1.0) & (position <= last + 1.0)
    return jnp.clip(position, 0.0, last), inside
