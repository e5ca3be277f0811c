"""FrozenBatchNorm against the formula and against Linen's batch norm with running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.layers.norm import FrozenBatchNorm


def _arrays(values: dict[str, list[float]]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def test_frozen_batch_norm_by_hand():
    arrays = _arrays({"scale": [2.0], "bias": [1.0], "mean": [3.0], "var": [3.75]})
    y = jax.jit(FrozenBatchNorm(eps=0.25).apply)({"frozen": arrays}, jnp.asarray([[5.0], [3.0]]))
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
    ours = jax.jit(FrozenBatchNorm(eps=1e-3).apply)({"frozen": arrays}, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_frozen_batch_norm_has_nothing_to_train():
    variables = FrozenBatchNorm().init(jax.random.key(0), jnp.ones((1, 2, 2, 3)))
    assert set(variables) == {"frozen"}
    assert set(variables["frozen"]) == {"scale", "bias", "mean", "var"}


def test_frozen_batch_norm_keeps_the_dtype_of_its_input():
    x = jnp.ones((1, 2, 2, 3), jnp.bfloat16)
    y, _ = FrozenBatchNorm().init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
