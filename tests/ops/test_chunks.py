"""Chunks do each valid row once, whatever their size, and touch no other."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.chunks import in_chunks, on_first_rows

_ROWS = 10


@pytest.mark.parametrize(("chunk", "fewest_encoded"), [(1, 1), (3, 1), (4, 8), (3, 7), (40, 1)])
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_valid_rows_come_back_in_their_places(
    chunk: int, fewest_encoded: int, platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    b = np.arange(2 * _ROWS, dtype=np.float32).reshape(_ROWS, 2)
    rows = {"a": np.arange(1, _ROWS + 1, dtype=np.float32), "b": b}
    order = np.random.default_rng(0).permutation(_ROWS)
    encoded_rows: list[int] = []

    def encode(chosen: dict[str, jax.Array]) -> jax.Array:
        encoded_rows.append(len(chosen["a"]))
        return 2 * chosen["a"]

    def finish(encoded: jax.Array, chosen: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        assert len(encoded) == len(chosen["b"]) == min(chunk, _ROWS)
        return encoded, chosen["b"]

    in_parts = jax.jit(
        partial(in_chunks, encode, finish, chunk=chunk, fewest_encoded=fewest_encoded)
    )
    empty = np.full(_ROWS, -1, np.float32), np.full((_ROWS, 2), -1, np.float32)
    for num_valid in (0, 1, 3, 4, 9, 10):
        doubled, same = in_parts(rows, order, np.int32(num_valid), empty)
        valid = np.isin(np.arange(_ROWS), order[:num_valid])
        np.testing.assert_array_equal(doubled, np.where(valid, 2 * rows["a"], -1))
        np.testing.assert_array_equal(same, np.where(valid[:, None], rows["b"], -1))
    assert encoded_rows[0] >= fewest_encoded


@pytest.mark.parametrize(("counts", "taken"), [((0, 0), 2), ((2, 1), 2), ((3, 0), 4), ((1, 8), 8)])
def test_the_fewest_first_rows_that_hold_every_valid_one_are_taken(
    counts: tuple[int, int], taken: int
) -> None:
    valid = np.arange(8)[None] < np.array(counts)[:, None]
    rows = np.arange(16)

    def function(first: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.int32(len(first)), jnp.sum(first)

    first_rows = jax.jit(lambda rows, valid: on_first_rows(function, rows, valid, (2, 4, 8)))
    number, total = first_rows(rows, valid)
    assert int(number) == 2 * taken
    assert int(total) == np.arange(16).reshape(2, 8)[:, :taken].sum()
