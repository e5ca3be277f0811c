"""Grouped convolution (ResNeXt, Xie et al., 2017) in two equal forms, as `depthwise.py` has them.

XLA on CPU runs the gradient of a grouped convolution very slowly; there it is written as one
batched matrix product over the patches, a group a batch entry. Accelerators get the grouped
convolution, which their libraries know.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.init import msra

Implementation = Literal["auto", "patches", "grouped"]


def grouped_conv(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k k Cg D"],
    *,
    groups: int,
    stride: int = 1,
    implementation: Implementation = "auto",
) -> Float[Array, "B h w D"]:
    """Convolves each of `groups` equal runs of channels with its own kernels, zero padding k // 2.

    Args:
      kernel: Cg = C / groups inputs; output channel d belongs to group d // (D / groups).
      implementation: "patches", "grouped" (equal up to rounding), or "auto": by the default backend
        at trace time.
    """
    if implementation == "auto":
        implementation = "patches" if forms().convolves_by_products else "grouped"
    if implementation == "patches":
        return _patches(x, kernel, groups, stride)
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


class GroupedConv(nn.Module):
    """`grouped_conv` with its parameter `kernel` [k, k, C / groups, channels] and no bias."""

    channels: int
    kernel_size: int
    groups: int
    stride: int = 1
    implementation: Implementation = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        size = self.kernel_size
        kernel = self.param("kernel", msra, (size, size, x.shape[-1] // self.groups, self.channels))
        return grouped_conv(
            x,
            kernel.astype(x.dtype),
            groups=self.groups,
            stride=self.stride,
            implementation=self.implementation,
        )


def _patches(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k Cg D"], groups: int, stride: int
) -> Float[Array, "B h w D"]:
    batch, height, width, _ = x.shape
    size, _, inputs, channels = kernel.shape
    pad = size // 2
    out_height = (height + 2 * pad - size) // stride + 1
    out_width = (width + 2 * pad - size) // stride + 1
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    by_group = jnp.moveaxis(padded.reshape(*padded.shape[:3], groups, inputs), 3, 0)
    taps = [
        by_group[
            :,
            :,
            i : i + (out_height - 1) * stride + 1 : stride,
            j : j + (out_width - 1) * stride + 1 : stride,
        ]
        for i in range(size)
        for j in range(size)
    ]
    rows = jnp.concatenate(taps, axis=-1).reshape(groups, -1, size * size * inputs)
    kernels = kernel.reshape(size * size, inputs, groups, channels // groups)
    kernels = jnp.moveaxis(kernels, 2, 0).reshape(groups, -1, channels // groups)
    out = jnp.einsum("gnk,gkd->ngd", rows, kernels)
    return out.reshape(batch, out_height, out_width, channels)
