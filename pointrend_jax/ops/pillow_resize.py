"""Pillow's bilinear resize of uint8 images on the device, equal to it in every grey level.

What the network was trained on was resized by Pillow (data/batches/transforms.py), so a program
that is to give the same result must resize so too. Everything is done in whole numbers: a weight is
a fraction of two of them, which Pillow rounds to 22 binary places, and so no device and no compiler
rounds otherwise.

Source: Pillow 10.3 to 13; its filters are those of src/libImaging/Resample.c since version 3.3.
"""

import math
from importlib.metadata import version

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

_ROWS_FIRST_SINCE = 13
# Binary places of a weight: 32 less 8 of a pixel and 2 to spare.
_PLACES = 22
# Up to this side the products of two sides, and sums of them over a filter, are int32.
MAX_SIDE = 2**14


def most_taps(largest_hw: tuple[int, int], *, min_size: int, max_size: int) -> int:
    """Pixels of an axis that one of the resized image may be made of.

    Args:
      largest_hw: (height, width) that no original image exceeds.
      min_size, max_size: by which images are resized, as for `resized_hw`.
    """
    shrink = max(min(largest_hw) / min_size, max(largest_hw) / max_size)
    # A side that is less than one and a half pixels long becomes one pixel.
    return 2 if shrink <= 1 else math.ceil(2 * 1.5 * shrink)


def resize_as_pillow(
    pixels: UInt8[Array, "H W 3"],
    inside_hw: Int[Array, "2"],
    output_hw: Int[Array, "2"],
    canvas_hw: tuple[int, int],
    *,
    taps: int,
) -> UInt8[Array, "h w 3"]:
    """The image resized as by `Image.resize(..., BILINEAR)`, with its antialiasing; 0 beyond it.

    Args:
      pixels: the image at the top left of a canvas; what lies beyond it is not looked at.
      inside_hw: (height, width) of the image, at least 1. output_hw: what becomes of it.
      canvas_hw: (h, w), of which `output_hw` is a part.
      taps: at least `ceil(2 * shrink)` of what either axis is divided by (2 if it grows); time
        follows it.
    Raises: ValueError if a side is longer than `MAX_SIDE`.
    """
    if max(*pixels.shape[:2], *canvas_hw) > MAX_SIDE:
        raise ValueError(
            f"an image is resized on canvases of up to {MAX_SIDE} pixels a side, got "
            f"{pixels.shape[:2]} and {canvas_hw}."
        )
    # The first pass is rounded to bytes, so their order shows: rows go first where the height loses
    # more than twice what the width does. Older Pillows than 13 always begin with columns, and what
    # is equalled is the installed one, which resizes for `predict`.
    lost = inside_hw - output_hw
    rows_first = (lost[0] > 0) & (lost[0] > 2 * lost[1])
    if int(version("pillow").split(".")[0]) < _ROWS_FIRST_SINCE:
        rows_first = jnp.zeros_like(rows_first)

    rows, columns = (
        _filters(inside_hw[axis], output_hw[axis], canvas_hw[axis], taps) for axis in (0, 1)
    )

    def by_rows(image: Array) -> Array:
        return _resize_rows(image, *rows)

    def by_columns(image: Array) -> Array:
        # What is read are whole rows of memory.
        return jnp.swapaxes(_resize_rows(jnp.swapaxes(image, 0, 1), *columns), 0, 1)

    return jax.lax.cond(
        rows_first, lambda x: by_columns(by_rows(x)), lambda x: by_rows(by_columns(x)), pixels
    )


def _resize_rows(
    x: UInt8[Array, "n m 3"], first: Int[Array, " L"], weights: Int[Array, "T L"]
) -> UInt8[Array, "L m 3"]:
    """One pass: each row becomes the weighted sum of T rows from `first` on."""

    def add(tap: Array, total: Array) -> Array:
        rows = x.at[jnp.minimum(first + tap, x.shape[0] - 1)].get(mode="promise_in_bounds")
        return total + weights[tap][:, None, None] * rows.astype(jnp.int32)

    half = jnp.full((len(first), *x.shape[1:]), 1 << (_PLACES - 1), jnp.int32)
    return (jax.lax.fori_loop(0, len(weights), add, half) >> _PLACES).astype(jnp.uint8)


def _filters(
    inside: Int[Array, ""], output: Int[Array, ""], length: int, taps: int
) -> tuple[Int[Array, " L"], Int[Array, "T L"]]:
    """For each output its first input, and the weights from there on in units of 2**-22.

    The filter is a triangle whose half width is `reach` / `output` inputs. The centre of output i
    lies at (2 i + 1) * inside / (2 output) and that of input p at p + 1/2, so that with the common
    denominator 2 * output all distances are whole numbers, of at most 2**29.
    """
    reach = jnp.maximum(inside, output)
    number = jnp.arange(length, dtype=jnp.int32)
    # Beyond the output every weight is 0; its number is not looked at, so that nothing overflows.
    centre = (2 * jnp.minimum(number, output - 1) + 1) * inside
    first = jnp.maximum((centre - 2 * reach + output) // (2 * output), 0)
    place = first[None] + jnp.arange(taps, dtype=jnp.int32)[:, None]
    heights = 2 * reach - jnp.abs((2 * place + 1) * output - centre[None])
    counts = (place < inside) & (number < output)[None]
    heights = jnp.where(counts, jnp.maximum(heights, 0), 0)
    return first, _rounded_shares(heights)


def _rounded_shares(heights: Int[Array, "T L"]) -> Int[Array, "T L"]:
    """Each column divided by its sum, in units of 2**-22, halves rounded up.

    By long division, two binary places at a time: of a sum below 2**29, four times what is left
    over is still an int32. Pillow divides in float64, which differs only where a share lies within
    1e-9 units of a half; the sum is then 2**23 or more, that of a filter of 4096 pixels.
    """
    total = jnp.maximum(jnp.sum(heights, axis=0, dtype=jnp.int32), 1)[None]

    def next_places(_: Array, so_far: tuple[Array, Array]) -> tuple[Array, Array]:
        shares, left = so_far
        digit = left * 4 // total
        return shares * 4 + digit, left * 4 - digit * total

    start = jnp.zeros_like(heights), heights
    shares, left = jax.lax.fori_loop(0, _PLACES // 2, next_places, start)
    return shares + (2 * left >= total).astype(jnp.int32)
