"""Sums of rows that have no order, their error, and reads that share nothing."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import deterministic
from pointrend_jax.ops import scatter
from pointrend_jax.ops.points import point_sample
from pointrend_jax.ops.scatter import take_rows

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Operation by operation a sum is some forty programs.
add_rows = jax.jit(scatter.add_rows, static_argnames="exact")
ROWS, UPDATES, CHANNELS = 7, 3000, 3


def _updates(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are hit often, and updates of magnitudes from 1e-12 to 1e6, one row each scale."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, ROWS, UPDATES)
    scale = np.float32(10.0) ** (3 * rows - 12)
    updates = rng.normal(size=(UPDATES, CHANNELS)) * np.exp(rng.normal(size=(UPDATES, 1)))
    return rows.astype(np.int32), (updates * scale[:, None]).astype(np.float32)


def _sums(rows: np.ndarray, updates: np.ndarray, *, exact: bool) -> np.ndarray:
    total = np.zeros((ROWS, updates.shape[1]), np.float32)
    return np.asarray(add_rows(total, rows, updates, exact=exact))


def test_sums_by_hand_add_to_what_is_there() -> None:
    total = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    rows = jnp.array([[2, 0], [2, 2]])
    updates = jnp.array([[[1.0, -1.0], [0.25, 0.5]], [[4.0, 0.0], [0.0, 0.0]]])
    for exact in (False, True):
        sums = scatter.add_rows(total, rows, updates, exact=exact)
        np.testing.assert_array_equal(sums, [[1.25, 10.5], [2.0, 20.0], [8.0, 29.0]])


@pytest.mark.parametrize("seed", range(3))
def test_exact_sums_have_the_same_bits_in_any_order(seed: int) -> None:
    rows, updates = _updates(seed)
    orders = [np.random.default_rng(n).permutation(UPDATES) for n in range(4)]
    exact = [_sums(rows[order], updates[order], exact=True) for order in orders]
    for other in exact[1:]:
        np.testing.assert_array_equal(exact[0].view(np.int32), other.view(np.int32))
    # Otherwise the order shows, even where a CPU adds one after the other.
    plain = [_sums(rows[order], updates[order], exact=False) for order in orders]
    assert any((plain[0] != other).any() for other in plain[1:])


@pytest.mark.parametrize("seed", range(3))
def test_exact_sums_are_off_by_no_more_than_is_said(seed: int) -> None:
    rows, updates = _updates(seed)
    sums = _sums(rows, updates, exact=True)
    for row in range(ROWS):
        own = updates[rows == row].astype(np.float64)
        number, largest, true = len(own), np.abs(own).max(), own.sum(axis=0)
        # Three roundings of a sum, to half of a float32's last bit each.
        allowed = number**3 * largest * 2.0**-59 + 3 * 2.0**-24 * np.abs(true)
        assert (np.abs(sums[row] - true) <= allowed).all()


@pytest.mark.parametrize("number", [1, 2, 3, 1024, 1025, 70_000])
@pytest.mark.parametrize("value", [1e-30, -1.0, 1.9999999, 3e30])
def test_no_number_of_equal_updates_overflows(number: int, value: float) -> None:
    updates = np.full((number, 1), value, np.float32)
    total = np.zeros((2, 1), np.float32)
    sums = np.asarray(add_rows(total, np.ones(number, np.int32), updates, exact=True))
    assert sums[0, 0] == 0
    np.testing.assert_allclose(sums[1, 0], number * float(np.float32(value)), rtol=3e-7)


def test_small_updates_beside_a_large_one_of_another_row_keep_their_bits() -> None:
    updates = np.array([[1e30], [1.1], [1e-30]], np.float32)
    total = np.zeros((3, 1), np.float32)
    sums = add_rows(total, np.arange(3), updates, exact=True)
    np.testing.assert_allclose(sums, updates, rtol=1.2e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_in_its_row_alone(value: float) -> None:
    updates = np.array([[1.0], [value], [2.0]], np.float32)
    total = np.zeros((2, 1), np.float32)
    sums = np.asarray(add_rows(total, np.array([0, 1, 1]), updates, exact=True))
    assert sums[0, 0] == 1
    assert not np.isfinite(sums[1, 0])


def test_nothing_to_add_gives_zeros() -> None:
    nothing = np.zeros((0, 3), np.float32)
    sums = add_rows(np.zeros((2, 3), np.float32), np.zeros(0, np.int32), nothing, exact=True)
    np.testing.assert_array_equal(sums, np.zeros((2, 3)))


def test_taken_rows_have_the_gradient_of_indexing() -> None:
    rng = np.random.default_rng(0)
    rows, weights = (rng.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    index = np.array([3, 3, 0, 3, 1])

    def taken_and_gradient(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        taken, backward = jax.vjp(lambda rows: take_rows(rows, jnp.asarray(index)), rows)
        return taken, backward(jnp.asarray(weights))[0]

    _, plain = jax.jit(lambda rows: taken_and_gradient(rows))(rows)
    with deterministic():
        taken, exact = jax.jit(lambda rows: taken_and_gradient(rows))(rows)
        column = jax.jit(lambda *x: take_rows(*x))(rows[:, 0], index)
    np.testing.assert_array_equal(taken, rows[index])
    np.testing.assert_array_equal(column, rows[index, 0])
    np.testing.assert_allclose(exact, plain, rtol=1e-6, atol=1e-6)


def test_gradients_of_points_have_the_same_bits_in_any_order_of_the_points() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 4, 5, 3)).astype(np.float32)
    points = rng.uniform(-0.1, 1.1, (1, 400, 2)).astype(np.float32)
    weights = rng.normal(size=(1, 400, 3)).astype(np.float32)
    orders = [np.arange(400), rng.permutation(400), rng.permutation(400)]

    def gradients() -> list[np.ndarray]:
        @jax.jit
        def gradient(features: jax.Array, points: jax.Array, weights: jax.Array) -> jax.Array:
            return jax.vjp(lambda x: point_sample(x, points), features)[1](weights)[0]

        return [np.asarray(gradient(features, points[:, i], weights[:, i])) for i in orders]

    plain = gradients()
    with deterministic():
        exact = gradients()
    assert any((plain[0] != other).any() for other in plain[1:])
    for other in exact[1:]:
        np.testing.assert_array_equal(exact[0], other)
    np.testing.assert_allclose(exact[0], plain[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_own_places_are_taken_along_their_axis(
    platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    # A function of its own, because a platform changes nothing that was traced before.
    take = jax.jit(lambda x, i, axis: scatter.take_own(x, i, axis), static_argnames="axis")
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    # What the others hold does not matter; a place beyond the last is the last.
    values[0, 0, 0] = np.inf
    first, last = (take(values, np.array(i), axis=axis) for i, axis in (([1, 0], 0), ([9, 1], -1)))
    np.testing.assert_array_equal(first, [[3, 4, 5], [6, 7, 8]])
    np.testing.assert_array_equal(last, [[2, 5], [7, 10]])


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("exact", [False, True])
def test_cells_of_several_maps_are_read_and_a_number_of_none_reads_zeros(
    platform: str, exact: bool, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, *size, 5)).astype(np.float32) for size in ((3, 4), (2, 2))]
    rows = np.concatenate([x.reshape(2, -1, 5) for x in maps], axis=1)
    cell = np.array([[0, 11, 12, -1, 11], [15, 3, 16, 3, 12]], np.int32)
    weights = rng.normal(size=(2, 5, 5)).astype(np.float32)
    inside = ((cell >= 0) & (cell < 16))[..., None]
    image = np.arange(2)[:, None]
    expected = np.where(inside, rows[image, np.clip(cell, 0, 15)], 0)

    def weighted(maps: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        taken = scatter.take_cells(maps, jnp.asarray(cell))
        return jnp.sum(taken * weights), taken

    with deterministic(exact):
        gradient, taken = jax.jit(jax.grad(weighted, has_aux=True))(maps)
    np.testing.assert_array_equal(taken, expected)
    total = np.zeros_like(rows)
    np.add.at(total, (image, np.clip(cell, 0, 15)), np.where(inside, weights, 0))
    gradient = np.concatenate([np.reshape(x, (2, -1, 5)) for x in gradient], axis=1)
    np.testing.assert_allclose(gradient, total, rtol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_patches_are_what_a_convolution_reads(
    platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    rng = np.random.default_rng(1)
    maps = [jnp.asarray(rng.normal(size=(2, *size, 5)), jnp.float32) for size in ((3, 4), (2, 1))]
    kernel = jnp.asarray(rng.normal(size=(3, 3, 5, 4)), jnp.float32)
    # Corners, neighbours, a cell twice, none, and one beyond the last.
    cell = np.array([[0, 11, 12, -1, 11], [13, 3, 14, 2, 12]], np.int32)
    weights = rng.normal(size=(*cell.shape, 4)).astype(np.float32)
    weights[(cell < 0) | (cell > 13)] = 0

    def at_cells(maps: list[jax.Array], kernel: jax.Array) -> jax.Array:
        patches = scatter.take_patches(maps, jnp.asarray(cell)).reshape(*cell.shape, -1)
        return jnp.sum(patches @ kernel.reshape(-1, 4) * weights)

    def everywhere(maps: list[jax.Array], kernel: jax.Array) -> jax.Array:
        convolved = [
            jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ).reshape(2, -1, 4)
            for x in maps
        ]
        rows = jnp.concatenate(convolved, axis=1)
        return jnp.sum(rows[np.arange(2)[:, None], np.clip(cell, 0, 13)] * weights)

    results = [
        jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(maps, kernel)
        for function in (at_cells, everywhere)
    ]
    for ours, plain in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
