"""Reading rows so that the gradient, a sum over all readers of a row, can be had bit for bit.

A GPU adds such sums with atomics, in another order at every run, and float32 sums then differ by
rounding. Where no two readers share a row, the indices are said to be unique and nothing is added
at all. Where they do, `Forms.adds_exactly` decides: otherwise in any order, or as integers, whose
sums have no order.
"""

import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.devices.backend import forms

# Bits of an int32 that a sum may fill; the sign and one for rounding are left.
_BITS = 30
# Rows whose largest update is below 2**-96 are added as if it were that: powers of two beyond
# 2**126 are none of float32's.
_SMALLEST_EXPONENT = -96
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23


def add_rows(
    total: Float[Array, "T C"],
    rows: Int[Array, "*S"],
    updates: Float[Array, "*S C"],
    *,
    exact: bool,
) -> Float[Array, "T C"]:
    """`total` with every update added to its row; rows may repeat and must lie in `total`.

    Args:
      exact: with the same bits whatever order the updates come in. They are rounded to a fixed
        point of two int32, which the largest update and the number of updates decide for each row
        by itself. Of a row with k updates that are not zero, the largest of magnitude m, the sum is
        off by at most k**3 * m * 2**-59, and by float32's rounding of it; adding in float32 may be
        off by k**2 * m * 2**-24. A row with an update that is not finite becomes NaN.
    """
    if not exact:
        return total.at[rows].add(updates, mode="promise_in_bounds")
    channels = total.shape[1]
    sums = _fixed_point_sums(rows.reshape(-1), updates.reshape(-1, channels), total.shape[0])
    return total + sums.astype(total.dtype)


def _fixed_point_sums(
    rows: Int[Array, " n"], updates: Float[Array, "n C"], num_rows: int
) -> Float[Array, "T C"]:
    updates = updates.astype(jnp.float32)
    # Magnitudes are ordered as their bits are, NaN above infinity above all numbers.
    bits = jax.lax.bitcast_convert_type(jnp.abs(updates), jnp.int32)
    largest_of_update = jnp.max(bits, axis=1, initial=0)
    nothing = jnp.zeros(num_rows, jnp.int32)
    largest = nothing.at[rows].max(largest_of_update, mode="promise_in_bounds")
    counted = (largest_of_update > 0).astype(jnp.int32)
    count = nothing.at[rows].add(counted, mode="promise_in_bounds")

    # Every update is below 2**exponent, and there are at most 2**count_bits of them.
    exponent = (largest >> _MANTISSA_BITS) - (_EXPONENT_BIAS - 1)
    exponent = jnp.maximum(exponent, _SMALLEST_EXPONENT)
    count_bits = 32 - jax.lax.clz(jnp.maximum(count, 1) - 1)
    number_bits = _BITS - count_bits
    scale = _power_of_two(number_bits - exponent)
    finer = _power_of_two(number_bits + 1)

    # Both steps are exact but for the last rounding: a power of two changes no mantissa, and what
    # rounding leaves over is a float32.
    scaled = updates * scale[rows][:, None]
    high = jnp.round(scaled)
    low = jnp.round((scaled - high) * finer[rows][:, None])

    def summed(part: Float[Array, "n C"]) -> Float[Array, "T C"]:
        sums = jnp.zeros((num_rows, updates.shape[1]), jnp.int32)
        sums = sums.at[rows].add(part.astype(jnp.int32), mode="promise_in_bounds")
        return sums.astype(jnp.float32)

    value = summed(high) + summed(low) * _power_of_two(-number_bits - 1)[:, None]
    value = value * _power_of_two(exponent - number_bits)[:, None]
    infinity = jax.lax.bitcast_convert_type(jnp.float32(jnp.inf), jnp.int32)
    return jnp.where((largest < infinity)[:, None], value, jnp.nan)


def _power_of_two(exponent: Int[Array, " T"]) -> Float[Array, " T"]:
    """2**exponent, exactly, of exponents that float32 has without losing bits."""
    biased = jnp.clip(exponent, -126, 127) + _EXPONENT_BIAS
    return jax.lax.bitcast_convert_type(biased << _MANTISSA_BITS, jnp.float32)


def take_rows(rows: Float[Array, "T ..."], index: Int[Array, " n"]) -> Float[Array, "n ..."]:
    """`rows[index]`, whose gradient is added exactly where `Forms.adds_exactly` says so."""
    if not forms().adds_exactly:
        return rows[index]
    taken = _take_rows(rows.reshape(rows.shape[0], -1), index)
    return taken.reshape(index.shape[0], *rows.shape[1:])


@jax.custom_vjp
def _take_rows(rows: Array, index: Array) -> Array:
    return rows[index]


def _take_rows_forward(rows: Array, index: Array) -> tuple[Array, tuple[Array, Array]]:
    # Of the rows their number alone is wanted.
    return rows[index], (index, jnp.zeros((rows.shape[0], 0), rows.dtype))


def _take_rows_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, None]:
    index, like = residuals
    total = jnp.zeros((like.shape[0], cotangent.shape[1]), jnp.float32)
    return add_rows(total, index, cotangent, exact=True).astype(like.dtype), None


