"""The stem of a ResNet on blocks of 4 x 4 pixels, equal to the plain one up to rounding.

A TPU lays 128 channels beside each other, of which pixels have three. Here a block of 16 pixels is
one cell with 48 channels, and 2 x 2 results of the convolution of stride 2 are one cell in each of
four maps, which max-pooling of stride 2 then makes one result. So no map is taken apart again.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK = 4


def pixels_to_blocks(x: Float[Array, "B H W C"]) -> Float[Array, "B H/4 W/4 16*C"]:
    """Channels in the order (row, column, channel); the sides are multiples of 4."""
    batch, height, width, channels = x.shape
    rows, columns = height // BLOCK, width // BLOCK
    # A product with zeros and ones picks the columns: as a transposition it is several copies.
    place = BLOCK * jnp.arange(columns)[None, None, :] + jnp.arange(BLOCK)[None, :, None]
    is_there = (jnp.arange(width)[:, None, None] == place).astype(x.dtype)
    blocks = jnp.einsum(
        "byrwc,wsx->byxrsc", x.reshape(batch, rows, BLOCK, width, channels), is_there,
        precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip
    return blocks.reshape(batch, rows, columns, BLOCK * BLOCK * channels)


def kernels_of_blocks(kernel: Float[Array, "7 7 C D"]) -> list[Float[Array, "3 3 E D"]]:
    """What a kernel of stride 2, padded by 3, is on blocks of E = 16 * C channels: four kernels of
    stride 1, padded by 1, one for each of the 2 x 2 results of a block, row by row."""
    inputs, outputs = kernel.shape[2:]
    # Result i of a block reads the pixels p = -4 .. 7 of three blocks, counted from its own block's
    # first. Pixel p meets tap p + 3 - 2 i of the kernel, and 0 where there is no such tap of its 7.
    padded = jnp.pad(kernel, ((3, 4), (3, 4), (0, 0), (0, 0)))
    size, kernels = 3 * BLOCK, []
    for i in range(2):
        for j in range(2):
            part = padded[2 - 2 * i : 2 - 2 * i + size, 2 - 2 * j : 2 - 2 * j + size]
            part = part.reshape(3, BLOCK, 3, BLOCK, inputs, outputs).swapaxes(1, 2)
            kernels.append(part.reshape(3, 3, BLOCK * BLOCK * inputs, outputs))
    return kernels


def max_pool_parts(parts: Sequence[Float[Array, "B h w D"]]) -> Float[Array, "B h w D"]:
    """3 x 3 max-pooling of stride 2, padded by one, of a map of no negative numbers.

    Args:
      parts: of each cell, 2 x 2 of the map, row by row.
    """
    _, right, below, last = parts
    whole = jnp.maximum(jnp.maximum(parts[0], right), jnp.maximum(below, last))
    above = _moved(jnp.maximum(below, last), 1, 0)
    left = _moved(jnp.maximum(right, last), 0, 1)
    return jnp.maximum(jnp.maximum(whole, above), jnp.maximum(left, _moved(last, 1, 1)))


def _moved(x: Array, rows: int, columns: int) -> Float[Array, "B h w D"]:
    """Down and to the right; zeros come in."""
    padded = jnp.pad(x, ((0, 0), (rows, 0), (columns, 0), (0, 0)))
    return padded[:, : x.shape[1], : x.shape[2]]
