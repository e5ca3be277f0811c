"""Norms against the formula and against Linen's."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.layers.norm import BatchNorm, FrozenBatchNorm, GroupNorm
from pointrend_jax.structures import DATA_AXIS


def _arrays(values: dict[str, list[float]]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def test_frozen_batch_norm_by_hand():
    arrays = _arrays({"scale": [2.0], "bias": [1.0], "mean": [3.0], "var": [3.75]})
    y = jax.jit(FrozenBatchNorm(eps=0.25).apply)({"buffers": arrays}, jnp.asarray([[5.0], [3.0]]))
    np.testing.assert_allclose(y, [[2 * (5 - 3) / 2 + 1], [1.0]], rtol=1e-6)


def test_frozen_batch_norm_equals_linen_with_running_average():
    arrays = _arrays(
        {"scale": [1.5, -0.5], "bias": [0.1, 2.0], "mean": [-1.0, 0.3], "var": [0.4, 5.0]}
    )
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 2))
    theirs = jax.jit(nn.BatchNorm(use_running_average=True, epsilon=1e-3).apply)(
        {
            "params": {"scale": arrays["scale"], "bias": arrays["bias"]},
            "batch_stats": {"mean": arrays["mean"], "var": arrays["var"]},
        },
        x,
    )
    ours = jax.jit(FrozenBatchNorm(eps=1e-3).apply)({"buffers": arrays}, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_frozen_batch_norm_has_nothing_to_train():
    variables = FrozenBatchNorm().init(jax.random.key(0), jnp.ones((1, 2, 2, 3)))
    assert set(variables) == {"buffers"}
    assert set(variables["buffers"]) == {"scale", "bias", "mean", "var"}


def test_frozen_batch_norm_keeps_the_dtype_of_its_input():
    x = jnp.ones((1, 2, 2, 3), jnp.bfloat16)
    y, _ = FrozenBatchNorm().init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16


def test_frozen_batch_norm_of_bfloat16_computes_in_float32():
    # 3 x - 299: in eight bits, 3 * 100 and 299 would lose what is left of them.
    arrays = _arrays({"scale": [3.0], "bias": [1.0], "mean": [100.0], "var": [1.0]})
    x = jnp.asarray([[100.0], [100.5], [101.0]], jnp.bfloat16)
    y: Any = FrozenBatchNorm(eps=0.0).apply({"buffers": arrays}, x)
    np.testing.assert_array_equal(y.astype(jnp.float32), [[1.0], [2.5], [4.0]])


def _train(x: jax.Array, devices: int) -> tuple[jax.Array, jax.Array]:
    """Output and buffers of one training pass, the batch split over `devices`."""
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x)
    variables["params"] = _arrays({"scale": [1.5, -0.5], "bias": [0.1, 2.0]})

    def apply(part: jax.Array) -> Any:
        y, updated = norm.apply(variables, part, mutable=["buffers"])
        return y, updated["buffers"]

    parts = x.reshape(devices, -1, *x.shape[1:])
    y, buffers = jax.vmap(apply, axis_name=DATA_AXIS)(parts)
    return y.reshape(x.shape), jax.tree.map(lambda b: b[0], buffers)


def test_batch_norm_in_training_equals_linen_and_keeps_the_unbiased_variance():
    x = jax.random.normal(jax.random.key(1), (4, 3, 5, 2)) * 3 + 100
    y, buffers = _train(x, 1)
    theirs, _ = nn.BatchNorm(use_running_average=False, epsilon=1e-5).apply(
        {
            "params": _arrays({"scale": [1.5, -0.5], "bias": [0.1, 2.0]}),
            "batch_stats": _arrays({"mean": [0.0, 0.0], "var": [1.0, 1.0]}),
        },
        x,
        mutable=["batch_stats"],
    )
    # Linen takes a difference of squares, which at a mean of 100 costs it four digits.
    np.testing.assert_allclose(y, theirs, rtol=1e-2, atol=2e-3)
    flat = np.asarray(x, np.float64).reshape(-1, 2)
    np.testing.assert_allclose(buffers["mean"], 0.1 * flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(buffers["var"], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_of_two_devices_has_the_statistics_of_the_whole_batch():
    x = jax.random.normal(jax.random.key(1), (4, 3, 5, 2)) + jnp.arange(4.0).reshape(4, 1, 1, 1)
    one, two = _train(x, 1), _train(x, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two)


def test_batch_norm_reads_its_buffers_where_they_are_not_mutable():
    arrays = _arrays({"scale": [1.5, -0.5], "bias": [0.1, 2.0]})
    buffers = _arrays({"mean": [-1.0, 0.3], "var": [0.4, 5.0]})
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 2))
    ours = BatchNorm().apply({"params": arrays, "buffers": buffers}, x)
    frozen = FrozenBatchNorm().apply({"buffers": arrays | buffers}, x)
    np.testing.assert_array_equal(ours, frozen)


def test_group_norm_equals_linen_where_the_image_fills_the_canvas():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 8)) * 3 + 5
    variables = GroupNorm(4).init(jax.random.key(0), x, jnp.array([[16, 24]] * 2), 4)
    ours: Any = GroupNorm(4).apply(variables, x, jnp.array([[16, 24]] * 2), 4)
    theirs: Any = nn.GroupNorm(4, epsilon=1e-5).apply(variables, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_group_norm_ignores_what_lies_beyond_the_image():
    x = jax.random.normal(jax.random.key(0), (1, 4, 6, 8))
    variables = GroupNorm(4).init(jax.random.key(0), x, jnp.array([[16, 24]]), 4)
    exact: Any = GroupNorm(4).apply(variables, x[:, :2, :3], jnp.array([[8, 12]]), 4)
    padded: Any = GroupNorm(4).apply(variables, x, jnp.array([[8, 12]]), 4)
    np.testing.assert_allclose(padded[:, :2, :3], exact, rtol=1e-5, atol=1e-6)
