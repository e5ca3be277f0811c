"""Cityscapes instance AP by hand; `test_cityscapes_official` has the whole."""

import numpy as np
import pytest

from pointrend_jax.evaluation.cityscapes_instances import (
    CityscapesInstanceEvaluator,
    step_average_precision,
)
from pointrend_jax.masks.rle import encode_mask

HEIGHT, WIDTH = 40, 60
CAR = 26


def _truth() -> np.ndarray:
    """Two cars of 200 pixels side by side on road, and void below."""
    ids = np.full((HEIGHT, WIDTH), 7, np.int32)
    ids[5:15, 5:25], ids[5:15, 30:50] = 26001, 26002
    ids[30:] = 0
    return ids


def _add(
    evaluator: CityscapesInstanceEvaluator,
    image_id: int,
    masks: list[np.ndarray],
    scores: list[float],
    truth: np.ndarray,
    label_id: int = CAR,
) -> None:
    rles = [encode_mask(mask) for mask in masks]
    labels = np.full(len(masks), label_id)
    evaluator.add(image_id, labels, np.asarray(scores, np.float32), rles, rles, truth)


def _car_ap50(masks: list[np.ndarray], scores: list[float]) -> float:
    evaluator = CityscapesInstanceEvaluator()
    _add(evaluator, 0, masks, scores, _truth())
    ap50 = evaluator.results()["rendered_ap50"]["car"]
    assert ap50 is not None
    return ap50


def test_area_is_by_steps_half_way_between_the_points():
    # Of 4 objects 2 are found: scores 0.9 true, 0.8 false, 0.7 true.
    ap = step_average_precision(np.asarray([0.9, 0.7]), np.asarray([0.8]), 4)
    # Recall 1/2, 1/4, 1/4, 0 at precision 2/3, 1/2, 1, 1: widths 1/8, 1/8, 1/8, 1/8.
    assert ap == pytest.approx((2 / 3 + 1 / 2 + 1 + 1) / 8)


def test_truth_as_prediction_is_one():
    truth = _truth()
    evaluator = CityscapesInstanceEvaluator()
    _add(evaluator, 0, [truth == 26001, truth == 26002], [0.5, 0.9], truth)
    results = evaluator.results()
    assert results["rendered"] == {"mask_ap": 1, "mask_ap50": 1}
    assert results["coarse_ap"]["car"] == 1
    assert results["coarse_ap"]["bus"] is None


def test_overlap_must_exceed_the_threshold():
    truth = _truth()
    half = (truth == 26001) & (np.arange(WIDTH) < 15)
    # An IoU of 0.5 is none: precision 1/2 up to a recall of 1/4, then 0.
    assert _car_ap50([half, truth == 26002], [0.9, 0.5]) == 0.125
    a_little_more = half.copy()
    a_little_more[5, 15] = True
    assert _car_ap50([a_little_more, truth == 26002], [0.9, 0.5]) == 1


def test_detection_on_void_is_not_false():
    truth = _truth()
    found = [truth == 26001, truth == 26002]
    assert _car_ap50([*found, truth == 0], [0.5, 0.5, 0.9]) == 1
    assert _car_ap50([*found, truth == 7], [0.5, 0.5, 0.9]) < 1


def test_rendered_and_coarse_masks_are_scored_apart():
    truth = _truth()
    evaluator = CityscapesInstanceEvaluator()
    fine = [encode_mask(truth == 26001), encode_mask(truth == 26002)]
    rough = [encode_mask(np.roll(truth, 4, 1) == 26001), fine[1]]
    evaluator.add(0, np.asarray([CAR, CAR]), np.asarray([0.5, 0.5]), fine, rough, truth)
    results = evaluator.results()
    assert results["rendered"]["mask_ap"] == 1
    assert results["coarse"]["mask_ap50"] == 1
    # The rough one has an IoU of 2 / 3: both are found at four of ten thresholds, else one of them.
    one = step_average_precision(np.asarray([0.5]), np.asarray([0.5]), 2)
    assert results["coarse"]["mask_ap"] == pytest.approx((4 + 6 * one) / 10)


def test_image_without_detections_counts_its_objects():
    truth = _truth()
    evaluator = CityscapesInstanceEvaluator()
    _add(evaluator, 0, [truth == 26001, truth == 26002], [0.5, 0.5], truth)
    _add(evaluator, 1, [], [], truth)
    assert evaluator.results()["rendered_ap"]["car"] == 0.5
    assert evaluator.image_ids == (0, 1)


def test_objects_without_any_detection_have_zero():
    evaluator = CityscapesInstanceEvaluator()
    _add(evaluator, 0, [], [], _truth())
    assert evaluator.results()["rendered"] == {"mask_ap": 0, "mask_ap50": 0}


def test_only_ignored_detections_have_zero():
    """The official script fails here."""
    assert _car_ap50([_truth() == 0], [0.9]) == 0


def test_no_object_anywhere_has_no_score():
    evaluator = CityscapesInstanceEvaluator()
    truth = np.full((HEIGHT, WIDTH), 7, np.int32)
    _add(evaluator, 0, [truth == 7], [0.9], truth)
    results = evaluator.results()
    assert results["rendered"] == {"mask_ap": None, "mask_ap50": None}
    assert set(results["rendered_ap"].values()) == {None}


@pytest.mark.parametrize(("label_id", "pixels"), [(29, 2400), (CAR, 0)])
def test_label_that_is_not_evaluated_and_empty_mask_are_left_out(label_id: int, pixels: int):
    truth = _truth()
    evaluator = CityscapesInstanceEvaluator()
    found = [encode_mask(truth == 26001), encode_mask(truth == 26002)]
    other = encode_mask(np.full(truth.shape, pixels > 0))
    labels, scores = np.asarray([CAR, CAR, label_id]), np.asarray([0.5, 0.5, 0.9])
    evaluator.add(0, labels, scores, [*found, other], [*found, other], truth)
    assert evaluator.results()["rendered"]["mask_ap"] == 1


def test_mask_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"size of the instance map, \(40, 60\), got size \(60, 40\)"
    ):
        _add(CityscapesInstanceEvaluator(), 0, [np.ones((60, 40), np.bool_)], [0.5], _truth())


def test_image_added_twice_and_unequal_lengths_are_refused():
    evaluator = CityscapesInstanceEvaluator()
    _add(evaluator, 3, [], [], _truth())
    with pytest.raises(ValueError, match="Image 3 was added before"):
        _add(evaluator, 3, [], [], _truth())
    with pytest.raises(ValueError, match="as many"):
        evaluator.add(4, np.asarray([CAR]), np.asarray([0.5]), [], [], _truth())


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="No image was added"):
        CityscapesInstanceEvaluator().results()