_take_rows.defvjp(_take_rows_forward, _take_rows_backward)


def take_own(
    values: Float[Array, "N ..."], index: Int[Array, " N"], axis: int
) -> Float[Array, "N ..."]:
    """One place of each along an axis that is left out, so that no two read the same number.

    Args:
      axis: of `values[n]`.
    """
    if forms().takes_by_masks:
        places = jnp.moveaxis(values, axis if axis < 0 else axis + 1, -1)
        own_place = jnp.clip(index, 0, places.shape[-1] - 1).reshape(-1, *(places.ndim - 1) * [1])
        is_own = own_place == jnp.arange(places.shape[-1]).reshape(*(places.ndim - 1) * [1], -1)
        return jnp.sum(jnp.where(is_own, places, jnp.zeros((), values.dtype)), -1)

    def own(values: Array, index: Array) -> Array:
        return jax.lax.dynamic_index_in_dim(values, index, axis, keepdims=False)

    return jax.vmap(own)(values, index)


def take_patches(
    maps: Sequence[Float[Array, "B _ _ C"]], cell: Int[Array, "B S"]
) -> Float[Array, "B S 9 C"]:
    """The 3 x 3 cells around a cell of a map, row by row; 0 beyond the map. See `take_cells`."""
    around, first = jnp.full((*cell.shape, 3, 3), -1, cell.dtype), 0
    down = jnp.arange(-1, 2, dtype=cell.dtype).reshape(1, 1, 3, 1)
    beside = jnp.swapaxes(down, 2, 3)
    for x in maps:
        _, height, width, _ = x.shape
        own = (cell - first)[..., None, None]
        y, column = own // width + down, own % width + beside
        inside = (y >= 0) & (y < height) & (column >= 0) & (column < width)
        is_own = (own >= 0) & (own < height * width)
        around = jnp.where(is_own & inside, first + y * width + column, around)
        first += height * width
    cells = take_cells(maps, around.reshape(cell.shape[0], -1))
    return cells.reshape(*cell.shape, 9, -1)


def take_cells(
    maps: Sequence[Float[Array, "B _ _ C"]], cell: Int[Array, "B S"]
) -> Float[Array, "B S C"]:
    """Cells of maps, numbered in the order (map, y, x), and 0 for numbers that none has.

    The gradient of a cell is the sum of all that read it, added in float32.
    """
    return _take_cells(list(maps), cell)


@jax.custom_vjp
def _take_cells(maps: list[Array], cell: Array) -> Array:
    taken = jnp.zeros((), maps[0].dtype)
    for x, row in zip(maps, _rows_of_maps([x.shape for x in maps], cell), strict=True):
        rows = x.reshape(-1, x.shape[-1])
        taken = taken + rows.at[row].get(mode="fill", fill_value=0)
    return taken


def _rows_of_maps(
    shapes: Sequence[tuple[int, ...]], cell: Int[Array, "B S"]
) -> Iterator[Int[Array, "B S"]]:
    """The row of each cell in each map [B * H * W, C]; one too many where it is of another map."""
    first, image = 0, jnp.arange(cell.shape[0], dtype=cell.dtype)[:, None]
    for batch, height, width, _ in shapes:
        own, number = cell - first, height * width
        inside = (own >= 0) & (own < number)
        yield jnp.where(inside, image * number + own, batch * number)
        first += number


def _take_cells_forward(maps: list[Array], cell: Array) -> tuple[Array, tuple]:
    # Of the maps their shapes alone are wanted.
    return _take_cells(maps, cell), (cell, [jnp.zeros((*x.shape, 0), x.dtype) for x in maps])


def _take_cells_backward(residuals: tuple, cotangent: Array) -> tuple[list[Array], None]:
    cell, like = residuals
    updates, exact, gradients = cotangent.astype(jnp.float32), forms().adds_exactly, []
    if forms().takes_by_masks and not exact:
        # All updates of a cell are added by a product, and are the same then: no map is held in
        # float32, and it does not matter which of them is written last. The matrix is as large as
        # the square of an image's cells, of which an RPN samples some hundred patches.
        is_same = (cell[:, :, None] == cell[:, None]).astype(updates.dtype)
        updates = jnp.matmul(is_same, updates, precision=jax.lax.Precision.HIGHEST)
    for x, row in zip(like, _rows_of_maps([x.shape[:4] for x in like], cell), strict=True):
        number, channels = math.prod(x.shape[:3]), x.shape[3]
        if exact:
            rows, total = row.reshape(-1), jnp.zeros((number + 1, channels), jnp.float32)
            total = add_rows(total, rows, updates.reshape(-1, channels), exact=True)[:number]
        elif forms().takes_by_masks:
            total = jnp.zeros((number, channels), x.dtype)
            total = total.at[row].set(updates.astype(x.dtype), mode="drop")
        else:
            total = jnp.zeros((number, channels), jnp.float32)
            total = total.at[row].add(updates, mode="drop")
        gradients.append(total.astype(x.dtype).reshape(x.shape[:4]))
    return gradients, None


_take_cells.defvjp(_take_cells_forward, _take_cells_backward)
