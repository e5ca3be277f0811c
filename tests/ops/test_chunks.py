"""Chunks do each valid row once, whatever their size, and touch no other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.chunks import in_chunks, on_first_rows

_ROWS = 10


@pytest.mark.parametrize("num_valid", [0, 1, 3, 4, 9, 10])
@pytest.mark.parametrize(("chunk", "fewest_encoded"), [(1, 1), (3, 1), (4, 8), (3, 7), (40, 1)])
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_valid_rows_come_back_in_their_places(
    num_valid: int,
    chunk: int,
    fewest_encoded: int,
    platform: str,
    trace_for: Callable[[str], None],
) -> None:
    trace_for(platform)
    rows = {"a": jnp.arange(1.0, _ROWS + 1), "b": jnp.arange(2.0 * _ROWS).reshape(_ROWS, 2)}
    order = jax.random.permutation(jax.random.key(0), _ROWS)
    encoded_rows: list[int] = []

    def encode(chosen: dict[str, jax.Array]) -> jax.Array:
        encoded_rows.append(len(chosen["a"]))
        return 2 * chosen["a"]

    def finish(encoded: jax.Array, chosen: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        assert len(encoded) == len(chosen["b"]) == min(chunk, _ROWS)
        return encoded, chosen["b"]

    empty = jnp.full(_ROWS, -1.0), jnp.full((_ROWS, 2), -1.0)
    doubled, same = in_chunks(
        encode, finish, rows, order, jnp.int32(num_valid), empty,
        chunk=chunk, fewest_encoded=fewest_encoded,
    )  # fmt: skip
    valid = np.isin(np.arange(_ROWS), order[:num_valid])
    np.testing.assert_array_equal(doubled, np.where(valid, 2 * rows["a"], -1))
    np.testing.assert_array_equal(same, np.where(valid[:, None], rows["b"], -1))
    assert encoded_rows[0] >= fewest_encoded


@pytest.mark.parametrize(("counts", "taken"), [((0, 0), 2), ((2, 1), 2), ((3, 0), 4), ((1, 8), 8)])
def test_the_fewest_first_rows_that_hold_every_valid_one_are_taken(
    counts: tuple[int, int], taken: int
) -> None:
    valid = jnp.arange(8)[None] < jnp.array(counts)[:, None]
    rows = jnp.arange(16)

    def function(first: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.int32(len(first)), jnp.sum(first)

    number, total = on_first_rows(function, rows, valid, (2, 4, 8))
    assert int(number) == 2 * taken
    assert int(total) == np.arange(16).reshape(2, 8)[:, :taken].sum()
