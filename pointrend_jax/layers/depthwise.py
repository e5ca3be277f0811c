"""Depthwise convolution in two equal forms, because no single form is fast everywhere.

XLA on CPU runs grouped convolutions many times slower than the arithmetic needs, and their
gradients slower still: there the convolution is written as k * k shifted multiply-adds.
Accelerators get the grouped convolution, which their libraries know.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pointrend_jax.devices.backend import forms

Implementation = Literal["auto", "shifted", "grouped"]

# Each output of a depthwise kernel [k, k, 1, C] reads one channel, so the fan is k * k; taking the
# last axis for the output would make it k * k * C and the activations vanish.
depthwise_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal", in_axis=-1, out_axis=-2)


def depthwise_conv(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k k 1 C"],
    *,
    stride: int = 1,
    dilation: int = 1,
    implementation: Implementation = "auto",
) -> Float[Array, "B h w C"]:
    """Convolves each channel with its own k x k kernel, padding 'SAME' (TensorFlow's convention).

    Args:
      implementation: "shifted", "grouped" (equal up to rounding), or "auto": by the default backend
        at trace time.
    """
    if implementation == "auto":
        implementation = "shifted" if forms().convolves_by_products else "grouped"
    if implementation == "shifted":
        return _shifted(x, kernel, stride, dilation)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


class DepthwiseConv(nn.Module):
    """`depthwise_conv` with its parameter `kernel` [k, k, 1, C] and no bias."""

    kernel_size: int
    stride: int = 1
    implementation: Implementation = "auto"
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", depthwise_init, shape).astype(x.dtype)
        return depthwise_conv(
            x, kernel, stride=self.stride, dilation=self.dilation,
            implementation=self.implementation,
        )  # fmt: skip


def _shifted(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k 1 C"], stride: int, dilation: int
) -> Float[Array, "B h w C"]:
    size = kernel.shape[0]
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    reach = dilation * (size - 1) + 1
    rows = _same_padding(x.shape[1], reach, stride)
    cols = _same_padding(x.shape[2], reach, stride)
    padded = jnp.pad(x, ((0, 0), rows, cols, (0, 0)))
    # As the grouped convolution adds up, whatever the type of its inputs.
    total = jnp.zeros((x.shape[0], height, width, x.shape[3]), jnp.float32)
    for i in range(size):
        for j in range(size):
            top, left = i * dilation, j * dilation
            window = padded[
                :,
                top : top + (height - 1) * stride + 1 : stride,
                left : left + (width - 1) * stride + 1 : stride,
            ]
            weight = kernel[i, j, 0].astype(jnp.float32)[None, None, None, :]
            total = total + window.astype(jnp.float32) * weight
    return total.astype(x.dtype)


def _same_padding(length: int, size: int, stride: int) -> tuple[int, int]:
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2
