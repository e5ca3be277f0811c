"""The head of SemanticFPN (Kirillov et al., "Panoptic Feature Pyramid Networks", 2019).

Every level of the pyramid is brought to the resolution of the finest, by convolutions with a
bilinear x2 after each, and their sum is classified. Source: Detectron2, SemSegFPNHead.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.init import msra
from pointrend_jax.layers.norm import HeadNorm, head_norm
from pointrend_jax.layers.padding import zero_beyond
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.resize import upsample_2x


class SemanticFPNHead(nn.Module):
    """Logits at the stride of the first level.

    Attributes:
      levels: of the pyramid, finest first: p2..p5, or p3..p5 for half the resolution.
    """

    num_classes: int
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")
    conv_dim: int = 128
    norm: HeadNorm = "group_norm"

    @property
    def stride(self) -> int:
        """Input pixels a cell of the logits."""
        return STRIDES[self.levels[0]]

    @nn.compact
    def __call__(
        self,
        maps: dict[str, Array],
        padded_hw: Int[Array, "B 2"],
        dropout_keys: Array | None = None,
    ) -> Float[Array, "B h w K"]:
        del dropout_keys  # it drops nothing
        total = jnp.zeros(())
        for level in self.levels:
            x, stride = maps[level], STRIDES[level]
            for i in range(max(1, (stride // self.stride).bit_length() - 1)):
                x = self._conv(zero_beyond(x, padded_hw, stride), padded_hw, stride, f"{level}_{i}")
                if stride > self.stride:
                    x, stride = upsample_2x(x, padded_hw // stride), stride // 2
            total = x if level == self.levels[0] else total + x
        predictor = Conv(self.num_classes, (1, 1), kernel_init=msra, name="predictor")
        return predictor(total.astype(jnp.float32))

    def _conv(self, x: Array, padded_hw: Array, stride: int, name: str) -> Array:
        conv = Conv(
            self.conv_dim, (3, 3), padding=1, use_bias=self.norm == "none", dtype=x.dtype,
            kernel_init=msra, name=f"{name}_conv",
        )  # fmt: skip
        return relu(head_norm(self.norm, conv(x), padded_hw, stride, f"{name}_norm"))
