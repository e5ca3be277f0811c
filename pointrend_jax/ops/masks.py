"""Bit-packed ground-truth masks: cropping them to boxes for the coarse loss.

Masks travel as bits (`ObjectBatch.mask_bits`), which `masks/bits.py` packs; on the device only
`crop_masks` here and `point_sample_bits` read them. Bringing predicted masks into the image is host
work: `masks/paste.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from pointrend_jax.ops.roi_samples import axis_samples, axis_weights

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
    boxes = jax.lax.stop_gradient(boxes) - 0.5
    to_rows, to_columns = (
        axis_weights(
            axis_samples(
                boxes[:, axis], boxes[:, axis + 2], image_hw[:, 1 - axis], output_size=output_size
            ),
            jnp.zeros_like(mask_index), length, output_size=output_size,
        )
        for axis, length in ((1, mask_bits.shape[1]), (0, mask_bits.shape[2] * 8))
    )  # fmt: skip

    def crop(inputs: tuple[Array, Array, Array]) -> Array:
        index, row_weights, column_weights = inputs
        mask = unpack_bits(mask_bits[index]).astype(row_weights.dtype)
        # A tie at exactly 0.5 decides the target's pixel: keep full precision on every device.
        rows = jnp.matmul(row_weights, mask, precision=jax.lax.Precision.HIGHEST)
        return jnp.matmul(rows, column_weights.T, precision=jax.lax.Precision.HIGHEST)

    crops = jax.lax.map(crop, (mask_index, to_rows, to_columns), batch_size=_AT_A_TIME)
    return crops >= 0.5
