"""Masks as bits: packed on a canvas and taken from it again."""

import numpy as np

from pointrend_jax.masks.bits import pack_mask, unpack_masks


def test_packed_masks_are_unpacked_without_what_lies_beyond_the_image() -> None:
    masks = np.random.default_rng(0).random((3, 5, 11)) < 0.5
    bits = np.stack([pack_mask(mask, (8, 16)) for mask in masks])
    assert bits.shape == (3, 8, 2)
    np.testing.assert_array_equal(unpack_masks(bits, (5, 11)), masks)
