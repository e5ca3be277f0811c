"""ResNet (He et al., 2016), as Detectron2 builds it for FPN detectors and for DeepLab.

Basic blocks for 18 and 34 layers, bottlenecks for 50 and 101 (and ResNeXt). The stride of a
bottleneck sits in its first 1x1 convolution (MSRA weights) or in its 3x3 (`stride_in_1x1=False`).
At an output stride below 32 the last stages keep their resolution and dilate instead.
"""

import functools
import itertools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.conv import Conv, convolve
from pointrend_jax.layers.grouped_conv import GroupedConv
from pointrend_jax.layers.init import msra
from pointrend_jax.layers.norm import BatchNormLayer, FrozenBatchNorm
from pointrend_jax.layers.padding import zero_beyond
from pointrend_jax.layers.stem_blocks import (
    BLOCK,
    kernels_of_blocks,
    max_pool_parts,
    pixels_to_blocks,
)
from pointrend_jax.ops.relu import relu


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


def _conv(
    x: Array, channels: int, kernel: int, stride: int, name: str, dilation: int = 1
) -> Float[Array, "B h w C"]:
    """A convolution without bias; belongs to the calling module."""
    conv = Conv(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=kernel // 2 * dilation,
        kernel_dilation=(dilation, dilation),
        use_bias=False,
        dtype=x.dtype,
        kernel_init=msra,
        name=name,
    )
    return conv(x)


class Stem(nn.Module):
    """7x7 convolution of stride 2, then 3x3 max-pooling of stride 2."""

    norm: BatchNormLayer

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Ci"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w 64"]:
        x, norm = zero_beyond(x, padded_hw, 1), self.norm(name="bn")
        if forms().stem_in_blocks and not any(side % BLOCK for side in x.shape[1:3]):
            kernel = _Kernel((7, 7, x.shape[-1], 64), name="conv")().astype(x.dtype)
            blocks = pixels_to_blocks(x)
            parts = [convolve(blocks, own, (1, 1), "SAME") for own in kernels_of_blocks(kernel)]
            if self.is_mutable_collection("buffers"):
                # Statistics that are learned are those of all parts together.
                parts = jnp.split(norm(jnp.concatenate(parts)), len(parts))
            else:
                parts = [norm(part) for part in parts]
            return max_pool_parts([zero_beyond(relu(x), padded_hw, BLOCK) for x in parts])
        x = relu(norm(_conv(x, 64, 7, 2, "conv")))
        # After a ReLU, zeros in the padding equal the border of -inf that pooling asks for.
        return stem_pool(zero_beyond(x, padded_hw, 2))


class _Kernel(nn.Module):
    """The parameter of a convolution without bias, for a form that is no layer of its own."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> Array:
        return self.param("kernel", msra, self.shape)


class DeepStem(nn.Module):
    """Three 3x3 convolutions, the first of stride 2, then the pooling: the "103" of R-103.

    Source: Detectron2 projects/DeepLab, DeepLabStem.
    """

    norm: BatchNormLayer

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Ci"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w 128"]:
        for i, (channels, stride) in enumerate(((64, 2), (64, 1), (128, 1)), 1):
            x = zero_beyond(x, padded_hw, 1 if i == 1 else 2)
            x = _conv(x, channels, 3, stride, f"conv{i}")
            x = relu(self.norm(name=f"bn{i}")(x))
        return stem_pool(zero_beyond(x, padded_hw, 2))


def stem_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """3x3 max-pooling of stride 2, padded by one."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    if forms().adds_exactly or forms().pools_by_shifts:
        # Windows overlap, and the gradients of a pixel that is the largest of several are added.
        height, width = ((side - 1) // 2 for side in x.shape[1:3])
        places = itertools.product(range(3), repeat=2)
        shifted = [x[:, i : i + 2 * height : 2, j : j + 2 * width : 2] for i, j in places]
        return functools.reduce(jnp.maximum, shifted)
    return nn.max_pool(x, (3, 3), (2, 2))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; `input_stride` is that of the map the block receives."""

    channels: int
    stride: int
    input_stride: int
    dilation: int
    norm: BatchNormLayer

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Cin"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w C"]:
        out_stride = self.input_stride * self.stride
        y = zero_beyond(x, padded_hw, self.input_stride)
        y = _conv(y, self.channels, 3, self.stride, "conv1", self.dilation)
        y = zero_beyond(relu(self.norm(name="bn1")(y)), padded_hw, out_stride)
        y = _conv(y, self.channels, 3, 1, "conv2", self.dilation)
        y = self.norm(name="bn2")(y)
        return relu(y + _shortcut(x, self.channels, self.stride, self.norm))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, the middle one `width` wide, in `groups` (ResNeXt)."""

    channels: int
    width: int
    stride: int
    input_stride: int
    dilation: int
    stride_in_1x1: bool
    groups: int
    norm: BatchNormLayer

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Cin"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w C"]:
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = relu(self.norm(name="bn1")(_conv(x, self.width, 1, first, "conv1")))
        y = zero_beyond(y, padded_hw, self.input_stride * first)
        if self.groups > 1:
            y = GroupedConv(self.width, 3, self.groups, second, self.dilation, name="conv2")(y)
        else:
            y = _conv(y, self.width, 3, second, "conv2", self.dilation)
        y = relu(self.norm(name="bn2")(y))
        y = self.norm(name="bn3")(_conv(y, self.channels, 1, 1, "conv3"))
        return relu(y + _shortcut(x, self.channels, self.stride, self.norm))


