"""Losses by hand; padding touches neither sum nor gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.losses import binary_cross_entropy, cross_entropy, l1, select_class

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_binary_cross_entropy_of_soft_labels_by_hand() -> None:
    one = jnp.ones(1, bool)
    term = binary_cross_entropy(jnp.array([0.0]), jnp.array([0.25]), one, jnp.asarray(3.0))
    np.testing.assert_allclose(term.total, np.log(2), rtol=1e-6)
    assert term.denominator == 3.0


def test_l1_sums_the_valid_rows() -> None:
    valid = jnp.array([True, False])
    term = l1(jnp.ones((2, 4)), jnp.zeros((2, 4)), valid, jnp.asarray(1.0))
    assert term.total == 4.0


def test_invalid_rows_have_no_gradient_in_cross_entropy() -> None:
    valid = jnp.array([True, False])
    labels = jnp.array([1, 7])

    def total(logits: jax.Array) -> jax.Array:
        return cross_entropy(logits, labels, valid).total

    gradient = jax.grad(total)(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(gradient[1], jnp.zeros(3))
    np.testing.assert_allclose(gradient[0], [1 / 3, -2 / 3, 1 / 3], rtol=1e-6)


def test_select_class_takes_each_regions_channel() -> None:
    values = jnp.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(select_class(values, jnp.array([2, 0]))[..., 0], [[2, 5], [6, 9]])
