"""Changing the resolution of maps on the device: half-pixel centres, as torch's `interpolate`.

A map may lie at the top left of a larger canvas. Where a function takes `inside_hw`, the rows and
columns that belong to the map, what lies beyond changes nothing: the border is the map's own.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.scatter import take_own

# Of the original image, that `map_rows` holds at a time.
_STRIP_ROWS = 16


def upsample_2x(
    x: Float[Array, "N H W C"], inside_hw: Int[Array, "N 2"] | None = None
) -> Float[Array, "N 2*H 2*W C"]:
    """Bilinear x2 with half-pixel centres and a repeated border.

    Each output lies a quarter cell from its nearest input, so it is 3/4 of that and 1/4 of the
    next: two shifts and adds an axis, where a general resize would gather. Or a product with the
    weights an axis, which keeps narrow maps as they lie; there an infinite logit is 1e30.
    """
    if inside_hw is None and forms().doubles_by_products:
        return _doubled_by_products(x)
    rows, columns = (None, None) if inside_hw is None else (inside_hw[:, 0], inside_hw[:, 1])
    return _double(_double(x, rows, axis=1), columns, axis=2)


def _doubled_by_products(x: Array) -> Array:
    # Infinity times a weight of zero would be NaN.
    blended = jnp.clip(x.astype(jnp.float32), -1e30, 1e30)
    for axis, equation in ((1, "ah,nhwc->nawc"), (2, "aw,nhwc->nhac")):
        size = x.shape[axis]
        cells = jnp.arange(2 * size, dtype=jnp.float32)
        place = jnp.clip((cells + 0.5) / 2 - 0.5, 0, size - 1)
        weights = jnp.maximum(1 - jnp.abs(place[:, None] - cells[None, :size]), 0)
        blended = jnp.einsum(equation, weights, blended, precision=jax.lax.Precision.HIGHEST)
    return blended.astype(x.dtype)


def _double(x: Array, inside: Array | None, axis: int) -> Array:
    size = x.shape[axis]
    before = jnp.concatenate(
        [jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)],
        axis=axis,
    )
    after = jnp.concatenate(
        [
            jax.lax.slice_in_dim(x, 1, size, axis=axis),
            jax.lax.slice_in_dim(x, size - 1, size, axis=axis),
        ],
        axis=axis,
    )
    if inside is not None:
        shape = [1] * x.ndim
        shape[axis] = size
        last = (inside - 1).reshape(-1, *([1] * (x.ndim - 1)))
        after = jnp.where(jnp.arange(size).reshape(shape) == last, x, after)
    # Blended in float32 and rounded once, as every bilinear value is.
    nearest, before, after = (y.astype(jnp.float32) for y in (x, before, after))
    blended = [0.75 * nearest + 0.25 * before, 0.75 * nearest + 0.25 * after]
    pairs = jnp.stack(blended, axis=axis + 1).astype(x.dtype)
    return pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def resize_bilinear(
    x: Float[Array, "N H W C"], output_hw: tuple[int, int]
) -> Float[Array, "N h w C"]:
    """Bilinear to any size, without antialiasing, as torch's `interpolate(align_corners=False)`."""
    shape = (x.shape[0], *output_hw, x.shape[3])
    # The weights take the type of what is resized, and are multiplied in the given precision.
    resized = jax.image.resize(
        x.astype(jnp.float32), shape, method="linear", antialias=False,
        precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip
    return resized.astype(x.dtype)


def upsample_by(
    x: Float[Array, "N H W C"], factor: int, inside_hw: Int[Array, "N 2"]
) -> Float[Array, "N fH fW C"]:
    """Bilinear to `factor` times the size."""
    if factor == 1:
        return x
    if factor == 2:
        return upsample_2x(x, inside_hw)
    extended = repeat_border(x, inside_hw)
    return resize_bilinear(extended, (factor * x.shape[1], factor * x.shape[2]))


def repeat_border(
    x: Float[Array, "N H W C"], inside_hw: Int[Array, "N 2"]
) -> Float[Array, "N H W C"]:
    """The map continued by its last row and column over the rest of the canvas."""
    for axis in (1, 2):
        inside = inside_hw[:, axis - 1]
        last = jnp.expand_dims(take_own(x, inside - 1, axis - 1), axis)
        shape = [1, 1, 1, 1]
        shape[axis] = x.shape[axis]
        beyond = jnp.arange(x.shape[axis]).reshape(shape) >= inside.reshape(-1, 1, 1, 1)
        x = jnp.where(beyond, last, x)
    return x


def resize_within(
    x: Float[Array, "N H W C"],
    inside_hw: Int[Array, "N 2"],
    output_hw: Int[Array, "N 2"],
    canvas_hw: tuple[int, int],
) -> Float[Array, "N h w C"]:
    """Bilinear from sizes to sizes that are only known when it runs, onto a canvas of a fixed one.

    What lies beyond `output_hw` is undefined.

    Args:
      inside_hw, output_hw: (height, width) of each map and of what becomes of it.
    """
    for axis in (1, 2):
        side = axis - 1
        x = _blend(x, *_two_around(inside_hw[:, side], output_hw[:, side], canvas_hw[side]), axis)
    return x


def resize_windows(
    x: Float[Array, "N H W C"],
    inside_hw: Int[Array, "N 2"],
    windows: Float[Array, "N 4"],
    hw: tuple[int, int],
) -> Float[Array, "N h w C"]:
    """Bilinear values at the centres of h x w pixels over a window of each map.

    Args:
      windows: xyxy in pixels of the map, continuous; beyond the map its border is repeated.
    """
    for axis in (1, 2):
        start, end = windows[:, 2 - axis], windows[:, 4 - axis]
        centres = (jnp.arange(hw[axis - 1], dtype=jnp.float32)[None] + 0.5) / hw[axis - 1]
        position = start[:, None] + centres * (end - start)[:, None] - 0.5
        x = _blend(x, *_around(position, inside_hw[:, axis - 1]), axis)
    return x


def map_rows(
    logits: Float[Array, "N H W K"],
    inside_hw: Int[Array, "N 2"],
    output_hw: Int[Array, "N 2"],
    canvas_hw: tuple[int, int],
    reduce: Callable[[Float[Array, "N r w K"]], Array],
) -> Array:
    """`reduce` of `resize_within`, made in strips of a few rows so that it is never held whole.

    `reduce` takes a strip [N, r, w, K] and keeps its first three axes.
    """
    (height, width), rows = canvas_hw, _STRIP_ROWS
    strips = -(-height // rows)
    vertical = _two_around(inside_hw[:, 0], output_hw[:, 0], strips * rows)
    horizontal = _two_around(inside_hw[:, 1], output_hw[:, 1], width)

    def strip(first: Array) -> Array:
        part = [jax.lax.dynamic_slice_in_dim(x, first, rows, axis=1) for x in vertical]
        return reduce(_blend(_blend(logits, *part, axis=1), *horizontal, axis=2))

    reduced = jax.lax.map(strip, jnp.arange(strips) * rows)
    reduced = jnp.moveaxis(reduced, 0, 1)
    return reduced.reshape(reduced.shape[0], strips * rows, *reduced.shape[3:])[:, :height]


def best_labels(
    logits: Float[Array, "N H W K"],
    inside_hw: Int[Array, "N 2"],
    output_hw: Int[Array, "N 2"],
    canvas_hw: tuple[int, int],
) -> UInt8[Array, "N h w"]:
    """The best class of each pixel of the original image: logits are resized, then compared.

    Source: Detectron2 modeling/postprocessing.py, sem_seg_postprocess.
    """

    if not forms().labels_in_bytes:
        numbers = map_rows(logits, inside_hw, output_hw, canvas_hw, partial(jnp.argmax, axis=-1))
        return numbers.astype(jnp.uint8)

    def best(strip: Array) -> Array:
        return jnp.argmax(strip, axis=-1).astype(jnp.uint8)

    def resized(logits: Array) -> Array:
        return map_rows(logits, inside_hw, output_hw, canvas_hw, best)

    def as_they_are(logits: Array) -> Array:
        height, width = canvas_hw
        labels = best(logits[:, :height, :width])
        missing = [(0, height - labels.shape[1]), (0, width - labels.shape[2])]
        return jnp.pad(labels, [(0, 0), *missing])

    # An image that was not resized, as in Cityscapes' evaluation, needs no blending of neighbours.
    return jax.lax.cond(jnp.all(inside_hw == output_hw), as_they_are, resized, logits)


def _blend(x: Array, low: Array, high: Array, weight: Array, axis: int) -> Array:
    """The rows (or columns) between two of `x`, which `_two_around` has found."""
    if forms().adds_exactly:
        # As a product, whose gradient is one too: the gradient of what is read is a sum.
        cells = jnp.arange(x.shape[axis]).reshape(1, 1, -1)
        nearer, further = (jnp.where(i[..., None] == cells, 1.0, 0.0) for i in (low, high))
        matrix = (1 - weight)[..., None] * nearer + weight[..., None] * further
        rows = jnp.moveaxis(x, axis, 1).astype(weight.dtype)
        blended = jnp.einsum("nrs,ns...->nr...", matrix, rows, precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(blended, 1, axis).astype(x.dtype)
    shape = [1, 1, 1, 1]
    shape[0], shape[axis] = low.shape
    weight = weight.reshape(shape)
    below = jnp.take_along_axis(x, low.reshape(shape), axis=axis).astype(weight.dtype)
    above = jnp.take_along_axis(x, high.reshape(shape), axis=axis).astype(weight.dtype)
    return ((1 - weight) * below + weight * above).astype(x.dtype)


def _two_around(inside: Array, output: Array, size: int) -> tuple[Array, Array, Array]:
    """For `size` outputs of each map: the two inputs that each lies between, and the second's
    weight."""
    scale = inside.astype(jnp.float32) / output.astype(jnp.float32)
    position = (jnp.arange(size, dtype=jnp.float32)[None] + 0.5) * scale[:, None] - 0.5
    return _around(position, inside)


def _around(position: Array, inside: Array) -> tuple[Array, Array, Array]:
    """`_two_around` of positions [N, size] in cells, where the centre of cell 0 is 0."""
    position = jnp.clip(position, 0.0, (inside - 1).astype(jnp.float32)[:, None])
    low = jnp.floor(position).astype(jnp.int32)
    high = jnp.minimum(low + 1, inside[:, None] - 1)
    return low, high, position - low.astype(jnp.float32)


def upsample_nearest_2x(x: Float[Array, "N H W C"]) -> Float[Array, "N 2*H 2*W C"]:
    """Each pixel becomes a 2 x 2 block. All must be finite."""
    if not forms().doubles_by_products:
        return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    # A product with zeros and ones is exact in every precision that holds `x`. Rows could be
    # repeated as they lie, but a TPU's compiler writes that out in more time than a product.
    for axis, equation in ((2, "dw,nhwc->nhdc"), (1, "dh,nhwc->ndwc")):
        size = x.shape[axis]
        is_copy = jnp.arange(2 * size)[:, None] // 2 == jnp.arange(size)[None]
        x = jnp.einsum(equation, is_copy.astype(x.dtype), x, precision=jax.lax.Precision.HIGHEST)
    return x
