"""Convolution of channels in groups (ResNeXt), down to one channel each (depthwise).

XLA on CPU takes many times longer for a grouped convolution and its gradients than the arithmetic
needs. There it is written as products of shifted maps: multiply-adds where a group is one channel,
otherwise a matrix product for each group. Accelerators get XLA's grouped convolution, which their
libraries know. Both forms are equal up to rounding.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.init import msra

# TensorFlow's convention, or k // 2 zeros on every side, times the dilation.
Padding = Literal["SAME", "half"]

# Each output of a depthwise kernel [k, k, 1, C] reads one channel, so the fan is k * k; taking the
# last axis for the output would make it k * k * C and the activations vanish.
depthwise_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal", in_axis=-1, out_axis=-2)


def grouped_conv(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k k Cg D"],
    *,
    padding: Padding,
    stride: int = 1,
    dilation: int = 1,
) -> Float[Array, "B h w D"]:
    """Convolves each of C / Cg equal runs of channels with its own kernels.

    Args:
      kernel: Cg inputs; output channel d belongs to group d // (D / groups).
    """
    size, _, inputs, _ = kernel.shape
    groups = x.shape[-1] // inputs
    pads = [(size // 2 * dilation, size // 2 * dilation)] * 2
    if padding == "SAME":
        reach = dilation * (size - 1) + 1
        pads = jax.lax.padtype_to_pads(x.shape[1:3], (reach, reach), (stride, stride), "SAME")
    if not forms().convolves_by_products:
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )  # fmt: skip
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    if kernel.shape[2:] == (1, groups):
        return _depthwise(_shifted(padded, size, stride, dilation), kernel).astype(x.dtype)
    return _matrix_products(padded, kernel, groups, stride, dilation)


class GroupedConv(nn.Module):
    """`grouped_conv` with its parameter `kernel` [k, k, C / groups, channels] and no bias."""

    channels: int
    kernel_size: int
    groups: int
    stride: int = 1
    dilation: int = 1
    padding: Padding = "half"
    kernel_init: nn.initializers.Initializer = msra

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        size = self.kernel_size
        shape = (size, size, x.shape[-1] // self.groups, self.channels)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        return grouped_conv(
            x, kernel, padding=self.padding, stride=self.stride, dilation=self.dilation
        )


def _shifted(padded: Array, size: int, stride: int, dilation: int) -> list[Float[Array, "B h w C"]]:
    """What each of the size * size weights of a kernel is multiplied with, row by row."""
    reach = dilation * (size - 1) + 1
    height, width = ((side - reach) // stride + 1 for side in padded.shape[1:3])
    return [
        padded[
            :,
            top : top + (height - 1) * stride + 1 : stride,
            left : left + (width - 1) * stride + 1 : stride,
        ]
        for top in range(0, reach, dilation)
        for left in range(0, reach, dilation)
    ]


def _depthwise(shifted: list[Array], kernel: Array) -> Float[Array, "B h w C"]:
    # In float32, as XLA's convolution adds up, whatever the type of its inputs.
    total = jnp.zeros(shifted[0].shape, jnp.float32)
    for values, weight in zip(shifted, kernel.reshape(-1, kernel.shape[-1]), strict=True):
        weight = weight.astype(jnp.float32)[None, None, None, :]
        total = total + values.astype(jnp.float32) * weight
    return total


def _matrix_products(
    padded: Array, kernel: Array, groups: int, stride: int, dilation: int
) -> Float[Array, "B h w D"]:
    """The patches of each group times its kernels."""
    batch, height, width, _ = padded.shape
    size, _, inputs, channels = kernel.shape
    by_group = jnp.moveaxis(padded.reshape(batch, height, width, groups, inputs), 3, 0)
    by_group = by_group.reshape(groups * batch, height, width, inputs)
    patches = jnp.concatenate(_shifted(by_group, size, stride, dilation), axis=-1)
    kernels = kernel.reshape(size * size, inputs, groups, channels // groups)
    kernels = jnp.moveaxis(kernels, 2, 0).reshape(groups, -1, channels // groups)
    rows = patches.reshape(groups, -1, size * size * inputs)
    out = jnp.einsum("gnk,gkd->ngd", rows, kernels)
    return out.reshape(batch, *patches.shape[1:3], channels)
