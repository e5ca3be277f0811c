"""Losses as a sum and a denominator, the latter counted as the reference counts it.

Who divides is `training`, after adding both over all devices, so that a result does not depend on
how images fall on them. Every function over slots takes `valid`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.ops.points import check_indexable
from pointrend_jax.ops.scatter import take_own
from pointrend_jax.structures import DATA_AXIS


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
    loss = sigmoid_cross_entropy(logits, labels, valid)
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


def mean_over(losses: Float[Array, "*S"], valid: Bool[Array, "*S"]) -> LossTerm:
    """The sum of the losses of valid elements, and the number of these."""
    return LossTerm(jnp.sum(jnp.where(valid, losses, 0.0)), jnp.sum(valid))


def cross_entropy(
    logits: Float[Array, "*S K"], labels: Int[Array, "*S"], valid: Bool[Array, "*S"]
) -> LossTerm:
    """Softmax cross entropy over the valid elements; the denominator is their number."""
    return mean_over(softmax_cross_entropy(logits, jnp.where(valid, labels, 0), valid), valid)


def sigmoid_cross_entropy(
    logits: Float[Array, "*S"], labels: Float[Array, "*S"], valid: Bool[Array, "*S"]
) -> Float[Array, "*S"]:
    """Of every point of masks; labels may be soft (in [0, 1])."""
    del valid
    # As optax has it; this file needs jax alone.
    return -labels * jax.nn.log_sigmoid(logits) - (1.0 - labels) * jax.nn.log_sigmoid(-logits)


def softmax_cross_entropy(
    logits: Float[Array, "*S K"], labels: Int[Array, "*S"], valid: Bool[Array, "*S"]
) -> Float[Array, "*S"]:
    """Of every element; labels are classes, also where they are not valid."""
    del valid
    # As optax has it, whose gradient of the label's logit is a sum over all readers.
    logits = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    own = take_own(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), 0)
    return jnp.log(jnp.sum(jnp.exp(logits), axis=-1)) - own.reshape(labels.shape)


def hard_pixel_cross_entropy(
    logits: Float[Array, "*S K"],
    labels: Int[Array, "*S"],
    valid: Bool[Array, "*S"],
    *,
    fraction: float,
) -> LossTerm:
    """Cross entropy of the `fraction` of all elements that have the highest one.

    Elements that are not valid count as elements, with a loss of 0. The choice is among the whole
    batch of all devices, so this needs the named axis `DATA_AXIS`.

    Source: Detectron2 projects/DeepLab, DeepLabCE, which chooses among the images of one GPU.
    """
    loss = softmax_cross_entropy(logits, jnp.where(valid, labels, 0), valid)
    loss = jnp.where(valid, loss, 0.0)
    devices = jax.lax.psum(1, DATA_AXIS)
    check_indexable("the pixels of a batch of all devices", loss.size * devices)
    chosen = int(fraction * loss.size * devices)
    share = jax.lax.stop_gradient(_share_of_highest(loss, chosen))
    return LossTerm(jnp.sum(loss * share), jnp.asarray(chosen / devices, jnp.float32))


def _share_of_highest(values: Float[Array, "*S"], number: int) -> Float[Array, "*S"]:
    """1 for the `number` highest non-negative values of all devices, 0 for the others; values
    equal to the last one share what is left.

    The last value is found bit by bit, by counting: a sort of all pixels would cost far more, and
    could not be shared among devices. Non-negative floats are ordered as their bits are.
    """
    bits = jax.lax.bitcast_convert_type(jnp.maximum(values, 0.0), jnp.int32)

    def count(of: Bool[Array, "*S"]) -> Array:
        return jax.lax.psum(jnp.sum(of, dtype=jnp.int32), DATA_AXIS)

    def set_bit(i: Array, last: Array) -> Array:
        candidate = last | (1 << (30 - i))
        return jnp.where(count(bits >= candidate) >= number, candidate, last)

    last = jax.lax.fori_loop(0, 31, set_bit, jnp.zeros((), jnp.int32))
    above, equal = bits > last, bits == last
    left = (number - count(above)).astype(values.dtype)
    return jnp.where(above, 1.0, jnp.where(equal, left / count(equal).astype(values.dtype), 0.0))


def select_class(
    values: Float[Array, "N *S K"], classes: Int[Array, " N"]
) -> Float[Array, "N *S 1"]:
    """The channel of each region's own class."""
    return take_own(values, classes, -1)[..., None]
