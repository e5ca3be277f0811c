"""Normalisation: batch norm with fixed or with trained statistics, and group norm.

Arrays that no optimizer touches (statistics, and the affine of `FrozenBatchNorm`) live in the
collection "buffers". A training step makes that collection mutable where statistics are learned:
then `BatchNorm` normalises by its batch and moves them; otherwise it reads them.
"""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.padding import inside_padded
from pointrend_jax.structures import DATA_AXIS

# `FrozenBatchNorm` or `BatchNorm`, or one of them with some attributes set.
BatchNormLayer = Callable[..., nn.Module]
# A head's norm: its convolutions have a bias only if there is none.
HeadNorm = Literal["group_norm", "batch_norm", "none"]


class FrozenBatchNorm(nn.Module):
    """Normalises the last axis with stored mean and variance; nothing here is trained.

    Detection batches are too small for batch statistics, so the pretrained ones are kept and the
    layer is one multiply-add a channel.

    Attributes:
      eps: added to the variance; must be the value that the weights were trained with.

    Source: Detectron2 layers/batch_norm.py, FrozenBatchNorm2d.
    """

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        channels = (x.shape[-1],)
        scale = self.variable("buffers", "scale", jnp.ones, channels).value
        bias = self.variable("buffers", "bias", jnp.zeros, channels).value
        mean = self.variable("buffers", "mean", jnp.zeros, channels).value
        var = self.variable("buffers", "var", jnp.ones, channels).value
        return _normalise(x, mean, var, scale, bias, self.eps)


class BatchNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy, 2015) with the statistics of the batch of all devices.

    In training it needs the named axis `DATA_AXIS` (of pmap, or of vmap in tests), with equal parts
    of the batch on it, and the collection "buffers" mutable. Everything on the canvas counts, as in
    the reference: training crops fill it.

    Attributes:
      eps: added to the variance.
      momentum: weight of a batch in the running statistics (0.1 here is 0.9 in other libraries).

    Source: torch BatchNorm2d and SyncBatchNorm: the running variance is the unbiased one.
    """

    eps: float = 1e-5
    momentum: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean = self.variable("buffers", "mean", jnp.zeros, channels)
        var = self.variable("buffers", "var", jnp.ones, channels)
        if self.is_initializing() or not self.is_mutable_collection("buffers"):
            return _normalise(x, mean.value, var.value, scale, bias, self.eps)
        batch_mean, batch_var, count = _statistics(x)
        unbiased = batch_var * (count / jnp.maximum(count - 1, 1))
        for running, of_batch in ((mean, batch_mean), (var, unbiased)):
            new = (1 - self.momentum) * running.value + self.momentum * of_batch
            running.value = jax.lax.stop_gradient(new)
        return _normalise(x, batch_mean, batch_var, scale, bias, self.eps)


def _statistics(x: Array) -> tuple[Array, Array, Array]:
    """Mean, biased variance and number of values, over devices and all axes but the last.

    In two passes, as a difference of squares would lose what is small beside the mean.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    mean = jax.lax.pmean(jnp.mean(x, axes), DATA_AXIS)
    centred = x - mean.reshape((1,) * (x.ndim - 1) + mean.shape)
    var = jax.lax.pmean(jnp.mean(centred**2, axes), DATA_AXIS)
    count = jax.lax.psum(jnp.asarray(x.size / x.shape[-1], jnp.float32), DATA_AXIS)
    return mean, var, count


def _normalise(
    x: Array, mean: Array, var: Array, scale: Array, bias: Array, eps: float
) -> Float[Array, "*B C"]:
    # In float32, whatever the type of x: var + eps loses eps in bfloat16, and x * multiplier and
    # offset lose their difference.
    multiplier = scale * jax.lax.rsqrt(var + eps)
    offset = bias - mean * multiplier
    broadcast = (1,) * (x.ndim - 1) + (x.shape[-1],)
    multiplier, offset = multiplier.reshape(broadcast), offset.reshape(broadcast)
    return (x.astype(jnp.float32) * multiplier + offset).astype(x.dtype)


class GroupNorm(nn.Module):
    """Group norm (Wu and He, 2018) over the part of the map that belongs to the image.

    Attributes:
      num_groups: groups of neighbouring channels that share their statistics.
      eps: added to the variance.

    Source: torch GroupNorm, as Detectron2's get_norm("GN") makes it.
    """

    num_groups: int = 32
    eps: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], padded_hw: Int[Array, "B 2"], stride: int
    ) -> Float[Array, "B H W C"]:
        batch_size, height, width, channels = x.shape
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        inside = inside_padded(height, width, padded_hw, stride)[..., None]
        own = x.astype(jnp.float32)
        a_group = channels // self.num_groups
        count = jnp.sum(inside, (1, 2, 3), dtype=jnp.float32) * a_group
        count = jnp.maximum(count, 1.0)[:, None]

        def group_mean(values: Float[Array, "B H W C"]) -> Float[Array, "B 1 1 C"]:
            # By channel first: groups of four numbers side by side would be slow to work on.
            sums = jnp.sum(jnp.where(inside, values, 0.0), (1, 2))
            of_groups = jnp.sum(sums.reshape(batch_size, self.num_groups, a_group), -1) / count
            return jnp.repeat(of_groups, a_group, axis=1)[:, None, None]

        centred = own - group_mean(own)
        multiplier = jax.lax.rsqrt(group_mean(centred**2) + self.eps) * scale.reshape(1, 1, 1, -1)
        affine = centred * multiplier + bias.reshape(1, 1, 1, -1)
        return affine.astype(x.dtype)


def head_norm(
    kind: HeadNorm,
    x: Float[Array, "B H W C"],
    padded_hw: Int[Array, "B 2"],
    stride: int,
    name: str,
) -> Float[Array, "B H W C"]:
    """The norm of a head's convolution; belongs to the calling module."""
    if kind == "group_norm":
        return GroupNorm(name=name)(x, padded_hw, stride)
    if kind == "batch_norm":
        return BatchNorm(name=name)(x)
    return x
