"""Convolution, in the form that is fastest where the program runs.

A 1x1 convolution is a matrix product of the pixels. XLA on CPU does not see that: its convolutions
of 64 channels run at a fifth of the product's rate (docs/benchmarks.md).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float


def convolve(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "kh kw Cg D"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    feature_group_count: int = 1,
    precision: Any = None,
    **how: Any,
) -> Float[Array, "B h w D"]:
    """`jax.lax.conv_general_dilated` of an NHWC map, or the product that it is for a 1x1 kernel.

    Args:
      how: the other arguments of `conv_general_dilated`, which mean nothing to a 1x1 kernel.
    """
    # "SAME" and "VALID" add nothing around a 1x1 kernel.
    unpadded = isinstance(padding, str) or all(tuple(side) == (0, 0) for side in padding)
    if kernel.shape[:2] != (1, 1) or feature_group_count > 1 or not unpadded:
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, feature_group_count=feature_group_count,
            precision=precision, **how,
        )  # fmt: skip
    pixels = x[:, :: strides[0], :: strides[1]]
    return jax.lax.dot_general(pixels, kernel[0, 0], (((3,), (0,)), ((), ())), precision=precision)


# `flax.linen.Conv`, with its parameters, through `convolve`.
Conv = partial(nn.Conv, conv_general_dilated_cls=lambda: convolve)
