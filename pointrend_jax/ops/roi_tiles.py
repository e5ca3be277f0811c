"""ROIAlign as products with whole tiles of the maps, as many as each RoI touches.

A bin's mean is linear in the cells of the map, so a RoI is a sum over the tiles that it touches:
what each cell of a tile weighs in each bin, times the tile. A TPU reads whole tiles fast and a few
cells at any place slowly, holds a chunk of tiles and its sums near the matrix unit, and decides by
itself whether a loop goes on. So no RoI is too large, and none waits for a larger one elsewhere.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.ops.roi_chunks import chunks_by_turns
from pointrend_jax.ops.roi_samples import Samples, cell_weights, touched_cells

# Cells of a tile, a side: 256 cells are two full depths of the matrix unit.
SIDE = 16
CHUNK = 128
# No tile.
_BEYOND = 2**31 - 1


def in_tiles(feature_maps: Sequence[Float[Array, "B _ _ C"]]) -> Float[Array, "T c C"]:
    """The tiles of all maps, one after another, row by row of each map; a map is continued by
    zeros to whole tiles."""
    tiles = []
    for cells in feature_maps:
        batch, height, width, channels = cells.shape
        missing = -height % SIDE, -width % SIDE
        cells = jnp.pad(cells, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        cells = cells.reshape(batch, -(-height // SIDE), SIDE, -(-width // SIDE), SIDE, channels)
        tiles.append(jnp.swapaxes(cells, 2, 3).reshape(-1, SIDE * SIDE, channels))
    return jnp.concatenate(tiles)


def pool_by_tiles(
    tiles: Float[Array, "T c C"], samples: Samples, *, output_size: int, sampling_ratio: int
) -> Float[Array, "N S S C"]:
    """The means, added up in float32, 0 for a RoI without samples.

    Args:
      tiles: of `in_tiles`, all finite: what a tile has beyond a RoI or a map is multiplied by 0.
      samples: placed with `side=SIDE`.
    """
    bins, channels = output_size * _whole_registers(output_size), tiles.shape[2]
    chunks = chunks_by_turns(samples, _number_of_tiles(samples, output_size), CHUNK)

    def pool_chunk(index: Array, pooled: Array) -> Array:
        chunk, turns = jax.tree.map(lambda x: x[index], (chunks.samples, chunks.turns))
        tile_of = _tiles_in_turn(chunk, turns, output_size, sampling_ratio)

        def add_tile(turn: Array, total: Array) -> Array:
            place, weights = tile_of(turn)
            cells = tiles.at[place].get(mode="clip")
            for part in _parts(weights, tiles.dtype):
                total = total + _product(part, cells)
            return total

        total = jnp.zeros((CHUNK, bins, channels), jnp.float32)
        total = jax.lax.fori_loop(0, jnp.max(turns), add_tile, total)
        total = total.reshape(CHUNK, output_size, -1, channels)[:, :, :output_size]
        place = chunks.places[index]
        return pooled.at[place].set(total.astype(pooled.dtype), mode="drop", unique_indices=True)

    num_rois = samples.first_row.shape[0]
    pooled = jnp.zeros((num_rois, output_size, output_size, channels), tiles.dtype)
    return jax.lax.fori_loop(chunks.first, chunks.places.shape[0], pool_chunk, pooled)


def gradient_by_tiles(
    samples: Samples, cotangent: Float[Array, "N S S C"], num_tiles: int, *, sampling_ratio: int
) -> Float[Array, "T c C"]:
    """The gradient of `pool_by_tiles` in its tiles, in float32."""
    num_rois, output_size, _, channels = cotangent.shape
    missing = _whole_registers(output_size) - output_size
    by_bin = jnp.pad(cotangent, ((0, 0), (0, 0), (0, missing), (0, 0)))
    by_bin = by_bin.reshape(num_rois, -1, channels)
    chunks = chunks_by_turns(samples, _number_of_tiles(samples, output_size), CHUNK)

    def add_chunk(index: Array, total: Array) -> Array:
        chunk, turns = jax.tree.map(lambda x: x[index], (chunks.samples, chunks.turns))
        tile_of = _tiles_in_turn(chunk, turns, output_size, sampling_ratio)
        gradient = by_bin.at[chunks.places[index]].get(mode="fill", fill_value=0)

        def add_tile(turn: Array, total: Array) -> Array:
            place, weights = tile_of(turn)
            update = jnp.zeros((), total.dtype)
            for part in _parts(weights, cotangent.dtype):
                update = update + _product(part.mT, gradient)
            return total.at[place].add(update, mode="drop")

        return jax.lax.fori_loop(0, jnp.max(turns), add_tile, total)

    total = jnp.zeros((num_tiles, SIDE * SIDE, channels), jnp.float32)
    return jax.lax.fori_loop(chunks.first, chunks.places.shape[0], add_chunk, total)


def _whole_registers(output_size: int) -> int:
    """`output_size` rounded up to a multiple of 8, the rows of a TPU's register. A row of bins is
    computed so wide, and the bins beyond `output_size` are never read."""
    return output_size + -output_size % 8


def _number_of_tiles(samples: Samples, output_size: int) -> Int[Array, " N"]:
    _, (down, across) = _touched_tiles(samples, output_size)
    return jnp.where(samples.of_a_bin > 0, down * across, 0)


def _touched_tiles(
    samples: Samples, output_size: int
) -> tuple[tuple[Int[Array, " N"], ...], tuple[Int[Array, " N"], ...]]:
    """The row and column of the first tile of each RoI; how many it has down and across."""
    first, number = [], []
    for axis in (samples.y, samples.x):
        low, cells = touched_cells(axis, output_size)
        first.append(low // SIDE)
        number.append((low + cells - 1) // SIDE - low // SIDE + 1)
    return tuple(first), tuple(number)


def _tiles_in_turn(
    samples: Samples, turns: Int[Array, " n"], output_size: int, sampling_ratio: int
) -> Callable[[Array], tuple[Int[Array, " n"], Float[Array, "n b c"]]]:
    """A function of the turn: which tile is each RoI's, and what its cells weigh in each bin.

    Beyond all tiles for a RoI that has no more, and then its weights are 0, since no sample lies
    near those cells. The weights of an axis are repeated over a tile by a product with zeros and
    ones, which is exact.
    """
    first, (_, across) = _touched_tiles(samples, output_size)
    wide = _whole_registers(output_size)
    # From here on a number of a RoI has two axes more, for bins and cells.
    axes = jax.tree.map(lambda *ends: jnp.stack(ends)[..., None, None], samples.y, samples.x)
    first_row, first_column, across, first_tile, stride, turns = (
        x[:, None, None] for x in (*first, across, samples.first_row, samples.map_width, turns)
    )
    cell = jnp.arange(SIDE * SIDE)[None, :]
    of_axis = jnp.stack([cell // SIDE, cell % SIDE]) == jnp.arange(SIDE)[None, :, None]

    def tile(turn: Array) -> tuple[Array, Array]:
        row = first_row + jax.lax.div(jnp.full_like(across, turn), across)
        column = first_column + jax.lax.rem(jnp.full_like(across, turn), across)
        place = jnp.where(turn < turns, first_tile + row * stride + column, _BEYOND)
        cells = SIDE * jnp.stack([row, column]) + jnp.arange(SIDE).reshape(1, 1, 1, SIDE)
        weights = cell_weights(
            axes, cells, output_size=wide, sampling_ratio=sampling_ratio
        ).reshape(2, -1, SIDE)
        to_rows, to_columns = _product(weights, of_axis.astype(weights.dtype)).reshape(
            2, len(row), wide, SIDE * SIDE
        )
        both = to_rows[:, :output_size, None] * to_columns[:, None]
        return place.reshape(-1), both.reshape(len(row), -1, SIDE * SIDE)

    return tile


def _parts(weights: Float[Array, "..."], dtype: jnp.dtype) -> list[Array]:
    """Arrays of `dtype` whose sum the weights are, to the last bit of float32.

    The weights are coordinates: in the eight bits of bfloat16 a sample would lie elsewhere. Cells
    in bfloat16 have no more bits than that, so three products hold what float32 would.
    """
    if dtype != jnp.bfloat16:
        return [weights]
    parts = []
    for _ in range(3):
        # A conversion there and back may be left out by the compiler.
        part = jax.lax.reduce_precision(weights, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(dtype))
        weights = weights - part
    # The smallest first.
    return parts[::-1]


def _product(a: Array, b: Array) -> Float[Array, "..."]:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
