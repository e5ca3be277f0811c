"""Batch normalisation with fixed statistics and fixed affine parameters.

Detection batches are too small for batch statistics, so the pretrained ones are kept and the layer
is one multiply-add a channel. Its arrays live in the collection "frozen": no optimizer sees them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class FrozenBatchNorm(nn.Module):
    """Normalises the last axis with stored mean and variance; nothing here is trained.

    Attributes:
      eps: added to the variance; must be the value that the weights were trained with.

    Source: Detectron2 layers/batch_norm.py, FrozenBatchNorm2d.
    """

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        channels = (x.shape[-1],)
        scale = self.variable("frozen", "scale", jnp.ones, channels).value
        bias = self.variable("frozen", "bias", jnp.zeros, channels).value
        mean = self.variable("frozen", "mean", jnp.zeros, channels).value
        var = self.variable("frozen", "var", jnp.ones, channels).value
        # Both coefficients in float32 before the cast: var + eps loses eps in bfloat16.
        multiplier = scale * jax.lax.rsqrt(var + self.eps)
        offset = bias - mean * multiplier
        broadcast = (1,) * (x.ndim - 1) + channels
        multiplier, offset = multiplier.reshape(broadcast), offset.reshape(broadcast)
        return x * multiplier.astype(x.dtype) + offset.astype(x.dtype)
