"""Run-length masks: round trips, overlaps, and malformed text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.masks.rle import (
    decode_rle,
    decode_runs,
    encode_mask,
    encode_polygons,
    encode_runs,
    rle_iou,
)
from tests.shared import shared_path


@given(seed=st.integers(0, 10_000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_runs_and_masks_give_back_each_other(seed: int, height: int, width: int):
    rng = np.random.default_rng(seed)
    mask = np.repeat(rng.random((height, width)) < rng.random(), rng.integers(1, 60), axis=0)
    rle = encode_mask(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    runs = decode_runs(rle["counts"])
    assert sum(runs) == mask.size
    assert encode_runs(runs, mask.shape) == rle


@pytest.mark.parametrize("counts", ["~", "é", "0P", "0O", "\n"])
def test_malformed_counts_are_refused(counts: str):
    with pytest.raises(ValueError, match="RLE counts"):
        decode_runs(counts)


def test_polygons_are_united():
    left, right = [0, 0, 4, 0, 4, 4, 0, 4], [2, 0, 6, 0, 6, 4, 2, 4]
    expected = np.zeros((5, 8), np.bool_)
    expected[:4, :6] = True
    np.testing.assert_array_equal(decode_rle(encode_polygons([left, right], (5, 8))), expected)


def test_overlap_with_a_crowd_is_over_the_detection():
    detection, crowd = np.zeros((2, 4, 4), np.bool_)
    detection[:2, :2] = True
    crowd[:, :1] = True
    rles = [encode_mask(detection)], [encode_mask(crowd)]
    np.testing.assert_allclose(rle_iou(*rles, [0]), [[2 / 6]])
    np.testing.assert_allclose(rle_iou(*rles, [1]), [[2 / 4]])
    assert rle_iou([], rles[1], [0]).shape == (0, 1)


def test_overlaps_equal_the_reference():
    kit = np.load(shared_path("parity/ops/rle_iou.npz"))
    size = kit["hw"].tolist()
    detections, truths = (
        [{"size": size, "counts": counts} for counts in kit[key].tolist()] for key in ("dt", "gt")
    )
    np.testing.assert_allclose(rle_iou(detections, truths, [0] * 3), kit["iou"], rtol=1e-12)
    np.testing.assert_allclose(rle_iou(detections, truths, [1] * 3), kit["iou_crowd"], rtol=1e-12)
