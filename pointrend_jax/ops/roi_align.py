"""ROIAlign over a feature pyramid, adaptive and exact, forward and backward.

Detectron2's checkpoints were trained with `sampling_ratio=0`: a bin is the mean of
ceil(roi / bins) x ceil(roi / bins) bilinear samples, about 7 on real proposals but up to hundreds
for an extreme box. Static shapes and exactness meet in a loop over samples: RoIs are sorted by
samples a bin and taken in chunks, and each chunk loops as often as its largest RoI needs. Source:
Mask R-CNN; Detectron2 layers/roi_align.py and modeling/poolers.py.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.boxes import assign_levels
from pointrend_jax.ops.points import check_indexable

CHUNK = 50


class _Sampling(NamedTuple):
    """Where the samples of each RoI lie; every field is [N], or [chunks, CHUNK]."""

    first_row: Array  # of its map in the flattened pyramid
    map_width: Array  # row stride of its map
    edge_y: Array  # rows of its map that exist (beyond them is padding)
    edge_x: Array
    start_y: Array  # of the RoI, in pixels of its map
    start_x: Array
    bin_y: Array  # size of a bin
    bin_x: Array
    grid_y: Array  # samples a bin
    grid_x: Array


def roi_align(
    feature_maps: Sequence[Float[Array, "B _ _ C"]],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    *,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int = 0,
    padded_hw: Int[Array, "B 2"] | None = None,
    levels: Int[Array, " N"] | None = None,
    aligned: bool = True,
) -> Float[Array, "N S S C"]:
    """Mean bilinear samples of S x S bins of each box. Differentiable in the maps, not in the
    boxes.

    Args:
      feature_maps: from fine to coarse; stride 2**i each, in the order of `strides`.
      boxes: xyxy in pixels of the network's input.
      sampling_ratio: samples a bin and axis; 0 adapts to the box.
      padded_hw: the part of each image that exists; the border is repeated there. None: all of it.
      levels: row of `feature_maps` for each box; None follows FPN's rule with p2 first.
      aligned: False gives the legacy half-pixel shift and minimum size of 1.
    """
    if len(feature_maps) != len(strides):
        raise ValueError(f"{len(feature_maps)} feature maps need as many strides, got {strides}.")
    if levels is None:
        levels = assign_levels(boxes, min_level=2, max_level=len(feature_maps) + 1) - 2
    channels = feature_maps[0].shape[-1]
    cells = sum(math.prod(m.shape[:3]) for m in feature_maps)
    check_indexable("the cells of all feature maps of a device", cells)
    rows = jnp.concatenate([m.reshape(-1, channels) for m in feature_maps])
    sampling = _place_samples(
        [m.shape[:3] for m in feature_maps], boxes, image_index, levels, padded_hw,
        strides=strides, output_size=output_size, sampling_ratio=sampling_ratio, aligned=aligned,
    )  # fmt: skip
    return _pool(output_size, rows, sampling)


def _place_samples(
    map_shapes: Sequence[tuple[int, ...]],
    boxes: Array,
    image_index: Array,
    levels: Array,
    padded_hw: Array | None,
    *,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int,
    aligned: bool,
) -> _Sampling:
    sizes = [b * h * w for b, h, w in map_shapes]
    first = jnp.asarray(np.concatenate([[0], np.cumsum(sizes)[:-1]]), jnp.int32)[levels]
    height = jnp.asarray([h for _, h, _ in map_shapes], jnp.int32)[levels]
    width = jnp.asarray([w for _, _, w in map_shapes], jnp.int32)[levels]
    stride = jnp.asarray(strides, jnp.int32)[levels]
    edge_y, edge_x = height, width
    if padded_hw is not None:
        edge = -(-padded_hw[image_index] // stride[:, None])
        edge_y, edge_x = jnp.minimum(edge[:, 0], height), jnp.minimum(edge[:, 1], width)
    boxes = jax.lax.stop_gradient(boxes) * (1.0 / stride.astype(boxes.dtype))[:, None]
    boxes = boxes - 0.5 if aligned else boxes
    side = boxes[:, 2:] - boxes[:, :2]
    side = side if aligned else jnp.maximum(side, 1.0)
    bins = side / output_size
    grid = jnp.ceil(bins) if sampling_ratio == 0 else jnp.full_like(bins, sampling_ratio)
    # A box turned inside out has no adaptive samples and pools to 0.
    grid = jnp.maximum(grid, 0.0).astype(jnp.int32)
    return _Sampling(
        first_row=first + image_index * height * width,
        map_width=width,
        edge_y=edge_y,
        edge_x=edge_x,
        start_y=boxes[:, 1],
        start_x=boxes[:, 0],
        bin_y=bins[:, 1],
        bin_x=bins[:, 0],
        grid_y=grid[:, 1],
        grid_x=grid[:, 0],
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(output_size: int, rows: Array, sampling: _Sampling) -> Array:
    """[N, S, S, C] means, added up in float32. Its own derivative, because a dynamic trip count has
    none."""
    order, chunks = _in_chunks(sampling)
    num_rois, shape = order.shape[0], (CHUNK, output_size, output_size, rows.shape[1])
    # Slots that fill the last chunk have no place in the result.
    places = jnp.pad(order, (0, -num_rois % CHUNK), constant_values=num_rois).reshape(-1, CHUNK)

    def pool_chunk(index: Array, pooled: Array) -> Array:
        chunk = jax.tree.map(lambda x: x[index], chunks)

        def add_sample(sample: Array, total: Array) -> Array:
            for row, weight in _pixels_of_sample(chunk, sample, output_size):
                value = rows.at[row].get(mode="promise_in_bounds").astype(weight.dtype)
                total = total + value * weight[..., None]
            return total

        count = chunk.grid_y * chunk.grid_x
        total = jax.lax.fori_loop(0, jnp.max(count), add_sample, jnp.zeros(shape, jnp.float32))
        # Written where it belongs while it is at hand: putting all in order at the end takes as
        # long as the sampling.
        return pooled.at[places[index]].set(total.astype(rows.dtype), mode="drop")

    pooled = jnp.zeros((num_rois, *shape[1:]), rows.dtype)
    if num_rois == 0:
        return pooled
    return jax.lax.fori_loop(0, places.shape[0], pool_chunk, pooled)


def _pool_forward(output_size: int, rows: Array, sampling: _Sampling) -> tuple:
    return _pool(output_size, rows, sampling), (rows.shape, sampling)


def _pool_backward(output_size: int, residuals: tuple, cotangent: Array) -> tuple:
    shape, sampling = residuals
    order, chunks = _in_chunks(sampling)
    gradient = _chunked(cotangent[order].astype(jnp.float32))

    def scatter_chunk(total: Array, inputs: tuple[_Sampling, Array]) -> tuple[Array, None]:
        chunk, chunk_gradient = inputs

        def add(row: Array, weight: Array, total: Array) -> Array:
            update = chunk_gradient * weight[..., None]
            return total.at[row].add(update, mode="promise_in_bounds")

        def add_pixel(number: Array, total: Array) -> Array:
            return add(*_pixel_of_bins(chunk, number, output_size), total)

        def add_sample(sample: Array, total: Array) -> Array:
            for row, weight in _pixels_of_sample(chunk, sample, output_size):
                total = add(row, weight, total)
            return total

        if forms().pools_by_pixels:
            count = _pixels(chunk.bin_y, chunk.grid_y) * _pixels(chunk.bin_x, chunk.grid_x)
            return jax.lax.fori_loop(0, jnp.max(count), add_pixel, total), None
        count = chunk.grid_y * chunk.grid_x
        return jax.lax.fori_loop(0, jnp.max(count), add_sample, total), None

    total, _ = jax.lax.scan(scatter_chunk, jnp.zeros(shape, jnp.float32), (chunks, gradient))
    return total.astype(cotangent.dtype), None


_pool.defvjp(_pool_forward, _pool_backward)


def _in_chunks(sampling: _Sampling) -> tuple[Array, _Sampling]:
    """RoIs by ascending samples a bin, so that a chunk's RoIs need about equally many."""
    order = jnp.argsort(sampling.grid_y * sampling.grid_x)
    return order, jax.tree.map(lambda x: _chunked(x[order]), sampling)


