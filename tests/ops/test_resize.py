"""Upsampling by two against the general resize, and its defining property."""

import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.resize import resize_bilinear, upsample_2x, upsample_nearest_2x

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_upsample_2x_equals_the_general_bilinear_resize() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3, 4)), jnp.float32)
    np.testing.assert_allclose(upsample_2x(x), resize_bilinear(x, (10, 6)), atol=1e-6)


def test_upsample_2x_of_one_pixel_repeats_it() -> None:
    np.testing.assert_array_equal(
        upsample_2x(jnp.full((1, 1, 1, 1), 3.0)), jnp.full((1, 2, 2, 1), 3.0)
    )


def test_upsample_nearest_2x_makes_blocks() -> None:
    x = jnp.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(
        upsample_nearest_2x(x)[0, ..., 0], [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    )
