"""Convolution, in the form that is fastest where the program runs.

XLA has one convolution for every shape; on CPU, where this was measured, that is slow for some
(docs/benchmarks.md):

  - a 1x1 convolution, or one whose windows lie side by side, is a matrix product of the pixels or
    of the windows, several times faster;
  - the gradient of a 3x3 kernel on a large map is nine matrix products, twice as fast.

On a TPU the batch lies where a convolution is fastest. A map of few images has many columns
instead, so they are the batch of a 3x3 convolution, and its three columns are channels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pointrend_jax.devices.backend import forms

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Columns are the batch: lhs (batch, channels, spatial), rhs (outputs, inputs, spatial), out.
_COLUMNS = jax.lax.ConvDimensionNumbers((2, 3, 0, 1), (3, 2, 0, 1), (2, 3, 0, 1))
_ONE = ((1, 1), (1, 1))
# Pixels of the batch from which the nine products are faster.
_LARGE = 4096
# A 1x1 kernel with fewer inputs or outputs than this has its gradient from a convolution.
_NARROW = 128


def convolve(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "kh kw Cg D"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = _DIMENSIONS,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Float[Array, "B h w D"]:
    """`jax.lax.conv_general_dilated` with its arguments, equal up to rounding.

    Maps are NHWC and kernels HWIO, as flax has them. Another form than XLA's has a derivative in
    reverse mode only.
    """
    size = kernel.shape[:2]
    undilated = all(tuple(by or (1, 1)) == (1, 1) for by in (lhs_dilation, rhs_dilation))
    # "SAME" and "VALID" add nothing around a 1x1 kernel.
    unpadded = padding == "VALID" or (isinstance(padding, str) and size == (1, 1))
    unpadded = unpadded or (not isinstance(padding, str) and not any(map(any, padding)))
    if feature_group_count == 1 and undilated and precision is None:
        if size == (1, 1) and unpadded:
            return _pointwise(x[:, :: strides[0], :: strides[1]], kernel)
        if size == tuple(strides) and unpadded:
            return _windows(x, kernel)
        pixels = x.shape[0] * x.shape[1] * x.shape[2]
        same = size == (3, 3) and tuple(strides) == (1, 1) and _is_one(padding)
        if same and forms().convolves_by_columns:
            return _conv3x3_by_columns(x, kernel)
        if same and pixels >= _LARGE and forms().convolves_by_products:
            return _conv3x3(x, kernel)
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers, feature_group_count=feature_group_count,
        precision=precision,
    )  # fmt: skip


# `flax.linen.Conv`, with its parameters, through `convolve`.
Conv = partial(nn.Conv, conv_general_dilated_cls=lambda: convolve)


def convolve_windows(
    windows: Float[Array, "B S T C"], kernel: Float[Array, "kh kw C D"], *_: Any, **__: Any
) -> Float[Array, "B S D"]:
    """A convolution whose windows lie side by side, each of them with its T = kh * kw pixels.

    So nothing is laid out anew for the product. Strides and padding are of no matter here.
    """
    return windows.reshape(*windows.shape[:2], -1) @ kernel.reshape(-1, kernel.shape[-1])


# `flax.linen.Conv`, with its parameters, of windows.
ConvOfWindows = partial(nn.Conv, conv_general_dilated_cls=lambda: convolve_windows)


def _is_one(padding: str | Sequence[tuple[int, int]]) -> bool:
    return padding == "SAME" or tuple(map(tuple, padding)) == _ONE


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Float[Array, "B H W D"]:
    """A 1x1 convolution as a product.

    It has a derivative of its own because the gradient of a narrow kernel, a small matrix of sums
    over all pixels, is faster as XLA's convolution than as a product.
    """
    return x @ kernel[0, 0]


def _pointwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    of_x = cotangent @ kernel[0, 0].T
    if min(kernel.shape[2:]) < _NARROW:

        def conv(kernel: Array) -> Array:
            return jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "VALID", dimension_numbers=_DIMENSIONS
            )

        return of_x, jax.linear_transpose(conv, kernel)(cotangent)[0]
    rows, outputs = x.reshape(-1, x.shape[-1]), cotangent.reshape(-1, cotangent.shape[-1])
    return of_x, (rows.T @ outputs).reshape(kernel.shape)


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _windows(x: Array, kernel: Array) -> Float[Array, "B h w D"]:
    """Windows side by side, without padding; what is left over at the end is dropped."""
    kernel_height, kernel_width, channels, outputs = kernel.shape
    batch, height, width = x.shape[0], x.shape[1] // kernel_height, x.shape[2] // kernel_width
    x = x[:, : height * kernel_height, : width * kernel_width]
    x = x.reshape(batch, height, kernel_height, width, kernel_width, channels)
    inputs = kernel_height * kernel_width * channels
    windows = jnp.swapaxes(x, 2, 3).reshape(batch, height, width, inputs)
    return windows @ kernel.reshape(inputs, outputs)


@jax.custom_vjp
def _conv3x3(x: Array, kernel: Array) -> Float[Array, "B H W D"]:
    """A 3x3 convolution of stride 1, padded by 1, whose kernel has a gradient of its own form."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), _ONE, dimension_numbers=_DIMENSIONS)


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv3x3(x, kernel), (x, kernel)


def _conv3x3_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    # Every input pixel is read by the turned-round kernel.
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    x_gradient = _conv3x3(cotangent, turned)
    _, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    outputs = cotangent.reshape(-1, cotangent.shape[-1])
    taps = [
        padded[:, row : row + height, column : column + width].reshape(-1, channels).T @ outputs
        for row in range(3)
        for column in range(3)
    ]
    return x_gradient, jnp.stack(taps).reshape(kernel.shape)


_conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)


@jax.custom_vjp
def _conv3x3_by_columns(x: Array, kernel: Array) -> Float[Array, "B H W D"]:
    """A 3x3 convolution of stride 1, padded by 1. What varies along a convolution is the row alone.

    It has a derivative of its own because only the gradient of `x` is faster in this form.
    """
    height, width, channels, outputs = kernel.shape
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    beside = [padded[:, :, j : j + x.shape[2]] for j in range(width)]
    return jax.lax.conv_general_dilated(
        jnp.concatenate(beside, axis=-1), kernel.reshape(1, height, width * channels, outputs),
        (1, 1), ((0, 0), (1, 1)), dimension_numbers=_COLUMNS,
    )  # fmt: skip


def _columns_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv3x3_by_columns(x, kernel), (x, kernel)


def _columns_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    # Every input pixel is read by the turned-round kernel.
    of_x = _conv3x3_by_columns(cotangent, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))

    def conv(kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), _ONE, dimension_numbers=_DIMENSIONS)

    return of_x, jax.linear_transpose(conv, kernel)(cotangent)[0]


_conv3x3_by_columns.defvjp(_columns_forward, _columns_backward)
