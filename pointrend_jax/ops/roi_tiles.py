"""ROIAlign as products with tiles of the maps, as many as each RoI touches.

A bin's mean is linear in the cells of the map, so a RoI is a sum over the tiles that it touches:
what each cell of a tile weighs in each bin, times the tile. A TPU reads whole tiles fast and a few
cells at any place slowly, holds a chunk of tiles and its sums near the matrix unit, and decides by
itself whether a loop goes on. So no RoI is too large, and none waits for a larger one elsewhere.

A tile is 16 strips, one below the other, of 16 cells of a row each. Maps that are read lie column
of strips after column, so that a tile may begin with any strip and is one piece of memory. Where
gradients are added tiles are whole: a map has them one after another, column after column.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pointrend_jax.ops.roi_chunks import chunks_by_turns
from pointrend_jax.ops.roi_samples import Places, Samples, cell_weights, touched_cells

# Strips of a tile and cells of a strip: 256 cells are two full depths of the matrix unit.
SIDE = 16
CHUNK = 128
# No tile.
_BEYOND = 2**31 - 1


class _Tiles(NamedTuple):
    """Which tiles N RoIs touch; every field is [N], or [N, lanes] where a RoI's numbers fill lanes.

    row, column: of the first tile of a RoI, in cells and in strips; down, across: how many.
    """

    row: Array
    column: Array
    down: Array
    across: Array

    def in_turn(self, turn: Int[Array, ""]) -> tuple[Array, Array]:
        """The row and column of each RoI's tile of this turn, row by row of its tiles.

        In float32, which holds such numbers exactly: a TPU divides integers in many steps.
        """
        row, column, across = (
            x.astype(jnp.float32) for x in (self.row, self.column, jnp.maximum(self.across, 1))
        )
        down = jnp.floor((turn.astype(jnp.float32) + 0.5) / across)
        return row + SIDE * down, column + turn.astype(jnp.float32) - down * across


def strips_of_maps(map_shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, int, int]]:
    """(B, columns, strips of a column) of maps (B, H, W), as `in_strips` lays them out."""
    return [(batch, -(-width // SIDE), height) for batch, height, width in map_shapes]


def tiles_of_maps(map_shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, int, int]]:
    """(B, columns, tiles of a column) of maps (B, H, W), as `gradient_by_tiles` adds to them."""
    return [
        (batch, columns, -(-strips // SIDE))
        for batch, columns, strips in strips_of_maps(map_shapes)
    ]


def in_strips(feature_maps: Sequence[Float[Array, "B _ _ C"]]) -> Float[Array, "T w C"]:
    """The strips of all maps, one after another, column by column of each map.

    Rows are continued by zeros to whole strips, and after the last strip there is a tile of zeros:
    a tile may begin with the last strip.
    """
    strips = []
    for cells in feature_maps:
        batch, height, width, channels = cells.shape
        cells = jnp.pad(cells, ((0, 0), (0, 0), (0, -width % SIDE), (0, 0)))
        cells = cells.reshape(batch, height, -1, SIDE, channels)
        strips.append(jnp.swapaxes(cells, 1, 2).reshape(-1, SIDE, channels))
    channels, dtype = strips[0].shape[2], strips[0].dtype
    return jnp.concatenate([*strips, jnp.zeros((SIDE, SIDE, channels), dtype)])


def pool_by_tiles(
    strips: Float[Array, "T w C"], samples: Samples, *, output_size: int, sampling_ratio: int
) -> Float[Array, "N S S C"]:
    """The means, added up in float32, 0 for a RoI without samples.

    Args:
      strips: of `in_strips`, all finite: what a tile has beyond a RoI or a map is multiplied by 0.
      samples: placed among the strips (`strips_of_maps`).
    """
    wide, channels = _whole_registers(output_size), strips.shape[2]
    tiles = _touched_tiles(samples, output_size, whole=False)
    chunks = chunks_by_turns((samples, tiles), _turns(samples, tiles), CHUNK)

    def pool_chunk(index: Array, pooled: Array) -> Array:
        (chunk, own), turns = jax.tree.map(lambda x: x[index], (chunks.rois, chunks.turns))
        weights_of = _weights_in_turn(chunk, own, output_size, sampling_ratio)

        def add_tile(turn: Array, total: Array) -> Array:
            row, column = (x.astype(jnp.int32) for x in own.in_turn(turn))
            cells = _tiles_from(strips, chunk.places.first + column * chunk.places.pitch + row)
            for part in _parts(weights_of(turn), strips.dtype):
                total = total + _product(part, cells)
            return total

        total = jnp.zeros((CHUNK, output_size * wide, channels), jnp.float32)
        total = jax.lax.fori_loop(0, jnp.max(turns), add_tile, total)
        total = total.reshape(CHUNK, output_size, wide, channels)[:, :, :output_size]
        place = chunks.places[index]
        return pooled.at[place].set(total.astype(pooled.dtype), mode="drop", unique_indices=True)

    num_rois = len(tiles.row)
    pooled = jnp.zeros((num_rois, output_size, output_size, channels), strips.dtype)
    return jax.lax.fori_loop(chunks.first, chunks.places.shape[0], pool_chunk, pooled)


def gradient_by_tiles(
    samples: Samples,
    places: Places,
    cotangent: Float[Array, "N S S C"],
    map_shapes: Sequence[tuple[int, ...]],
    *,
    sampling_ratio: int,
) -> list[Float[Array, "B _ _ C"]]:
    """The gradient of `pool_by_tiles` in the maps (B, H, W), added up in float32.

    Args:
      places: among the tiles of all maps (`tiles_of_maps`).
    """
    _, output_size, _, channels = cotangent.shape
    wide, dtype = _whole_registers(output_size), cotangent.dtype
    missing = ((0, 0), (0, wide - output_size), (0, wide - output_size), (0, 0))
    by_bin = jnp.pad(cotangent, missing).reshape(-1, wide * wide, channels)
    tiles = _touched_tiles(samples, output_size, whole=True)
    chunks = chunks_by_turns((samples, places, tiles), _turns(samples, tiles), CHUNK)
    copies = _num_parts(dtype)

    def add_chunk(index: Array, total: Array) -> Array:
        of_chunk, turns = jax.tree.map(lambda x: x[index], (chunks.rois, chunks.turns))
        chunk, place, own = of_chunk
        weights_of = _weights_in_turn(chunk, own, wide, sampling_ratio, copies=copies)
        # A RoI without turns, whose place lies beyond all, adds nothing.
        of_parts = jnp.repeat(chunks.places[index], copies)
        gradients = by_bin.at[of_parts].get(mode="clip").reshape(CHUNK, -1, channels)

        def add_tile(turn: Array, total: Array) -> Array:
            row, column = (x.astype(jnp.int32) for x in own.in_turn(turn))
            tile = place.first + column * place.pitch + row // SIDE
            # All parts are one product: the matrix unit adds them, and 128 bins are its depth.
            update = _product(_parts_beside(weights_of(turn), dtype).mT, gradients)
            return total.at[jnp.where(turn < turns, tile, _BEYOND)].add(update, mode="drop")

        return jax.lax.fori_loop(0, jnp.max(turns), add_tile, total)

    num_tiles = sum(math.prod(shape) for shape in tiles_of_maps(map_shapes))
    total = jnp.zeros((num_tiles, SIDE * SIDE, channels), jnp.float32)
    total = jax.lax.fori_loop(chunks.first, chunks.places.shape[0], add_chunk, total)
    return list(_maps_from_tiles(total, map_shapes, dtype))


def _maps_from_tiles(
    tiles: Float[Array, "T c C"], map_shapes: Sequence[tuple[int, ...]], dtype: Any
) -> Iterable[Float[Array, "B _ _ C"]]:
    first, channels = 0, tiles.shape[2]
    for shape, (batch, height, width) in zip(tiles_of_maps(map_shapes), map_shapes, strict=True):
        _, columns, down = shape
        number = batch * columns * down
        # A TPU's compiler would round all maps before it takes them apart, which is a copy more,
        # and move strips one by one after their rows are cut.
        own = jax.lax.optimization_barrier(tiles[first : first + number])
        own = own.reshape(batch, columns, down * SIDE, SIDE, channels)[:, :, :height]
        own = jax.lax.optimization_barrier(jnp.swapaxes(own, 1, 2).astype(dtype))
        yield own.reshape(batch, height, columns * SIDE, channels)[:, :, :width]
        first += number


def _tiles_from(strips: Float[Array, "T w C"], first: Int[Array, " n"]) -> Float[Array, "n c C"]:
    """The tile that begins with each of these strips."""
    dimensions = jax.lax.GatherDimensionNumbers(
        offset_dims=(1, 2, 3), collapsed_slice_dims=(), start_index_map=(0,)
    )
    sizes = (SIDE, *strips.shape[1:])
    tiles = jax.lax.gather(strips, first[:, None], dimensions, sizes, mode="clip")
    return tiles.reshape(len(first), SIDE * SIDE, -1)


def _whole_registers(output_size: int) -> int:
    """`output_size` rounded up to a multiple of 8, the rows of a TPU's register. A row of bins is
    computed so wide, and the bins beyond `output_size` are never read."""
    return output_size + -output_size % 8


def _touched_tiles(samples: Samples, output_size: int, *, whole: bool) -> _Tiles:
    """whole: they begin at every sixteenth row; otherwise at the first row that is touched."""
    (row, height), (x, width) = (
        touched_cells(axis, output_size) for axis in (samples.y, samples.x)
    )
    if whole:
        row, height = row - row % SIDE, height + row % SIDE
    across = (x + width - 1) // SIDE - x // SIDE + 1
    return _Tiles(row, x // SIDE, -(-height // SIDE), across)


def _turns(samples: Samples, tiles: _Tiles) -> Int[Array, " N"]:
    return jnp.where(samples.of_a_bin > 0, tiles.down * tiles.across, 0)


def _weights_in_turn(
    samples: Samples, tiles: _Tiles, rows: int, sampling_ratio: int, *, copies: int = 1
) -> Callable[[Int[Array, ""]], Float[Array, "n b c"]]:
    """A function of the turn: what the cells of each RoI's tile weigh in each bin.

    They are 0 for a RoI that has no more tiles, since no sample lies near those cells.

    Args:
      rows: of bins; each is as wide as whole registers.
      copies: of all bins, one after another.
    """
    number, wide = len(tiles.row), _whole_registers(rows)
    # The bins of an axis, and the 16 cells of a tile along it, are 128 lanes of a register; a RoI's
    # numbers fill them before the loop begins.
    lane = np.arange(wide * SIDE)[None]
    bins, cell = (jnp.asarray(x, jnp.float32) for x in (lane // SIDE, lane % SIDE))
    in_lanes = jax.tree.map(
        lambda x: jnp.broadcast_to(x[:, None], (number, wide * SIDE)).astype(jnp.float32),
        (samples.y, samples.x, tiles),
    )
    *axes, tiles = jax.lax.optimization_barrier(in_lanes)
    # Repeated over a tile by a product with zeros and ones, which is exact.
    place = np.arange(SIDE * SIDE)
    over_tile = [
        jnp.asarray(np.equal(of_cell, np.arange(SIDE)[:, None]), jnp.float32)
        for of_cell in (place // SIDE, place % SIDE)
    ]

    def weights(turn: Array) -> Array:
        row, column = tiles.in_turn(turn)
        of_axes = [
            cell_weights(axis, bins, first + cell, sampling_ratio=sampling_ratio)
            for axis, first in zip(axes, (row, SIDE * column), strict=True)
        ]
        of_rows, of_columns = (
            x.reshape(number, wide, SIDE) for x in jax.lax.optimization_barrier(of_axes)
        )
        of_rows = jnp.concatenate([of_rows[:, :rows]] * copies, axis=1)
        to_rows, to_columns = map(_product, (of_rows, of_columns), over_tile)
        both = to_rows[:, :, None] * to_columns[:, None]
        return both.reshape(number, -1, SIDE * SIDE)

    return weights


def _num_parts(dtype: Any) -> int:
    """The weights are coordinates: in the eight bits of bfloat16 a sample would lie elsewhere. Two
    parts hold sixteen; what is left is less than half of a hundredth of what rounding the mean
    changes."""
    return 2 if dtype == jnp.bfloat16 else 1


def _parts(weights: Float[Array, "..."], dtype: Any) -> list[Array]:
    """Arrays of `dtype` whose sum the weights are, the smallest first."""
    if _num_parts(dtype) == 1:
        return [weights]
    high = _rounded(weights)
    return [_rounded(weights - high).astype(dtype), high.astype(dtype)]


def _parts_beside(copies: Float[Array, "n b c"], dtype: Any) -> Float[Array, "n b c"]:
    """`_parts` of weights of which there are as many copies, one after another."""
    number = _num_parts(dtype)
    if number == 1:
        return copies
    is_low = np.repeat(np.array([0, 1], np.float32), copies.shape[1] // number)[None, :, None]
    return _rounded(copies - is_low * _rounded(copies)).astype(dtype)


def _rounded(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """To the bits of bfloat16; a conversion there and back may be left out by the compiler."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def _product(a: Array, b: Array) -> Float[Array, "..."]:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
