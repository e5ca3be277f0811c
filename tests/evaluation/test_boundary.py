"""Boundary AP, by hand and against faster-coco-eval's own implementation."""

import copy
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from pointrend_jax.evaluation.boundary import rle_boundary
from pointrend_jax.evaluation.coco import STAT_NAMES, evaluate_detections, summarize
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.masks.boundary import mask_boundary
from pointrend_jax.masks.rle import encode_mask
from tests.evaluation.scenes import (
    annotation,
    detection,
    ellipse,
    ground_truth,
    noisy_scene,
)


@pytest.mark.parametrize("dilation", [0.01, 0.2])
def test_boundary_of_an_rle_is_that_of_its_mask(dilation: float):
    rng = np.random.default_rng(0)
    for _ in range(300):
        # The masks have every density: runs begin and end anywhere, at the borders too.
        mask = rng.random(rng.integers(1, 12, 2)) < rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        expected = encode_mask(mask_boundary(mask, dilation))
        assert rle_boundary(encode_mask(mask), dilation) == expected


def test_boundary_of_an_rle_that_does_not_fill_its_size_is_an_error():
    rle = encode_mask(np.ones((4, 5), np.bool_))
    with pytest.raises(ValueError, match=r"must sum to 4 \* 6, got 20"):
        rle_boundary({**rle, "size": [4, 6]}, 0.02)


@pytest.mark.parametrize("dilation", [0.02, 0.05])
def test_boundary_ap_equals_another_implementation(dilation: float):
    truth, detections = noisy_scene(12, noise=0.3, seed=3)
    index = load_ground_truth(truth)
    ours = summarize(evaluate_detections(index, detections, "boundary", boundary_dilation=dilation))
    dataset: Any = copy.deepcopy(index.dataset)
    theirs_truth = COCO(dataset)
    records = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
    theirs = COCOeval_faster(
        theirs_truth,
        theirs_truth.loadRes(copy.deepcopy(records)),
        "boundary",
        boundary_dilation_ratio=dilation,
        boundary_cpu_count=1,
    )
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    expected = [None if value < 0 else value for value in theirs.stats[:12]]
    assert list(ours) == list(STAT_NAMES)
    for name, value in zip(STAT_NAMES, expected, strict=True):
        assert ours[name] == (value if value is None else pytest.approx(value, abs=1e-12)), name
    assert 0.1 < (ours["ap"] or 0) < 0.9


def test_boundary_ap_sees_an_outline_that_mask_ap_forgives():
    mask = ellipse((40, 30), (24, 24))
    smaller = ellipse((40, 30), (22, 22))  # mask IoU 0.84; the bands, 2 wide, hardly overlap
    index = load_ground_truth(ground_truth([annotation(1, 1, 3, mask)], 1))
    found = [detection(1, 3, smaller, 0.9)]
    assert summarize(evaluate_detections(index, found, "mask"))["ap75"] == pytest.approx(1)
    assert summarize(evaluate_detections(index, found, "boundary"))["ap50"] == 0
    # As wide as the disc, the band is the disc.
    wide = evaluate_detections(index, found, "boundary", boundary_dilation=0.3)
    assert summarize(wide)["ap75"] == pytest.approx(1)


def test_right_outline_of_a_wrong_mask_is_no_match():
    mask = ellipse((40, 30), (24, 24))
    band = mask_boundary(mask, 0.02)
    index = load_ground_truth(ground_truth([annotation(1, 1, 3, mask)], 1))
    # The boundaries agree; the mask IoU is that of a ring with its disc.
    evaluation = evaluate_detections(index, [detection(1, 3, band, 0.9)], "boundary")
    assert summarize(evaluation)["ap50"] == 0


def test_crowd_is_matched_by_its_mask_alone():
    # The detection lies inside the crowd, far from its outline: ignored, not a false positive.
    crowd, inside = ellipse((40, 30), (28, 28)), ellipse((40, 30), (8, 8))
    single = ellipse((70, 50), (6, 6))
    truth = ground_truth([annotation(1, 1, 3, crowd, iscrowd=1), annotation(2, 1, 3, single)], 1)
    found = [detection(1, 3, inside, 0.9), detection(1, 3, single, 0.5)]
    evaluation = evaluate_detections(load_ground_truth(truth), found, "boundary")
    assert summarize(evaluation)["ap"] == pytest.approx(1)
