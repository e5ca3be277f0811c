"""Losses as a sum and a denominator, the latter counted as the reference counts it.

Who divides is `training`, after adding both over all devices, so that a result does not depend on
how images fall on them. Every function over slots takes `valid`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


class LossTerm(NamedTuple):
    """A loss before its division. Both are scalars; `denominator` has no gradient."""

    total: Array
    denominator: Array


def binary_cross_entropy(
    logits: Float[Array, "*S"],
    labels: Float[Array, "*S"],
    valid: Bool[Array, "*S"],
    denominator: Array,
) -> LossTerm:
    """Sigmoid cross entropy over the valid elements; labels may be soft (in [0, 1])."""
    loss = optax.sigmoid_binary_cross_entropy(logits, labels)
    return LossTerm(jnp.sum(jnp.where(valid, loss, 0.0)), denominator)


def l1(
    predictions: Float[Array, "*S 4"],
    targets: Float[Array, "*S 4"],
    valid: Bool[Array, "*S"],
    denominator: Array,
) -> LossTerm:
    """Absolute difference (smooth L1 with beta = 0) over the valid rows."""
    loss = jnp.abs(predictions - targets)
    return LossTerm(jnp.sum(jnp.where(valid[..., None], loss, 0.0)), denominator)


def cross_entropy(
    logits: Float[Array, "*S K"], labels: Int[Array, "*S"], valid: Bool[Array, "*S"]
) -> LossTerm:
    """Softmax cross entropy over the valid elements; the denominator is their number."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(valid, labels, 0))
    return LossTerm(jnp.sum(jnp.where(valid, loss, 0.0)), jnp.sum(valid))


def select_class(
    values: Float[Array, "N *S K"], classes: Int[Array, " N"]
) -> Float[Array, "N *S 1"]:
    """The channel of each region's own class."""
    index = classes.reshape(-1, *([1] * (values.ndim - 1)))
    return jnp.take_along_axis(values, index, axis=-1)
