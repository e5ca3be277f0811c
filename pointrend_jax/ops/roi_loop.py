"""ROIAlign sample by sample, in loops that turn as often as the largest RoI needs.

Static shapes and exactness meet in a loop over samples: RoIs are sorted by samples of a bin and
taken in chunks, and each chunk loops as often as its largest RoI needs. A CPU runs that well; a
GPU's host decides after every turn whether another follows, so there it is left to the RoIs that
have no windows (ops/roi_windows.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.ops.roi_chunks import chunks_by_turns
from pointrend_jax.ops.roi_samples import AxisSamples, Samples, sample_position
from pointrend_jax.ops.scatter import add_rows

CHUNK = 50


def pool_by_samples(
    rows: Float[Array, "T C"], samples: Samples, pooled: Float[Array, "N S S C"]
) -> Float[Array, "N S S C"]:
    """`pooled` with the means of the RoIs that have samples; the others keep what they had.

    The samples are added up in float32.
    """
    output_size = pooled.shape[1]
    chunks = chunks_by_turns(samples, samples.of_a_bin, CHUNK)
    shape = (CHUNK, *pooled.shape[1:])

    def pool_chunk(index: Array, pooled: Array) -> Array:
        chunk = jax.tree.map(lambda x: x[index], chunks.rois)

        def add_sample(sample: Array, total: Array) -> Array:
            for row, weight in _pixels_of_sample(chunk, sample, output_size):
                value = rows.at[row].get(mode="promise_in_bounds").astype(weight.dtype)
                total = total + value * weight[..., None]
            return total

        count = jnp.max(chunk.of_a_bin)
        total = jax.lax.fori_loop(0, count, add_sample, jnp.zeros(shape, jnp.float32))
        # Written where it belongs while it is at hand: putting all in order at the end takes as
        # long as the sampling.
        place = chunks.places[index]
        return pooled.at[place].set(total.astype(rows.dtype), mode="drop", unique_indices=True)

    return jax.lax.fori_loop(chunks.first, chunks.places.shape[0], pool_chunk, pooled)


def add_gradient_by_pixels(
    samples: Samples,
    cotangent: Float[Array, "N S S C"],
    total: Float[Array, "T C"],
    *,
    exact: bool = False,
) -> Float[Array, "T C"]:
    """`total` plus the gradient of `pool_by_samples` in `rows`, pixel by pixel of a bin.

    Args:
      total: float32, in which all is added up.
      exact: as `add_rows` takes it. A CPU adds in one order anyway.
    """
    output_size = cotangent.shape[1]
    chunks = chunks_by_turns(samples, samples.of_a_bin, CHUNK)

    def add_chunk(index: Array, total: Array) -> Array:
        chunk, places = jax.tree.map(lambda x: x[index], (chunks.rois, chunks.places))
        gradient = cotangent.at[places].get(mode="fill", fill_value=0).astype(total.dtype)

        def add_pixel(number: Array, total: Array) -> Array:
            row, weight = _pixel_of_bins(chunk, number, output_size)
            return add_rows(total, row, gradient * weight[..., None], exact=exact)

        count = jnp.max(_pixels(chunk.y) * _pixels(chunk.x))
        return jax.lax.fori_loop(0, count, add_pixel, total)

    return jax.lax.fori_loop(chunks.first, chunks.places.shape[0], add_chunk, total)


def _pixels_of_sample(
    chunk: Samples, sample: Array, output_size: int
) -> list[tuple[Int[Array, "n S S"], Float[Array, "n S S"]]]:
    """Rows and weights of the four neighbours of one sample of every bin of every RoI."""
    number_x = jnp.maximum(chunk.x.number, 1)
    y_taps = _taps(chunk.y, sample // number_x, output_size)
    x_taps = _taps(chunk.x, sample % number_x, output_size)
    count = jnp.maximum(chunk.of_a_bin, 1).astype(chunk.y.start.dtype)
    share = jnp.where(sample < chunk.of_a_bin, 1.0 / count, 0.0)[:, None, None]
    neighbours = []
    for y, y_weight in y_taps:
        for x, x_weight in x_taps:
            weight = y_weight[:, :, None] * x_weight[:, None, :] * share
            neighbours.append((_rows(chunk, y, x), weight))
    return neighbours


def _rows(chunk: Samples, y: Int[Array, "n S"], x: Int[Array, "n S"]) -> Int[Array, "n S S"]:
    """The rows of the cells (y, x) of each RoI's map."""
    row = y[:, :, None] * chunk.places.pitch[:, None, None] + x[:, None, :]
    return chunk.places.first[:, None, None] + row