def _chunked(x: Array) -> Array:
    """[N, ...] to [chunks, CHUNK, ...]; zeros, which sample nothing, fill the last chunk."""
    num_chunks = -(-x.shape[0] // CHUNK)
    padding = num_chunks * CHUNK - x.shape[0]
    x = jnp.pad(x, ((0, padding), *([(0, 0)] * (x.ndim - 1))))
    return x.reshape(num_chunks, CHUNK, *x.shape[1:])


def _pixels_of_sample(
    chunk: _Sampling, sample: Array, output_size: int
) -> list[tuple[Int[Array, "n S S"], Float[Array, "n S S"]]]:
    """Rows and weights of the four neighbours of one sample of every bin of every RoI."""
    grid_x = jnp.maximum(chunk.grid_x, 1)
    sample_y, sample_x = sample // grid_x, sample % grid_x
    active = sample < chunk.grid_y * chunk.grid_x
    y_taps = _taps(chunk.start_y, chunk.bin_y, chunk.grid_y, sample_y, chunk.edge_y, output_size)
    x_taps = _taps(chunk.start_x, chunk.bin_x, chunk.grid_x, sample_x, chunk.edge_x, output_size)
    count = jnp.maximum(chunk.grid_y * chunk.grid_x, 1).astype(chunk.start_y.dtype)
    share = jnp.where(active, 1.0 / count, 0.0)[:, None, None]
    neighbours = []
    for y, y_weight in y_taps:
        for x, x_weight in x_taps:
            row = y[:, :, None] * chunk.map_width[:, None, None] + x[:, None, :]
            weight = y_weight[:, :, None] * x_weight[:, None, :] * share
            neighbours.append((chunk.first_row[:, None, None] + row, weight))
    return neighbours


def _pixels(bin_size: Array, grid: Array) -> Int[Array, " n"]:
    """How many pixels along an axis the samples of a bin touch, at most.

    Samples that lie at most a pixel apart, as adaptive ones do, share most of theirs.
    """
    together = jnp.where(grid > 0, grid + 1, 0)
    return jnp.where(_are_apart(bin_size, grid), 2 * grid, together)


def _are_apart(bin_size: Array, grid: Array) -> Bool[Array, " n"]:
    """Whether a bin's samples lie more than a pixel apart."""
    # In a box turned inside out they run backwards.
    return (bin_size < 0) | (bin_size > grid.astype(bin_size.dtype))


def _pixel_of_bins(
    chunk: _Sampling, number: Array, output_size: int
) -> tuple[Int[Array, "n S S"], Float[Array, "n S S"]]:
    """The row and the weight of one of the pixels that the samples of every bin touch."""
    num_y, num_x = _pixels(chunk.bin_y, chunk.grid_y), _pixels(chunk.bin_x, chunk.grid_x)
    pixel_y, pixel_x = number // jnp.maximum(num_x, 1), number % jnp.maximum(num_x, 1)
    axes = (
        (chunk.start_y, chunk.bin_y, chunk.grid_y, pixel_y, chunk.edge_y),
        (chunk.start_x, chunk.bin_x, chunk.grid_x, pixel_x, chunk.edge_x),
    )
    (y, y_weight), (x, x_weight) = (_axis_pixel(*axis, output_size) for axis in axes)
    row = y[:, :, None] * chunk.map_width[:, None, None] + x[:, None, :]
    active = (number < num_y * num_x)[:, None, None]
    weight = jnp.where(active, y_weight[:, :, None] * x_weight[:, None, :], 0.0)
    return chunk.first_row[:, None, None] + row, weight


def _axis_pixel(
    start: Array, bin_size: Array, grid: Array, pixel: Array, edge: Array, output_size: int
) -> tuple[Int[Array, "n S"], Float[Array, "n S"]]:
    """The place of one pixel that a bin's samples touch along an axis, and its share of their mean.

    Args:
      pixel: its number among the pixels that the samples of the bin touch.
    """
    place = partial(_sample_position, start, bin_size, grid, edge=edge, output_size=output_size)
    # Samples more than a pixel apart have two pixels each, which no other sample touches.
    apart = _are_apart(bin_size, grid)
    sample_of_pixel = jnp.where(apart, pixel // 2, 0)
    position, _ = place(sample_of_pixel)
    after = jnp.where(apart, pixel % 2, pixel)[:, None].astype(position.dtype)
    row = jnp.floor(position) + after

    def add_sample(sample: Array, weight: Array) -> Array:
        position, inside = place(jnp.full_like(grid, sample))
        counts = (sample < grid) & (~apart | (sample == sample_of_pixel))
        near = jnp.maximum(1.0 - jnp.abs(position - row), 0.0)
        return weight + jnp.where(inside & counts[:, None], near, 0.0)

    weight = jax.lax.fori_loop(0, jnp.max(grid), add_sample, jnp.zeros_like(row))
    row = jnp.minimum(row, (edge - 1)[:, None].astype(row.dtype))
    return row.astype(jnp.int32), weight / jnp.maximum(grid, 1)[:, None].astype(weight.dtype)


def _taps(
    start: Array, bin_size: Array, grid: Array, sample: Array, edge: Array, output_size: int
) -> list[tuple[Int[Array, "n S"], Float[Array, "n S"]]]:
    """Two pixels and weights along one axis: the border repeats for one pixel, then comes 0."""
    position, inside = _sample_position(
        start, bin_size, grid, sample, edge=edge, output_size=output_size
    )
    last = (edge - 1)[:, None].astype(start.dtype)
    low = jnp.floor(position)
    high = jnp.minimum(low + 1, last)
    weight = position - low
    return [
        (low.astype(jnp.int32), jnp.where(inside, 1.0 - weight, 0.0)),
        (high.astype(jnp.int32), jnp.where(inside, weight, 0.0)),
    ]


def _sample_position(
    start: Array, bin_size: Array, grid: Array, sample: Array, *, edge: Array, output_size: int
) -> tuple[Float[Array, "n S"], Bool[Array, "n S"]]:
    """Where a sample of each bin lies along an axis, held within the map, and whether it counts."""
    bins = jnp.arange(output_size, dtype=start.dtype)[None, :]
    place = (sample.astype(start.dtype) + 0.5) / jnp.maximum(grid, 1).astype(start.dtype)
    position = start[:, None] + bins * bin_size[:, None] + place[:, None] * bin_size[:, None]
    last = (edge - 1)[:, None].astype(start.dtype)
    inside = (position >= -1.0) & (position <= last + 1.0)
    return jnp.clip(position, 0.0, last), inside
