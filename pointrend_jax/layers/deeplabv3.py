"""The heads of DeepLabV3 and DeepLabV3+ (Chen et al., 2017 and 2018): atrous pyramid, decoder.

Source: Detectron2 projects/DeepLab, whose names the modules can be mapped to.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.init import msra, xavier
from pointrend_jax.layers.norm import HeadNorm, head_norm
from pointrend_jax.layers.padding import mean_inside, zero_beyond
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.resize import resize_within

_predictor_init = nn.initializers.normal(0.001)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, three dilated 3x3 and the mean, then a projection.

    Attributes:
      stride: input pixels a cell of the map it gets.
      dilations: in cells of that map.
      dropout: rate; active where keys are given, that is in training.
      pool_hw: cells of the window whose mean every place sees; None for the whole image.
    """

    stride: int
    dim: int = 256
    dilations: tuple[int, int, int] = (6, 12, 18)
    norm: HeadNorm = "batch_norm"
    dropout: float = 0.1
    pool_hw: tuple[int, int] | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], padded_hw: Int[Array, "B 2"], dropout_keys: Array | None
    ) -> Float[Array, "B H W D"]:
        x = zero_beyond(x, padded_hw, self.stride)
        branches = [self._branch(x, padded_hw, 1, 1, "branch0")]
        for i, dilation in enumerate(self.dilations, 1):
            branches.append(self._branch(x, padded_hw, 3, dilation, f"branch{i}"))
        pooled, inside = self._pool(x, padded_hw)
        conv = Conv(self.dim, (1, 1), dtype=x.dtype, kernel_init=xavier, name="pooled")
        pooled = relu(conv(pooled))
        inside_hw = padded_hw // self.stride
        branches.append(resize_within(pooled, inside, inside_hw, (x.shape[1], x.shape[2])))
        x = self._branch(jnp.concatenate(branches, axis=-1), padded_hw, 1, 1, "project")
        return x if dropout_keys is None else drop_out(x, dropout_keys, self.dropout)

    def _branch(self, x: Array, padded_hw: Array, kernel: int, dilation: int, name: str) -> Array:
        x = Conv(
            self.dim, (kernel, kernel), kernel_dilation=(dilation, dilation),
            padding=kernel // 2 * dilation, use_bias=self.norm == "none", dtype=x.dtype,
            kernel_init=xavier, name=f"{name}_conv",
        )(x)  # fmt: skip
        return relu(head_norm(self.norm, x, padded_hw, self.stride, f"{name}_norm"))

    def _pool(self, x: Array, padded_hw: Array) -> tuple[Array, Array]:
        """Means [B, h, w, C], and (h, w) of those that belong to the image."""
        inside_hw = padded_hw // self.stride
        if self.pool_hw is None:
            return mean_inside(x, padded_hw, self.stride)[:, None, None], jnp.ones_like(inside_hw)
        # No window larger than the canvas, nor than the image: the mean is over what there is.
        window = (min(self.pool_hw[0], x.shape[1]), min(self.pool_hw[1], x.shape[2]))
        # Sums and counts of a window need more than the eight bits of bfloat16.
        total = nn.pooling.pool(x.astype(jnp.float32), 0.0, jax.lax.add, window, (1, 1), "VALID")
        covered = jnp.minimum(inside_hw, jnp.array([window]))
        count = jnp.prod(covered, axis=1).astype(jnp.float32).reshape(-1, 1, 1, 1)
        return (total / count).astype(x.dtype), inside_hw - covered + 1


def drop_out(x: Float[Array, "B H W C"], keys: Array, rate: float) -> Float[Array, "B H W C"]:
    """Zeroes values with probability `rate`, and enlarges the others to keep the mean.

    Args:
      keys: [B], one an image, so that it does not matter which device has which image.
    """
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0)


class DeepLabV3Head(nn.Module):
    """ASPP on res5 and a classifier; logits at the stride of res5."""

    num_classes: int
    aspp: ASPP

    @property
    def stride(self) -> int:
        """Input pixels a cell of the logits."""
        return self.aspp.stride

    @nn.compact
    def __call__(
        self,
        maps: dict[str, Array],
        padded_hw: Int[Array, "B 2"],
        dropout_keys: Array | None = None,
    ) -> Float[Array, "B h w K"]:
        x = self.aspp(maps["res5"], padded_hw, dropout_keys)
        predictor = Conv(self.num_classes, (1, 1), kernel_init=_predictor_init, name="predictor")
        return predictor(x.astype(jnp.float32))


class DeepLabV3PlusHead(nn.Module):
    """ASPP on res5, upsampled to res2 and fused with it by two convolutions; logits at stride 4."""

    num_classes: int
    aspp: ASPP
    low_level_dim: int = 48

    @property
    def stride(self) -> int:
        """Input pixels a cell of the logits."""
        return 4

    @nn.compact
    def __call__(
        self,
        maps: dict[str, Array],
        padded_hw: Int[Array, "B 2"],
        dropout_keys: Array | None = None,
    ) -> Float[Array, "B h w K"]:
        coarse = self.aspp(maps["res5"], padded_hw, dropout_keys)
        low = self._conv(maps["res2"], padded_hw, self.low_level_dim, 1, "low_level")
        fine_hw, canvas = padded_hw // 4, (low.shape[1], low.shape[2])
        coarse = resize_within(coarse, padded_hw // self.aspp.stride, fine_hw, canvas)
        x = jnp.concatenate([low, coarse], axis=-1)
        for i in range(2):
            x = self._conv(zero_beyond(x, padded_hw, 4), padded_hw, self.aspp.dim, 3, f"fuse{i}")
        predictor = Conv(self.num_classes, (1, 1), kernel_init=_predictor_init, name="predictor")
        return predictor(x.astype(jnp.float32))

    def _conv(self, x: Array, padded_hw: Array, channels: int, kernel: int, name: str) -> Array:
        norm = self.aspp.norm
        x = Conv(
            channels, (kernel, kernel), padding=kernel // 2, use_bias=norm == "none",
            dtype=x.dtype, kernel_init=msra, name=f"{name}_conv",
        )(x)  # fmt: skip
        return relu(head_norm(norm, x, padded_hw, 4, f"{name}_norm"))
