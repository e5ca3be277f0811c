"""Convolutions in other forms are flax's, with their parameters and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import pointrend_jax.layers.conv as conv_module
from pointrend_jax.layers.conv import Conv


@pytest.mark.parametrize(
    "how",
    [
        {"kernel_size": (1, 1)},
        {"kernel_size": (1, 1), "strides": (2, 2)},
        {"kernel_size": (1, 1), "strides": (2, 1), "use_bias": False},
        {"kernel_size": (1, 1), "padding": 1},
        {"kernel_size": (1, 1), "feature_group_count": 2},
        {"kernel_size": (1, 1), "padding": 0, "input_dilation": 2},
        {"kernel_size": (2, 2), "padding": "VALID", "strides": (2, 2)},
        {"kernel_size": (2, 3), "padding": "VALID", "strides": (2, 3)},
        {"kernel_size": (2, 2), "padding": "SAME", "strides": (2, 2)},
        {"kernel_size": (3, 3), "padding": 1, "strides": (2, 2)},
        {"kernel_size": (3, 3), "padding": 1},
        {"kernel_size": (3, 3), "padding": "SAME"},
        {"kernel_size": (3, 3), "padding": "VALID"},
        {"kernel_size": (3, 3), "padding": 2, "kernel_dilation": 2},
    ],
)
@pytest.mark.parametrize("narrow", [1, 128])
def test_conv_has_the_parameters_values_and_gradients_of_flax(how, narrow, monkeypatch):
    # Every form, at the sizes of a test.
    monkeypatch.setattr(conv_module, "_LARGE", 1)
    monkeypatch.setattr(conv_module, "_NARROW", narrow)
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 8))
    ours, theirs = Conv(4, **how), nn.Conv(4, **how)
    variables = theirs.init(jax.random.key(1), x)

    def weighted_sum(conv, variables, x):
        y = conv.apply(variables, x)
        # Unequal weights, so that a gradient in the wrong place shows.
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum(), y

    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(
        jnp.shape, variables
    )
    evaluate = jax.value_and_grad(weighted_sum, argnums=(1, 2), has_aux=True)
    (_, value), gradients = evaluate(ours, variables, x)
    (_, expected), expected_gradients = evaluate(theirs, variables, x)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradients,
        expected_gradients,
    )


def test_a_pointwise_convolution_is_a_product():
    x = jnp.zeros((1, 4, 4, 8))
    conv = Conv(4, (1, 1))
    program = str(jax.make_jaxpr(lambda x: conv.init_with_output(jax.random.key(0), x)[0])(x))
    assert "dot_general" in program
    assert "conv_general_dilated" not in program
