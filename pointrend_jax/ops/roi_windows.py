"""ROIAlign as products with windows of the maps, without a loop that the data decides on.

A bin's mean is linear in the cells of the map, and separable: over a window of cells it is
`to_rows @ window @ to_columns`, where two small matrices hold what each cell weighs
(`axis_weights`). All windows are of one size. A RoI takes as many as cover its samples, side by
side, and is the sum of their products; so a long box needs no other shape, only more windows.

How many windows there are is fixed, in proportion to the RoIs. Those that find none left, or need
more than `MOST`, are `WindowPlan.left_over`; for them there is ops/roi_loop.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.ops.roi_samples import Samples, axis_weights, touched_cells
from pointrend_jax.ops.scatter import add_rows

# Pytrees of arrays.
Carry = TypeVar("Carry")
Tree = Any

# Counted on canvases of 800 x 1216: of windows of 8 to 32 cells a side, these read and write near
# the fewest bytes. Boxes around COCO's objects take 2.9 on average and at most 4.7 in an image;
# proposals of random weights, which are much longer, take 4.6.
HEIGHT, WIDTH = 16, 16
# Windows for each RoI on average, and some more, which matter where RoIs are few.
_A_ROI, _SPARE = 4.75, 32
# Windows that one RoI may take. FPN's rule pools up to 28 x 28 cells or as many in a longer shape;
# as long as a map of 336 cells they take 22.
MOST = 24
# Windows that are worked on at a time.
_AT_A_TIME = 2048


class _Windows(NamedTuple):
    """Windows in W slots; every field is [W].

    first_y, first_x are cells of the RoI's map; lines is how many of the window's lines the samples
    touch, 0 where there is no window.
    """

    roi: Array
    first_y: Array
    first_x: Array
    lines: Array


class WindowPlan(NamedTuple):
    """Which windows each of N RoIs takes.

    first, number [N]: of its windows; left_over [N]: whether it has samples but no windows;
    windows: those of all RoIs, one RoI after another.
    """

    first: Array
    number: Array
    left_over: Array
    windows: _Windows


def num_windows(num_rois: int) -> int:
    """How many windows so many RoIs share: whole blocks of equally many."""
    wanted = int(num_rois * _A_ROI) + _SPARE
    return wanted + -wanted % _num_blocks(wanted)


def plan_windows(samples: Samples, output_size: int) -> WindowPlan:
    """Gives windows to the RoIs in their order, as long as there are any."""
    num_rois = samples.places.first.shape[0]
    slots = num_windows(num_rois)
    low_y, cells_y = touched_cells(samples.y, output_size)
    low_x, cells_x = touched_cells(samples.x, output_size)
    down, across = -(-cells_y // HEIGHT), -(-cells_x // WIDTH)
    needed = jnp.where(samples.of_a_bin > 0, down * across, 0)
    # A RoI that needs too many must not take what others can use.
    taken = jnp.where(needed <= MOST, needed, 0)
    end = jnp.cumsum(taken)
    first = end - taken
    left_over = (needed > MOST) | ((taken > 0) & (end > slots))
    number = jnp.where(left_over, 0, taken)
    # The last RoI is repeated to the end; `number` says which windows are its own.
    roi = jnp.repeat(jnp.arange(num_rois), taken, total_repeat_length=slots)
    place = jnp.arange(slots) - first[roi]
    row, column = place // across[roi], place % across[roi]
    lines = jnp.minimum(cells_y[roi] - row * HEIGHT, HEIGHT)
    windows = _Windows(
        roi=roi,
        first_y=low_y[roi] + row * HEIGHT,
        first_x=low_x[roi] + column * WIDTH,
        lines=jnp.where(place < number[roi], lines, 0),
    )
    return WindowPlan(first, number, left_over, windows)


def pool_by_windows(
    rows: Float[Array, "T C"],
    samples: Samples,
    plan: WindowPlan,
    *,
    output_size: int,
    sampling_ratio: int,
) -> Float[Array, "N S S C"]:
    """The means in float32, 0 for a RoI without windows.

    Memory beside the result: the sums of all windows, 4.75 * N * S * S * C float32, and of 2048
    windows at a time their HEIGHT * WIDTH * C cells, once as they are read and once in float32
    (0.5 GiB of 256 channels). Cells in bfloat16 are multiplied in float32 because their weights
    have more bits than bfloat16; that costs the second copy.

    Args:
      rows: the flattened pyramid and at least WIDTH rows more, all finite: what a window reads
        beyond its RoI or map is multiplied by 0.
    """

    def pool(carry: None, windows: _Windows) -> tuple[None, Array]:
        to_rows, to_columns = _weights(samples, windows, output_size, sampling_ratio)
        cells = _read_windows(rows, _starts(samples, windows, len(rows))).astype(to_rows.dtype)
        lines = _product(to_rows, cells.reshape(*cells.shape[:2], -1))
        lines = lines.reshape(*lines.shape[:2], WIDTH, -1)
        return carry, _product(_for_each_line(to_columns), lines)

    _, parts = _scan(pool, None, plan.windows)
    parts = parts.reshape(-1, *parts.shape[2:])
    total = jnp.zeros((), parts.dtype)
    for i in range(MOST):
        part = parts.at[plan.first + i].get(mode="clip")
        total = total + jnp.where((i < plan.number)[:, None, None, None], part, 0.0)
    return total


def add_gradient_by_windows(
    samples: Samples,
    plan: WindowPlan,
    cotangent: Float[Array, "N S S C"],
    total: Float[Array, "T C"],
    *,
    sampling_ratio: int,
    exact: bool = False,
) -> Float[Array, "T C"]:
    """`total`, float32, plus the gradient of `pool_by_windows` in `rows`.

    Memory beside the result: HEIGHT * WIDTH * C float32 of 2048 windows at a time.

    Args:
      exact: as `add_rows` takes it.
    """
    output_size = cotangent.shape[1]

    def add(total: Array, windows: _Windows) -> tuple[Array, None]:
        to_rows, to_columns = _weights(samples, windows, output_size, sampling_ratio)
        gradient = cotangent.at[windows.roi].get(mode="promise_in_bounds").astype(total.dtype)
        lines = _product(_for_each_line(to_columns).mT, gradient)
        updates = _product(to_rows.mT, lines.reshape(*lines.shape[:2], -1))
        updates = updates.reshape(*updates.shape[:2], WIDTH, -1)
        starts = _starts(samples, windows, len(total))
        return _add_windows(total, starts, updates, exact=exact), None

    return _scan(add, total, plan.windows)[0]


def _weights(
    samples: Samples, windows: _Windows, output_size: int, sampling_ratio: int
) -> tuple[Float[Array, "W S h"], Float[Array, "W S w"]]:
    """What each line and each column of a window weighs in each bin."""
    own = jax.tree.map(lambda x: x[windows.roi], samples)
    axes = (own.y, windows.first_y, HEIGHT), (own.x, windows.first_x, WIDTH)
    to_rows, to_columns = (
        axis_weights(*axis, output_size=output_size, sampling_ratio=sampling_ratio) for axis in axes
    )
    return to_rows, to_columns


def _starts(samples: Samples, windows: _Windows, num_rows: int) -> Int[Array, "W h"]:
    """The row with which each line of a window begins; `num_rows` where no sample touches it."""
    line = jnp.arange(HEIGHT)[None, :]
    pitch = samples.places.pitch[windows.roi][:, None]
    row = (windows.first_y[:, None] + line) * pitch + windows.first_x[:, None]
    row = samples.places.first[windows.roi][:, None] + row
    return jnp.where(line < windows.lines[:, None], row, num_rows)


def _read_windows(rows: Float[Array, "T C"], starts: Int[Array, "W h"]) -> Float[Array, "W h w C"]:
    """Lines of WIDTH rows; anything for one that begins past the end."""
    return jax.lax.gather(
        rows,
        starts[..., None],
        jax.lax.GatherDimensionNumbers(
            offset_dims=(2, 3), collapsed_slice_dims=(), start_index_map=(0,)
        ),
        slice_sizes=(WIDTH, rows.shape[1]),
        mode="clip",
    )


def _add_windows(
    total: Float[Array, "T C"],
    starts: Int[Array, "W h"],
    updates: Float[Array, "W h w C"],
    *,
    exact: bool,
) -> Float[Array, "T C"]:
    """`total` with lines of WIDTH rows added to it; one that begins past the end is left out."""
    if exact:
        exists = (starts < len(total))[..., None]
        rows = jnp.where(exists, starts[..., None] + jnp.arange(WIDTH)[None, None], 0)
        updates = jnp.where(exists[..., None], updates, 0.0)
        return add_rows(total, rows, updates, exact=True)
    return jax.lax.scatter_add(
        total,
        starts[..., None],
        updates,
        jax.lax.ScatterDimensionNumbers(
            update_window_dims=(2, 3), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,)
        ),
        mode="drop",
    )


def _product(a: Array, b: Array) -> Array:
    # The weights are coordinates: in eight or ten bits a sample would lie elsewhere.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _for_each_line(to_columns: Float[Array, "W S w"]) -> Float[Array, "W S S w"]:
    """As a factor of each of S lines, so that nothing need be transposed."""
    number, size, width = to_columns.shape
    return jnp.broadcast_to(to_columns[:, None], (number, size, size, width))


def _scan(
    step: Callable[[Carry, _Windows], tuple[Carry, Tree]], carry: Carry, windows: _Windows
) -> tuple[Carry, Tree]:
    """`jax.lax.scan` over the windows, `_AT_A_TIME` of them, but no loop for a single turn."""
    blocks = _num_blocks(len(windows.roi))
    if blocks == 1:
        carry, result = step(carry, windows)
        return carry, jax.tree.map(lambda x: x[None], result)
    blocked = jax.tree.map(lambda x: x.reshape(blocks, -1), windows)
    return jax.lax.scan(step, carry, blocked)


def _num_blocks(windows: int) -> int:
    return -(-windows // _AT_A_TIME)
