"""ResNet (He et al., 2016) with frozen batch norm, as Detectron2 builds it for FPN detectors.

Basic blocks for 18 and 34 layers, bottlenecks for 50 and 101 (and ResNeXt). The stride of a
bottleneck sits in its first 1x1 convolution (MSRA weights) or in its 3x3 (`stride_in_1x1=False`).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.grouped_conv import GroupedConv
from pointrend_jax.layers.init import msra
from pointrend_jax.layers.norm import FrozenBatchNorm
from pointrend_jax.layers.padding import zero_beyond


class ResNetSpec(NamedTuple):
    """blocks: of res2..res5. res2_channels: output of res2; doubles each stage."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    res2_channels: int


SPECS = {
    18: ResNetSpec((2, 2, 2, 2), bottleneck=False, res2_channels=64),
    34: ResNetSpec((3, 4, 6, 3), bottleneck=False, res2_channels=64),
    50: ResNetSpec((3, 4, 6, 3), bottleneck=True, res2_channels=256),
    101: ResNetSpec((3, 4, 23, 3), bottleneck=True, res2_channels=256),
}


def _conv(channels: int, kernel: int, stride: int, name: str) -> nn.Conv:
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=kernel // 2,
        use_bias=False,
        kernel_init=msra,
        name=name,
    )


class Stem(nn.Module):
    """7x7 convolution of stride 2, then 3x3 max-pooling of stride 2."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W 3"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w 64"]:
        x = _conv(64, 7, 2, "conv")(zero_beyond(x, padded_hw, 1))
        x = nn.relu(FrozenBatchNorm(name="bn")(x))
        # After a ReLU, zeros in the padding equal the border of -inf that pooling asks for.
        return stem_pool(zero_beyond(x, padded_hw, 2))


def stem_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """3x3 max-pooling of stride 2, padded by one."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    return nn.max_pool(x, (3, 3), (2, 2))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; `input_stride` is that of the map the block receives."""

    channels: int
    stride: int
    input_stride: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Cin"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w C"]:
        out_stride = self.input_stride * self.stride
        y = _conv(self.channels, 3, self.stride, "conv1")(
            zero_beyond(x, padded_hw, self.input_stride)
        )
        y = nn.relu(FrozenBatchNorm(name="bn1")(y))
        y = _conv(self.channels, 3, 1, "conv2")(zero_beyond(y, padded_hw, out_stride))
        y = FrozenBatchNorm(name="bn2")(y)
        return nn.relu(y + _shortcut(x, self.channels, self.stride))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, the middle one `width` wide, in `groups` (ResNeXt)."""

    channels: int
    width: int
    stride: int
    input_stride: int
    stride_in_1x1: bool = True
    groups: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Cin"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w C"]:
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = nn.relu(FrozenBatchNorm(name="bn1")(_conv(self.width, 1, first, "conv1")(x)))
        if self.groups > 1:
            conv2 = GroupedConv(self.width, 3, self.groups, second, name="conv2")
        else:
            conv2 = _conv(self.width, 3, second, "conv2")
        y = conv2(zero_beyond(y, padded_hw, self.input_stride * first))
        y = nn.relu(FrozenBatchNorm(name="bn2")(y))
        y = FrozenBatchNorm(name="bn3")(_conv(self.channels, 1, 1, "conv3")(y))
        return nn.relu(y + _shortcut(x, self.channels, self.stride))


def _shortcut(x: Array, channels: int, stride: int) -> Array:
    """The identity, or a 1x1 convolution where the shape changes; belongs to the calling module."""
    if x.shape[-1] == channels and stride == 1:
        return x
    x = _conv(channels, 1, stride, "shortcut_conv")(x)
    return FrozenBatchNorm(name="shortcut_bn")(x)


class ResNet(nn.Module):
    """The trunk: maps res2..res5 at strides 4, 8, 16, 32.

    Attributes:
      depth: 18, 34, 50 or 101.
      freeze_at: no gradient reaches the stem (1 and up) and res2..res<freeze_at>; 0 trains all.
      stride_in_1x1: a bottleneck's stride sits in its first 1x1 convolution, as in the original
        and the MSRA weights, and not in the 3x3 (torchvision, ResNeXt).
      groups, width_per_group: 32 and 8 make ResNeXt 32x8d; the 3x3 of res2 has their product of
        channels, and twice that in each stage after it.
    """

    depth: int
    freeze_at: int = 2
    stride_in_1x1: bool = True
    groups: int = 1
    width_per_group: int = 64

    def frozen_modules(self) -> tuple[str, ...]:
        """Names of the submodules that `freeze_at` keeps from training."""
        stages = range(2, self.freeze_at + 1)
        frozen = [f"{s}_{b}" for s in (f"res{i}" for i in stages) for b in self._block_range(s)]
        return (("stem",) if self.freeze_at >= 1 else ()) + tuple(frozen)

    def _block_range(self, stage: str) -> range:
        return range(SPECS[self.depth].blocks[int(stage[3:]) - 2])

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W 3"], padded_hw: Int[Array, "B 2"]
    ) -> dict[str, Array]:
        """Args: x, normalised pixels; padded_hw, multiples of 32. Maps beyond it are undefined."""
        spec = SPECS[self.depth]
        x = Stem(name="stem")(x, padded_hw)
        x = jax.lax.stop_gradient(x) if self.freeze_at >= 1 else x
        maps, stride = {}, 4
        for stage in range(2, 6):
            channels = spec.res2_channels * 2 ** (stage - 2)
            for block in self._block_range(f"res{stage}"):
                step = 2 if block == 0 and stage > 2 else 1
                name = f"res{stage}_{block}"
                if spec.bottleneck:
                    width = self.groups * self.width_per_group * 2 ** (stage - 2)
                    layer = Bottleneck(
                        channels, width, step, stride, self.stride_in_1x1, self.groups, name=name
                    )
                else:
                    layer = BasicBlock(channels, step, stride, name=name)
                x, stride = layer(x, padded_hw), stride * step
            x = jax.lax.stop_gradient(x) if self.freeze_at >= stage else x
            maps[f"res{stage}"] = x
        return maps


def normalise(
    images: Array, image_hw: Array, mean: tuple[float, ...], std: tuple[float, ...], *, bgr: bool
) -> Float[Array, "B H W 3"]:
    """uint8 RGB to network input: channel order, mean and deviation, and 0 beyond each image.

    Args:
      mean, std: in the channel order of the network (BGR if `bgr`).
    """
    x = images[..., ::-1] if bgr else images
    shape = (1, 1, 1, 3)
    x = (x.astype(jnp.float32) - jnp.reshape(jnp.array(mean), shape)) / jnp.reshape(
        jnp.array(std), shape
    )
    return zero_beyond(x, image_hw, 1)
