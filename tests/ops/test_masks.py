"""Cropping bit-packed masks: the separable product against ROIAlign itself."""

import jax
import numpy as np
import pytest

from pointrend_jax.ops import masks as ops
from pointrend_jax.ops import roi_align as form

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Operation by operation they are some hundred programs.
unpack_bits = jax.jit(ops.unpack_bits)
crop_masks = jax.jit(ops.crop_masks, static_argnames="output_size")
roi_align = jax.jit(form.roi_align, static_argnames=("strides", "output_size"))


def test_unpack_bits_inverts_packbits() -> None:
    masks = np.random.default_rng(0).random((2, 5, 24)) < 0.5
    bits = np.packbits(masks, axis=-1, bitorder="little")
    np.testing.assert_array_equal(unpack_bits(bits), masks)


def test_crop_masks_equals_adaptive_roi_align_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    discs = [(x - cx) ** 2 + (y - cy) ** 2 < 15**2 for cx, cy in ((20, 20), (40, 25))]
    masks = np.stack(discs)
    bits = np.packbits(masks, axis=-1, bitorder="little")
    corner = rng.uniform(-5, 30, (20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 40, (20, 2))], axis=1)
    boxes, index = boxes.astype(np.float32), rng.integers(0, 2, 20)
    sizes = np.tile(np.array([[48, 64]]), (20, 1))
    ours = np.asarray(crop_masks(bits, index, boxes, sizes, output_size=7))
    maps = masks[..., None].astype(np.float32)
    levels = np.zeros(20, np.int32)
    pooled = roi_align([maps], boxes, index, strides=(1,), output_size=7, levels=levels)
    pooled = np.squeeze(pooled, -1)
    # Rounding may decide a tie at one half; nothing else may differ.
    clear = np.abs(pooled - 0.5) > 1e-5
    np.testing.assert_array_equal(ours[clear], (pooled >= 0.5)[clear])
    assert 0.1 < ours.mean() < 0.9
