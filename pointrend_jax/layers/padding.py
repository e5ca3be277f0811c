"""What keeps a bucket from changing a result: padding stays zero wherever a window could read it.

An image is placed at the top left of a larger canvas. The canvas is zero at the input, but biases
and normalisation make it non-zero afterwards, and each spatial convolution or pool would carry that
into the image. Layers therefore zero what lies beyond the padded image before every such window.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def inside_padded(
    height: int, width: int, padded_hw: Int[Array, "B 2"], stride: int, a_cell: int = 1
) -> Bool[Array, "B {height} {width}*{a_cell}"]:
    """True where a cell of a [height, width] map at `stride` covers a part of the padded image.

    Args:
      padded_hw: (height, width) of the region that the network sees, in pixels of the input.
      stride: input pixels a cell.
      a_cell: how often each cell is named, one after another.
    """
    cells = -(-padded_hw // stride)
    rows = jnp.arange(height)[None, :] < cells[:, :1]
    cols = jnp.arange(width * a_cell)[None, :] // a_cell < cells[:, 1:]
    return rows[:, :, None] & cols[:, None, :]


def zero_beyond(
    x: Float[Array, "B H W C"], padded_hw: Int[Array, "B 2"], stride: int
) -> Float[Array, "B H W C"]:
    """Zeroes the cells of a map at `stride` that lie wholly beyond `padded_hw` (input pixels)."""
    inside = inside_padded(x.shape[1], x.shape[2], padded_hw, stride)
    # A select, not a product: a NaN or an infinity in the padding must not survive.
    return jnp.where(inside[..., None], x, jnp.zeros((), x.dtype))


def mean_inside(
    x: Float[Array, "B H W C"], padded_hw: Int[Array, "B 2"], stride: int
) -> Float[Array, "B C"]:
    """Global average pooling of a map at `stride` over the cells within `padded_hw` only."""
    count = jnp.prod(-(-padded_hw // stride), axis=1)
    # bfloat16 cannot count to the cells of a map.
    total = zero_beyond(x, padded_hw, stride).astype(jnp.float32).sum(axis=(1, 2))
    return (total / jnp.maximum(count, 1).astype(jnp.float32)[:, None]).astype(x.dtype)
