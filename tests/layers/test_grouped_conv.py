"""The two forms of the grouped convolution are one function."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.grouped_conv import GroupedConv, grouped_conv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("hw", [(8, 6), (7, 9)])
def test_patches_form_and_its_gradient_equal_the_grouped_form(stride, hw):
    x = jax.random.normal(jax.random.key(0), (2, *hw, 12))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 6))

    def weighted_sum(x, kernel, implementation):
        y = grouped_conv(x, kernel, groups=3, stride=stride, implementation=implementation)
        # Unequal weights, so that a gradient in the wrong place shows.
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum(), y

    evaluate = jax.jit(
        jax.value_and_grad(weighted_sum, argnums=(0, 1), has_aux=True), static_argnums=2
    )
    (_, patches), patches_gradient = evaluate(x, kernel, "patches")
    (_, grouped), grouped_gradient = evaluate(x, kernel, "grouped")
    # float32 sums of up to 36 or 9 * 112 terms in another order.
    np.testing.assert_allclose(patches, grouped, atol=1e-5)
    for ours, theirs in zip(patches_gradient, grouped_gradient, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_grouped_conv_keeps_groups_apart():
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 8))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 6))
    together = grouped_conv(x, kernel, groups=2, implementation="patches")
    alone = grouped_conv(x[..., 4:], kernel[..., 3:], groups=1, implementation="patches")
    np.testing.assert_allclose(together[..., 3:], alone, rtol=1e-5, atol=1e-5)


def test_module_has_a_kernel_of_the_groups_inputs():
    variables: Any = GroupedConv(channels=6, kernel_size=3, groups=2).init(
        jax.random.key(0), jnp.zeros((1, 4, 4, 8))
    )
    assert variables["params"]["kernel"].shape == (3, 3, 4, 6)


@pytest.mark.parametrize("implementation", ["patches", "grouped"])
def test_grouped_conv_of_bfloat16_rounds_its_sum_only_once(implementation):
    x = jax.random.normal(jax.random.key(0), (2, 8, 6, 12), jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 6), jnp.bfloat16)
    conv = jax.jit(partial(grouped_conv, groups=3, implementation=implementation))
    y, exact = conv(x, kernel), conv(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    # Half a unit of eight bits; sums near 0 cancel in another order.
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)
