"""The pooling of a stem, whose windows overlap."""

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.devices.backend import deterministic, traced_for
from pointrend_jax.layers.resnet import stem_pool


def test_pooling_by_hand_is_the_largest_of_nine_pixels_around_every_second() -> None:
    x = jnp.arange(1.0, 21.0).reshape(1, 4, 5, 1)
    expected = [[7, 9, 10], [17, 19, 20]]
    np.testing.assert_array_equal(stem_pool(x)[0, ..., 0], expected)
    with deterministic():
        np.testing.assert_array_equal(stem_pool(x)[0, ..., 0], expected)
    with traced_for("onnx"):
        np.testing.assert_array_equal(stem_pool(x)[0, ..., 0], expected)
        assert "reduce_window" not in str(jax.make_jaxpr(lambda x: stem_pool(x))(x))


def test_in_a_deterministic_step_its_gradient_is_the_same_but_for_rounding() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 9, 12, 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(2, 5, 6, 3)), jnp.float32)
    gradients = []
    for wanted in (False, True):
        with deterministic(wanted):
            gradients.append(jax.grad(lambda x: jnp.sum(stem_pool(x) * weights))(x))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-6, atol=1e-6)
    # A pixel that is the largest of several windows gets the gradient of each.
    assert np.count_nonzero(gradients[0]) < weights.size
