"""The two forms of the depthwise convolution are one function."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.depthwise import DepthwiseConv, depthwise_conv, depthwise_init


def _inputs(height: int, width: int, kernel_size: int) -> tuple[jax.Array, jax.Array]:
    x_key, kernel_key = jax.random.split(jax.random.key(0))
    x = jax.random.normal(x_key, (2, height, width, 3))
    return x, jax.random.normal(kernel_key, (kernel_size, kernel_size, 1, 3))


# Each size of kernel, each stride, and odd and even sides with each.
@pytest.mark.parametrize(
    ("kernel_size", "stride", "hw"),
    [(3, 1, (8, 7)), (3, 2, (8, 7)), (5, 1, (7, 6)), (5, 2, (7, 6))],
)
def test_shifted_form_and_its_gradient_equal_the_grouped_form(kernel_size, stride, hw):
    x, kernel = _inputs(hw[0], hw[1], kernel_size)

    def weighted_sum(x, kernel, implementation):
        y = depthwise_conv(x, kernel, stride=stride, implementation=implementation)
        # Unequal weights, so that a gradient in the wrong place shows.
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum(), y

    evaluate = jax.jit(
        jax.value_and_grad(weighted_sum, argnums=(0, 1), has_aux=True), static_argnums=2
    )
    (_, shifted), shifted_gradient = evaluate(x, kernel, "shifted")
    (_, grouped), grouped_gradient = evaluate(x, kernel, "grouped")
    # float32 sums of up to 25 * 72 terms in another order.
    np.testing.assert_allclose(shifted, grouped, atol=1e-5)
    for ours, theirs in zip(shifted_gradient, grouped_gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5)


def test_depthwise_conv_by_hand():
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    y = depthwise_conv(x, kernel, implementation="shifted")[0, ..., 0]
    assert float(y[0, 0]) == 1 * 4 + 2 * 5 + 3 * 7 + 4 * 8
    assert float(y[1, 1]) == 1 * 0 + 2 * 1 + 3 * 3 + 4 * 4


def test_depthwise_conv_keeps_channels_apart():
    x, kernel = _inputs(4, 4, 3)
    alone = depthwise_conv(x[..., 1:2], kernel[..., 1:2], implementation="shifted")
    together = depthwise_conv(x, kernel, implementation="shifted")
    np.testing.assert_array_equal(together[..., 1:2], alone)


def test_depthwise_init_keeps_the_variance_of_one_channel():
    kernel = depthwise_init(jax.random.key(0), (3, 3, 1, 4096), jnp.float32)
    # Kaiming: 2 / fan, fan 9; the standard error over 36864 values is 0.4 %.
    np.testing.assert_allclose(np.var(kernel), 2 / 9, rtol=0.03)


def test_depthwise_module_uses_its_kernel():
    x, kernel = _inputs(4, 6, 3)
    y = jax.jit(DepthwiseConv(3, stride=2).apply)({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(
        y, depthwise_conv(x, kernel, stride=2, implementation="grouped"), atol=1e-5
    )


@pytest.mark.parametrize("implementation", ["shifted", "grouped"])
def test_depthwise_conv_of_bfloat16_rounds_its_sum_only_once(implementation):
    x, kernel = (value.astype(jnp.bfloat16) for value in _inputs(8, 6, 5))
    conv = jax.jit(partial(depthwise_conv, implementation=implementation))
    y, exact = conv(x, kernel), conv(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    # Half a unit of eight bits; sums near 0 cancel in another order.
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)