def _taps(
    axis: AxisSamples, sample: Array, output_size: int
) -> list[tuple[Int[Array, "n S"], Float[Array, "n S"]]]:
    """The two pixels that a sample of each bin lies between, and their weights."""
    position, inside = sample_position(axis, sample, output_size)
    low = jnp.floor(position)
    high = jnp.minimum(low + 1, (axis.edge - 1)[:, None].astype(low.dtype))
    weight = position - low
    return [
        (low.astype(jnp.int32), jnp.where(inside, 1.0 - weight, 0.0)),
        (high.astype(jnp.int32), jnp.where(inside, weight, 0.0)),
    ]


def _pixels(axis: AxisSamples) -> Int[Array, " n"]:
    """How many pixels along an axis the samples of a bin touch, at most.

    Samples that lie at most a pixel apart, as adaptive ones do, share most of theirs.
    """
    together = jnp.where(axis.number > 0, axis.number + 1, 0)
    return jnp.where(_are_apart(axis), 2 * axis.number, together)


def _are_apart(axis: AxisSamples) -> Bool[Array, " n"]:
    """Whether a bin's samples lie more than a pixel apart."""
    # In a box turned inside out they run backwards.
    return (axis.bin_size < 0) | (axis.bin_size > axis.number.astype(axis.bin_size.dtype))


def _pixel_of_bins(
    chunk: Samples, number: Array, output_size: int
) -> tuple[Int[Array, "n S S"], Float[Array, "n S S"]]:
    """The row and the weight of one of the pixels that the samples of every bin touch."""
    num_y, num_x = _pixels(chunk.y), _pixels(chunk.x)
    y, y_weight = _axis_pixel(chunk.y, number // jnp.maximum(num_x, 1), output_size)
    x, x_weight = _axis_pixel(chunk.x, number % jnp.maximum(num_x, 1), output_size)
    active = (number < num_y * num_x)[:, None, None]
    weight = jnp.where(active, y_weight[:, :, None] * x_weight[:, None, :], 0.0)
    return _rows(chunk, y, x), weight


def _axis_pixel(
    axis: AxisSamples, pixel: Array, output_size: int
) -> tuple[Int[Array, "n S"], Float[Array, "n S"]]:
    """The place of one pixel that a bin's samples touch along an axis, and its share of their mean.

    Args:
      pixel: its number among the pixels that the samples of the bin touch.
    """
    place = partial(sample_position, axis, output_size=output_size)
    # Samples more than a pixel apart have two pixels each, which no other sample touches.
    apart = _are_apart(axis)
    sample_of_pixel = jnp.where(apart, pixel // 2, 0)
    position, _ = place(sample_of_pixel)
    after = jnp.where(apart, pixel % 2, pixel)[:, None].astype(position.dtype)
    row = jnp.floor(position) + after

    def add_sample(sample: Array, weight: Array) -> Array:
        position, inside = place(jnp.full_like(axis.number, sample))
        counts = (sample < axis.number) & (~apart | (sample == sample_of_pixel))
        near = jnp.maximum(1.0 - jnp.abs(position - row), 0.0)
        return weight + jnp.where(inside & counts[:, None], near, 0.0)

    weight = jax.lax.fori_loop(0, jnp.max(axis.number), add_sample, jnp.zeros_like(row))
    row = jnp.minimum(row, (axis.edge - 1)[:, None].astype(row.dtype))
    return row.astype(jnp.int32), weight / jnp.maximum(axis.number, 1)[:, None].astype(weight.dtype)
