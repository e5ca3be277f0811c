"""Losses by hand; padding touches neither sum nor gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.losses import (
    binary_cross_entropy,
    cross_entropy,
    hard_pixel_cross_entropy,
    l1,
    select_class,
)
from pointrend_jax.structures import DATA_AXIS

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

    gradient = np.asarray(jax.jit(jax.grad(total))(np.zeros((2, 3), np.float32)))
    np.testing.assert_array_equal(gradient[1], np.zeros(3))
    np.testing.assert_allclose(gradient[0], [1 / 3, -2 / 3, 1 / 3], rtol=1e-6)


def test_select_class_takes_each_regions_channel() -> None:
    values = jnp.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(select_class(values, jnp.array([2, 0]))[..., 0], [[2, 5], [6, 9]])


@partial(jax.jit, static_argnames=("devices", "fraction"))
def _hard_loss(logits: jax.Array, labels: jax.Array, devices: int, fraction: float) -> jax.Array:
    """The loss of a batch that is split over `devices`."""

    def part(logits: jax.Array, labels: jax.Array) -> jax.Array:
        valid = labels != 255
        term = hard_pixel_cross_entropy(logits, labels, valid, fraction=fraction)
        totals = jax.lax.psum((term.total, term.denominator), DATA_AXIS)
        return totals[0] / totals[1]

    split = [x.reshape(devices, -1, *x.shape[1:]) for x in (logits, labels)]
    return jax.vmap(part, axis_name=DATA_AXIS)(*split)[0]


_hard_loss_gradient = jax.jit(jax.grad(_hard_loss), static_argnums=(2, 3))


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.9, 1.0])
def test_hard_pixels_are_the_mean_of_the_highest_losses(fraction: float) -> None:
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(4, 5, 6, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (4, 5, 6), np.int32)
    labels[0, :3] = 255
    each = cross_entropy_of_each(logits, labels)
    number = int(fraction * each.size)
    expected = np.sort(each.ravel())[::-1][:number].mean()
    np.testing.assert_allclose(_hard_loss(logits, labels, 1, fraction), expected, rtol=1e-6)
    np.testing.assert_allclose(_hard_loss(logits, labels, 2, fraction), expected, rtol=1e-6)


def cross_entropy_of_each(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    of_class = np.take_along_axis(x, np.where(y == 255, 0, y)[..., None], axis=-1)[..., 0]
    return np.where(y == 255, 0.0, np.log(np.exp(x).sum(-1)) - of_class)


def test_hard_pixels_of_equal_loss_share_what_is_left() -> None:
    logits, labels = np.zeros((1, 1, 10, 2), np.float32), np.zeros((1, 1, 10), np.int32)
    gradient = np.asarray(_hard_loss_gradient(logits, labels, 1, 0.25))
    # Two of ten pixels, so a tenth of the gradient of the mean for each.
    np.testing.assert_allclose(gradient[..., 0], -0.5 / 10, rtol=1e-6)


def test_pixels_that_are_not_hard_have_no_gradient() -> None:
    logits = np.array([[[[3, 0], [0, 0], [0, 3], [1, 0]]]], np.float32)
    labels = np.zeros((1, 1, 4), np.int32)
    gradient = np.asarray(_hard_loss_gradient(logits, labels, 1, 0.5))
    np.testing.assert_array_equal((gradient != 0).any(axis=-1)[0, 0], [False, True, True, False])
