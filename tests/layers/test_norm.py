"""Norms against the formula and against Linen's."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.layers.norm import BatchNorm, FrozenBatchNorm, GroupNorm
from pointrend_jax.structures import DATA_AXIS


def _arrays(values: dict[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _apply(module: nn.Module, variables: Any, *inputs: Any) -> np.ndarray:
    return np.asarray(jax.jit(module.apply)(variables, *inputs))


def test_frozen_batch_norm_by_hand():
    arrays = _arrays({"scale": [2.0], "bias": [1.0], "mean": [3.0], "var": [3.75]})
    y = _apply(FrozenBatchNorm(eps=0.25), {"buffers": arrays}, np.array([[5], [3]], np.float32))
    np.testing.assert_allclose(y, [[2 * (5 - 3) / 2 + 1], [1.0]], rtol=1e-6)


def test_frozen_batch_norm_equals_linen_with_running_average():
    arrays = _arrays(
        {"scale": [1.5, -0.5], "bias": [0.1, 2.0], "mean": [-1.0, 0.3], "var": [0.4, 5.0]}
    )
    x = _normal(2, 3, 4, 2)
    theirs = _apply(
        nn.BatchNorm(use_running_average=True, epsilon=1e-3),
        {
            "params": {"scale": arrays["scale"], "bias": arrays["bias"]},
            "batch_stats": {"mean": arrays["mean"], "var": arrays["var"]},
        },
        x,
    )
    ours = _apply(FrozenBatchNorm(eps=1e-3), {"buffers": arrays}, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_frozen_batch_norm_has_nothing_to_train():
    variables = jax.eval_shape(
        FrozenBatchNorm().init, jax.random.key(0), np.ones((1, 2, 2, 3), np.float32)
    )
    assert set(variables) == {"buffers"}
    assert set(variables["buffers"]) == {"scale", "bias", "mean", "var"}


def test_frozen_batch_norm_keeps_the_dtype_of_its_input():
    x = np.ones((1, 2, 2, 3), jnp.bfloat16)
    y, _ = jax.eval_shape(FrozenBatchNorm().init_with_output, jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16


def test_frozen_batch_norm_of_bfloat16_computes_in_float32():
    # 3 x - 299: in eight bits, 3 * 100 and 299 would lose what is left of them.
    arrays = _arrays({"scale": [3.0], "bias": [1.0], "mean": [100.0], "var": [1.0]})
    x = np.asarray([[100.0], [100.5], [101.0]], jnp.bfloat16)
    y = _apply(FrozenBatchNorm(eps=0.0), {"buffers": arrays}, x)
    np.testing.assert_array_equal(y, [[1.0], [2.5], [4.0]])


@partial(jax.jit, static_argnums=1)
def _train(x: jax.Array, devices: int) -> tuple[jax.Array, jax.Array]:
    """Output and buffers of one training pass, the batch split over `devices`."""
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x)
    affine = _arrays({"scale": [1.5, -0.5], "bias": [0.1, 2.0]})
    variables["params"] = jax.tree.map(jnp.asarray, affine)

    def apply(part: jax.Array) -> Any:
        y, updated = norm.apply(variables, part, mutable=["buffers"])
        return y, updated["buffers"]

    parts = x.reshape(devices, -1, *x.shape[1:])
    y, buffers = jax.vmap(apply, axis_name=DATA_AXIS)(parts)
    return y.reshape(x.shape), jax.tree.map(lambda b: b[0], buffers)


def test_batch_norm_in_training_equals_linen_and_keeps_the_unbiased_variance():
    x = 3 * _normal(4, 3, 5, 2) + 100
    y, buffers = _train(x, 1)
    linen = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    theirs, _ = jax.jit(partial(linen.apply, mutable=["batch_stats"]))(
        {
            "params": _arrays({"scale": [1.5, -0.5], "bias": [0.1, 2.0]}),
            "batch_stats": _arrays({"mean": [0.0, 0.0], "var": [1.0, 1.0]}),
        },
        x,
    )
    # Linen takes a difference of squares, which at a mean of 100 costs it four digits.
    np.testing.assert_allclose(y, theirs, rtol=1e-2, atol=2e-3)
    flat = np.asarray(x, np.float64).reshape(-1, 2)
    np.testing.assert_allclose(buffers["mean"], 0.1 * flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(buffers["var"], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_of_two_devices_has_the_statistics_of_the_whole_batch():
    x = _normal(4, 3, 5, 2) + np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    one, two = _train(x, 1), _train(x, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two)


def test_batch_norm_reads_its_buffers_where_they_are_not_mutable():
    arrays = _arrays({"scale": [1.5, -0.5], "bias": [0.1, 2.0]})
    buffers = _arrays({"mean": [-1.0, 0.3], "var": [0.4, 5.0]})
    x = _normal(2, 3, 4, 2)
    ours = _apply(BatchNorm(), {"params": arrays, "buffers": buffers}, x)
    frozen = _apply(FrozenBatchNorm(), {"buffers": arrays | buffers}, x)
    np.testing.assert_array_equal(ours, frozen)


@jax.jit
def _group_norm(variables: Any, x: jax.Array, image_hw: jax.Array) -> Any:
    return GroupNorm(4).apply(variables, x, image_hw, 4)


def test_group_norm_equals_linen_where_the_image_fills_the_canvas():
    x = 3 * _normal(2, 4, 6, 8) + 5
    variables = {"params": _arrays({"scale": [1.0] * 8, "bias": [0.0] * 8})}
    ours = _group_norm(variables, x, np.array([[16, 24]] * 2))
    theirs = _apply(nn.GroupNorm(4, epsilon=1e-5), variables, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_group_norm_ignores_what_lies_beyond_the_image():
    x = _normal(1, 4, 6, 8)
    variables = {"params": _arrays({"scale": [1.0] * 8, "bias": [0.0] * 8})}
    exact = _group_norm(variables, x[:, :2, :3], np.array([[8, 12]]))
    padded = _group_norm(variables, x, np.array([[8, 12]]))
    np.testing.assert_allclose(np.asarray(padded)[:, :2, :3], exact, rtol=1e-5, atol=1e-6)
