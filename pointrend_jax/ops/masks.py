"""Bit-packed ground-truth masks: cropping them to boxes for the coarse loss.

Masks travel as bits (`ObjectBatch.mask_bits`), which `masks/bits.py` packs; on the device only
`crop_masks` here and `point_sample_bits` read them. Bringing predicted masks into the image is host
work: `masks/paste.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

# Masks that are unpacked at a time: those of a whole batch would be hundreds of MiB.
_AT_A_TIME = 16


def unpack_bits(mask_bits: UInt8[Array, "*S H Wb"]) -> UInt8[Array, "*S H 8*Wb"]:
    """uint8 0/1 pixels of little-endian bits along x."""
    shifts = jnp.arange(8, dtype=jnp.uint8).reshape([1] * mask_bits.ndim + [8])
    bits = (mask_bits[..., None] >> shifts) & 1
    return bits.reshape(*mask_bits.shape[:-1], mask_bits.shape[-1] * 8)


def crop_masks(
    mask_bits: UInt8[Array, "M H Wb"],
    mask_index: Int[Array, " N"],
    boxes: Float[Array, "N 4"],
    image_hw: Int[Array, "N 2"],
    *,
    output_size: int,
) -> Bool[Array, "N S S"]:
    """Each box's crop of its mask at S x S: adaptive ROIAlign at scale 1, then >= 0.5.

    A bin averages up to 115 x 115 samples of the full-resolution mask, but ROIAlign is separable:
    the crop is exactly `Wy @ mask @ Wx` with one weight matrix an axis.

    Args:
      image_hw: the size of the image each mask belongs to; the border repeats there.
    Source: Detectron2 BitMasks.crop_and_resize.
    """
    height, width = mask_bits.shape[1], mask_bits.shape[2] * 8
    boxes = jax.lax.stop_gradient(boxes)
    to_rows = _bin_weights(boxes[:, 1], boxes[:, 3], image_hw[:, 0], height, output_size)
    to_columns = _bin_weights(boxes[:, 0], boxes[:, 2], image_hw[:, 1], width, output_size)

    def crop(inputs: tuple[Array, Array, Array]) -> Array:
        index, row_weights, column_weights = inputs
        mask = unpack_bits(mask_bits[index]).astype(row_weights.dtype)
        # A tie at exactly 0.5 decides the target's pixel: keep full precision on every device.
        rows = jnp.matmul(row_weights, mask, precision=jax.lax.Precision.HIGHEST)
        return jnp.matmul(rows, column_weights.T, precision=jax.lax.Precision.HIGHEST)

    crops = jax.lax.map(crop, (mask_index, to_rows, to_columns), batch_size=_AT_A_TIME)
    return crops >= 0.5


def _bin_weights(
    low: Float[Array, " N"],
    high: Float[Array, " N"],
    edge: Int[Array, " N"],
    length: int,
    output_size: int,
) -> Float[Array, "N S L"]:
    """The weight of each pixel of an axis in each bin: the mean of its samples' tent functions."""
    start = low - 0.5
    bin_size = (high - low) / output_size
    samples = jnp.maximum(jnp.ceil(bin_size), 0.0)
    bins = jnp.arange(output_size, dtype=low.dtype)[None, :]
    pixels = jnp.arange(length, dtype=low.dtype)
    last = (edge - 1).astype(low.dtype)[:, None]

    def add_sample(sample: Array, total: Array) -> Array:
        sample = sample.astype(low.dtype)
        within = (sample + 0.5) * bin_size / jnp.maximum(samples, 1)
        position = start[:, None] + bins * bin_size[:, None] + within[:, None]
        inside = (position >= -1.0) & (position <= last + 1.0) & (sample < samples)[:, None]
        position = jnp.clip(position, 0.0, last)
        tent = jnp.maximum(1.0 - jnp.abs(position[..., None] - pixels[None, None, :]), 0.0)
        return total + jnp.where(inside[..., None], tent, 0.0)

    total = jnp.zeros((low.shape[0], output_size, length), low.dtype)
    total = jax.lax.fori_loop(0, jnp.max(samples, initial=0).astype(jnp.int32), add_sample, total)
    return total / jnp.maximum(samples, 1)[:, None, None]
