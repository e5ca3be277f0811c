"""Work on so many of an array's rows as are valid, where shapes must be static.

Rows are slots, of which a batch fills some: the first of each image, or any. What is done with a
row is the caller's; here stands how many rows it is done with at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from pointrend_jax.devices.backend import forms

# Pytrees of arrays; those of rows begin with the axis N.
Tree = Any
Result = TypeVar("Result")

# Where valid rows fill at most a half or a quarter of the slots, only that part is worked on.
_SHARES = (2, 4)
# Each part is a program of its own, so parts with fewer slots than this are not made.
_FEWEST = 16


def in_chunks(
    encode: Callable[[Tree], Tree],
    finish: Callable[[Tree, Tree], Tree],
    rows: Tree,
    order: Int[Array, " N"],
    num_valid: Int[Array, ""],
    results: Tree,
    *,
    chunk: int,
    fewest_encoded: int = 1,
) -> Tree:
    """Writes `finish(encode(rows), rows)` of the first `num_valid` rows of `order` into `results`.

    Memory follows the size of a chunk, and work the number of valid rows; or of all rows, where a
    host would have to wait for that number (`Forms.works_on_all_rows`).

    Args:
      encode: from rows [n, ...] to [n, ...]; n is a multiple of `chunk`, and at least
        `fewest_encoded`, because encoding may read weights that are larger than few rows are.
      finish: from what `encode` gives and the rows, both [chunk, ...], to results [chunk, ...].
      order: every row once. Rows that cost alike should come together.
      results: [N, ...], what a row that is not valid keeps.
    """
    num_rows = order.shape[0]
    chunk = min(chunk, num_rows)
    chunks_encoded = -(-fewest_encoded // chunk)
    order = jnp.pad(order, (0, -num_rows % (chunk * chunks_encoded)))
    worked_on = num_rows if forms().works_on_all_rows else num_valid
    num_chunks = -(-worked_on // chunk)

    def finish_chunk(first: Array, encoded: Tree, number: Array, results: Tree) -> Tree:
        place = (first + number) * chunk
        index = jax.lax.dynamic_slice_in_dim(order, place, chunk)
        own = partial(jax.lax.dynamic_slice_in_dim, start_index=number * chunk, slice_size=chunk)
        finished = finish(jax.tree.map(own, encoded), _chosen(rows, index))
        # A padded entry of `order` repeats row 0 and must not write; nor does an invalid row.
        fresh = place + jnp.arange(chunk) < num_valid
        target = jnp.where(fresh, index, num_rows)
        return jax.tree.map(lambda x, new: x.at[target].set(new, mode="drop"), results, finished)

    def encode_and_finish(number: Array, results: Tree) -> Tree:
        first = number * chunks_encoded
        index = jax.lax.dynamic_slice_in_dim(order, first * chunk, chunk * chunks_encoded)
        encoded = encode(_chosen(rows, index))
        # Of the last that are encoded together some may be beyond the last row; they write nothing.
        here = chunks_encoded
        if not forms().works_on_all_rows:
            here = jnp.minimum(chunks_encoded, num_chunks - first)
        return jax.lax.fori_loop(0, here, partial(finish_chunk, first, encoded), results)

    return jax.lax.fori_loop(0, -(-num_chunks // chunks_encoded), encode_and_finish, results)


def on_first_rows(
    function: Callable[[Tree], Result],
    rows: Tree,
    valid: Bool[Array, "B S"],
    numbers: Sequence[int],
) -> Result:
    """`function` of each image's first rows: the fewest of `numbers` that hold every valid row.

    Args:
      function: from rows [B * n, ...] to results whose shapes do not depend on n; it is compiled
        once for each of `numbers`.
      rows: [B * S, ...], image by image, of which an image's valid ones come first.
      numbers: ascending, the last one S; see `slot_numbers`.
    """
    num_images, slots = valid.shape

    def of_first(number: int) -> Result:
        def first(x: Array) -> Array:
            return merge_two_axes(x.reshape(num_images, slots, *x.shape[1:])[:, :number])

        return function(jax.tree.map(first, rows))

    most = jnp.max(jnp.sum(valid, axis=1))
    choice = jnp.sum(most > jnp.array(numbers[:-1], jnp.int32), dtype=jnp.int32)
    return jax.lax.switch(choice, [partial(of_first, number) for number in numbers])


def slot_numbers(slots: int) -> list[int]:
    """`slots` and such parts of it as are worth compiling, ascending.

    There are no parts where a branch costs more than it saves (`Forms.trains_on_all_slots`).
    """
    if forms().trains_on_all_slots:
        return [slots]
    parts = {slots // share for share in _SHARES}
    return sorted({number for number in parts if number >= _FEWEST} | {slots})


def merge_two_axes(x: Array) -> Array:
    """[A, B, ...] to [A * B, ...], also where an axis is 0 and -1 could be anything."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _chosen(rows: Tree, index: Int[Array, " n"]) -> Tree:
    return jax.tree.map(lambda x: x[index], rows)
