"""Pasting: by hand, against Detectron2's stored pixels, and as RLE."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.masks.paste import (
    changes_of_mask,
    paste_mask,
    resample_to_window,
    scale_boxes_to_original,
)
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import encode_changes
from tests.shared import shared_path


def _box(*xyxy: float) -> np.ndarray:
    return np.asarray(xyxy, np.float32)


def test_mask_of_the_resolution_of_its_box_is_copied():
    probs = np.arange(16, dtype=np.float32).reshape(4, 4) / 16
    window, (x0, y0) = resample_to_window(probs, _box(3, 2, 7, 6), (10, 12))
    canvas = np.zeros((10, 12), np.float32)
    canvas[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
    np.testing.assert_allclose(canvas[2:6, 3:7], probs, atol=1e-6)
    assert np.count_nonzero(canvas) == 15  # all of the mask but its own zero


def test_mask_is_zero_beyond_half_a_cell_outside_its_box():
    # One cell of 4 pixels, whose weight falls from 1 at its centre (6, 6) to 0 two pixels outside
    # the box.
    window, (x0, y0) = resample_to_window(np.ones((1, 1), np.float32), _box(4, 4, 8, 8), (12, 12))
    assert (x0, y0) == (3, 3)
    weights = np.asarray([0.375, 0.625, 0.875, 0.875, 0.625, 0.375])
    np.testing.assert_allclose(window, np.outer(weights, weights), atol=1e-6)


def test_one_half_belongs_to_the_mask():
    half = np.full((2, 2), 0.5, np.float32)
    assert paste_mask(half, _box(0, 0, 2, 2), (2, 2)).all()
    below = np.nextafter(half, np.float32(0))
    assert not paste_mask(below, _box(0, 0, 2, 2), (2, 2)).any()


def test_box_wholly_outside_the_image_gives_an_empty_mask():
    probs = np.ones((3, 2, 2), np.float32)
    boxes = np.stack([_box(20, 0, 30, 4), _box(-9, -9, -5, -5), _box(0, 40, 4, 50)])
    for mask, box in zip(probs, boxes, strict=True):
        assert not paste_mask(mask, box, (8, 10)).any()


def test_empty_box_is_refused():
    with pytest.raises(ValueError, match="positive width and height"):
        paste_mask(np.ones((2, 2), np.float32), _box(3, 2, 3, 5), (8, 8))


@given(
    seed=st.integers(0, 10_000),
    box=st.tuples(*[st.floats(-6, 20, width=32)] * 2, *[st.floats(0.5, 30, width=32)] * 2),
)
def test_rle_equals_the_encoded_mask(seed: int, box: tuple[float, float, float, float]):
    probs = np.random.default_rng(seed).random((5, 5), np.float32)
    x0, y0, width, height = box
    xyxy = _box(x0, y0, x0 + width, y0 + height)
    (rle,) = encode_changes([changes_of_mask(probs, xyxy, (14, 17))], (14, 17))
    assert rle == encode_mask(paste_mask(probs, xyxy, (14, 17)))


def test_boxes_are_scaled_by_axis_clipped_and_dropped_if_empty():
    boxes = np.asarray([[1, 2, 5, 6], [-4, -4, 100, 100], [30, 0, 50, 9]], np.float32)
    scaled, keep = scale_boxes_to_original(boxes, (10, 20), (20, 60))
    np.testing.assert_array_equal(scaled, [[3, 4, 15, 12], [0, 0, 60, 20]])
    np.testing.assert_array_equal(keep, [True, True, False])


def _upsample(logits: np.ndarray, side: int) -> np.ndarray:
    """Bilinear to [side, side], half-pixel centres, edges repeated."""
    length = logits.shape[-1]
    position = np.clip((np.arange(side) + 0.5) * length / side - 0.5, 0, length - 1)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(length)))
    return weights @ logits @ weights.T


def test_pasted_masks_equal_the_reference_bit_for_bit():
    kit = np.load(shared_path("parity/ops/paste_masks.npz"))
    image_hw = tuple(kit["image_hw"].tolist())
    logits = _upsample(kit["low_logits7"].astype(np.float64), 224)
    fine = (1 / (1 + np.exp(-logits))).astype(np.float32)
    for i, box in enumerate(kit["boxes"]):
        np.testing.assert_array_equal(
            paste_mask(kit["prob28"][i], box, image_hw), kit["pasted28"][i]
        )
        np.testing.assert_array_equal(paste_mask(fine[i], box, image_hw), kit["pasted224"][i])
    for probs, key in ((kit["prob28"], "rle28"), (fine, "rle224")):
        pairs = zip(probs, kit["boxes"], strict=True)
        rles = encode_changes([changes_of_mask(*pair, image_hw) for pair in pairs], image_hw)
        assert [rle["counts"] for rle in rles] == kit[key].tolist()


def test_soft_masks_equal_the_reference():
    kit = np.load(shared_path("parity/ops/paste_masks.npz"))
    image_hw = tuple(kit["image_hw"].tolist())
    for i, box in enumerate(kit["boxes"]):
        window, (x0, y0) = resample_to_window(kit["prob28"][i], box, image_hw)
        soft = np.zeros(image_hw, np.float32)
        soft[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
        # The two lerps round apart; the reference sums four products.
        np.testing.assert_allclose(soft, kit["soft28"][i], atol=1e-6)
        np.testing.assert_array_equal((soft * np.float32(255)).astype(np.uint8), kit["uint8_28"][i])


def test_scaled_boxes_and_masks_equal_the_reference():
    kit = np.load(shared_path("parity/ops/detector_postprocess.npz"))
    in_hw, out_hw = tuple(kit["in_hw"].tolist()), tuple(kit["out_hw"].tolist())
    boxes, keep = scale_boxes_to_original(kit["in_boxes"], in_hw, out_hw)
    np.testing.assert_array_equal(boxes, kit["out_boxes"])
    np.testing.assert_array_equal(np.flatnonzero(keep), kit["out_classes"])
    for probs, box, expected in zip(
        kit["in_masks"][keep][:, 0], boxes, kit["out_masks"], strict=True
    ):
        np.testing.assert_array_equal(paste_mask(probs, box, out_hw), expected)