def _shortcut(x: Array, channels: int, stride: int, norm: BatchNormLayer) -> Array:
    """The identity, or a 1x1 convolution where the shape changes; belongs to the calling module."""
    if x.shape[-1] == channels and stride == 1:
        return x
    x = _conv(x, channels, 1, stride, "shortcut_conv")
    return norm(name="shortcut_bn")(x)


class ResNet(nn.Module):
    """The trunk: maps res2..res5 at strides 4, 8, 16, 32, none above `output_stride`.

    Attributes:
      depth: 18, 34, 50 or 101.
      freeze_at: the stem (1 and up) and res2..res<freeze_at> are not trained; 0 trains all.
      stride_in_1x1: a bottleneck's stride sits in its first 1x1 convolution, as in the original
        and the MSRA weights, and not in the 3x3 (torchvision, ResNeXt).
      groups, width_per_group: 32 and 8 make ResNeXt 32x8d; the 3x3 of res2 has their product of
        channels, and twice that in each stage after it.
      output_stride: 32, 16 or 8.
      multi_grid: factors of the dilation of the blocks of res5; of three blocks each.
      deep_stem: three 3x3 convolutions instead of one 7x7.
      norm: with trained or fixed statistics; those of the stages of `freeze_at` are fixed.
      remat: for the gradient, a block is computed again from its input instead of being kept.
    """

    depth: int
    freeze_at: int = 2
    stride_in_1x1: bool = True
    groups: int = 1
    width_per_group: int = 64
    output_stride: int = 32
    multi_grid: tuple[int, ...] = (1, 1, 1)
    deep_stem: bool = False
    norm: BatchNormLayer = FrozenBatchNorm
    remat: bool = False

    def frozen_modules(self) -> tuple[str, ...]:
        """Names of the submodules that `freeze_at` keeps from training."""
        stages = range(2, self.freeze_at + 1)
        frozen = [f"{s}_{b}" for s in (f"res{i}" for i in stages) for b in self._block_range(s)]
        return (("stem",) if self.freeze_at >= 1 else ()) + tuple(frozen)

    def _block_range(self, stage: str) -> range:
        return range(SPECS[self.depth].blocks[int(stage[3:]) - 2])

    def _norm(self, stage: int) -> BatchNormLayer:
        # What is not trained keeps its statistics too, as in the reference.
        return FrozenBatchNorm if stage <= self.freeze_at else self.norm

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Ci"], padded_hw: Int[Array, "B 2"]
    ) -> dict[str, Array]:
        """Args: x, normalised pixels; padded_hw, multiples of 32. Maps beyond it are undefined."""
        x = (DeepStem if self.deep_stem else Stem)(self._norm(1), name="stem")(x, padded_hw)
        maps, stride, dilation = {}, 4, 1
        for stage in range(2, 6):
            step = 2 if stage > 2 else 1
            if stride * step > self.output_stride:
                step, dilation = 1, 2 * dilation
            for block in self._block_range(f"res{stage}"):
                grid = self.multi_grid[block] if stage == 5 else 1
                layer = self._block(stage, block, step, stride, dilation * grid)
                x, stride, step = layer(x, padded_hw), stride * step, 1
            maps[f"res{stage}"] = x
        return maps

    def _block(self, stage: int, block: int, step: int, stride: int, dilation: int) -> nn.Module:
        spec, name = SPECS[self.depth], f"res{stage}_{block}"
        channels = spec.res2_channels * 2 ** (stage - 2)
        # Frozen blocks have no gradient, and so nothing that is kept.
        remat = self.remat and stage > self.freeze_at
        if not spec.bottleneck:
            return (nn.remat(BasicBlock) if remat else BasicBlock)(
                channels, step, stride, dilation, self._norm(stage), name=name
            )
        width = self.groups * self.width_per_group * 2 ** (stage - 2)
        return (nn.remat(Bottleneck) if remat else Bottleneck)(
            channels, width, step, stride, dilation, self.stride_in_1x1, self.groups,
            self._norm(stage), name=name,
        )  # fmt: skip
