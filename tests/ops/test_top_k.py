"""The k largest by counting: the bits of `jax.lax.top_k`, whatever the numbers are."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.ops import top_k as module
from pointrend_jax.ops.top_k import is_counted, top_k

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Ties, signed zeros and infinities are data: for one shape everything is one program.
_NUMBER, _K = 2100, 70
by_count = jax.jit(module.top_k_by_count, static_argnums=1)
by_sort = jax.jit(jax.lax.top_k, static_argnums=1)


def _numbers(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if kind == "random":
        return x
    if kind == "tied":
        # The k-th and many more are 1.
        return np.round(x)
    if kind == "zeros":
        # Too few others, of both signs, that zeros of both signs need not be told apart.
        return np.where(np.abs(x) > 2.5, x, np.where(x > -1.5, -0.0, 0.0)).astype(np.float32)
    if kind == "infinite":
        return np.where(x > 2.2, np.inf, np.where(x < 0, -np.inf, x)).astype(np.float32)
    if kind == "mostly missing":
        return np.where(x > 2.2, x, -np.inf).astype(np.float32)
    return np.where(np.abs(x) > 2.2, np.copysign(np.nan, x), x).astype(np.float32)


def _assert_equal(x: Any, k: int) -> None:
    (values, index), (expected, places) = by_count(x, k), by_sort(x, k)
    np.testing.assert_array_equal(index, places)
    assert index.dtype == places.dtype
    bits = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    np.testing.assert_array_equal(np.asarray(values).view(bits), np.asarray(expected).view(bits))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "kind", ["random", "tied", "zeros", "infinite", "mostly missing", "not numbers"]
)
def test_counting_gives_the_bits_of_a_sort(kind: str, dtype: Any) -> None:
    _assert_equal(jnp.asarray(_numbers(kind, (3, _NUMBER)), dtype), _K)


@pytest.mark.parametrize(("number", "k"), [(1, 1), (33, 33), (2049, 1), (70, 69)])
def test_all_of_them_and_the_largest_alone_are_found(number: int, k: int) -> None:
    _assert_equal(jnp.asarray(_numbers("tied", (2, number))), k)


def test_by_hand_the_first_of_equal_ones_comes_first() -> None:
    x = jnp.asarray([2.0, 5.0, 2.0, -jnp.inf, 5.0, 2.0, 7.0])
    values, index = by_count(x, 5)
    np.testing.assert_array_equal(values, [7, 5, 5, 2, 2])
    np.testing.assert_array_equal(index, [6, 1, 4, 0, 2])


def test_images_of_a_batch_are_found_as_each_by_itself() -> None:
    x = jnp.asarray(_numbers("tied", (3, _NUMBER)))
    _, index = jax.jit(jax.vmap(partial(module.top_k_by_count, k=_K)))(x)
    np.testing.assert_array_equal(index, by_sort(x, _K)[1])


@pytest.mark.parametrize(("platform", "sorted_length"), [("cpu", 5000), ("tpu", 5000), ("gpu", 20)])
def test_a_gpu_sorts_only_what_was_chosen(platform: str, sorted_length: int) -> None:
    with traced_for(platform):
        program = jax.make_jaxpr(lambda x: top_k(x, 20))(jnp.zeros((2, 5000)))
    lengths = [
        equation.invars[0].aval.shape[-1]
        for equation in program.eqns
        if equation.primitive.name in ("top_k", "sort")
    ]
    assert lengths == [sorted_length]


@pytest.mark.parametrize(
    ("n", "k", "counted"),
    [
        # Levels and masks of 800 x 1216; what a step draws; axes of which much is wanted.
        (182400, 1000, True), (50176, 784, True), (242991, 256, True), (80000, 20000, True),
        (2850, 1000, False), (588, 147, False), (10000, 5000, False), (50176, 16, False),
    ],
)  # fmt: skip
def test_long_axes_are_counted(n: int, k: int, counted: bool) -> None:
    assert is_counted(n, k) == counted
