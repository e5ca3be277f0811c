"""Cropping bit-packed masks: the separable product against ROIAlign itself."""

import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.masks import crop_masks, unpack_bits
from pointrend_jax.ops.roi_align import roi_align

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_unpack_bits_inverts_packbits() -> None:
    masks = np.random.default_rng(0).random((2, 5, 24)) < 0.5
    bits = jnp.asarray(np.packbits(masks, axis=-1, bitorder="little"))
    np.testing.assert_array_equal(unpack_bits(bits), masks)


def test_crop_masks_equals_adaptive_roi_align_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    discs = [(x - cx) ** 2 + (y - cy) ** 2 < 15**2 for cx, cy in ((20, 20), (40, 25))]
    masks = np.stack(discs)
    bits = jnp.asarray(np.packbits(masks, axis=-1, bitorder="little"))
    corner = rng.uniform(-5, 30, (20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 40, (20, 2))], axis=1)
    boxes, index = jnp.asarray(boxes, jnp.float32), jnp.asarray(rng.integers(0, 2, 20))
    ours = crop_masks(bits, index, boxes, jnp.tile(jnp.array([[48, 64]]), (20, 1)), output_size=7)
    pooled = roi_align(
        [jnp.asarray(masks, jnp.float32)[..., None]], boxes, index,
        strides=(1,), output_size=7, levels=jnp.zeros(20, jnp.int32),
    )[..., 0]  # fmt: skip
    # Rounding may decide a tie at one half; nothing else may differ.
    clear = np.abs(pooled - 0.5) > 1e-5
    np.testing.assert_array_equal(np.asarray(ours)[clear], np.asarray(pooled >= 0.5)[clear])
    assert 0.1 < float(ours.mean()) < 0.9
