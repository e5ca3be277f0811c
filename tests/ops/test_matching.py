"""Matching and sampling with padding in every place."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from pointrend_jax.ops import matching as ops
from pointrend_jax.ops.boxes import box_iou

pytestmark = pytest.mark.usefixtures("strict_dtypes")


# Operation by operation they are some twenty programs each.
match_boxes = jax.jit(ops.match_boxes, static_argnames=("thresholds", "allow_low_quality"))
sample_by_priority = jax.jit(
    ops.sample_by_priority, static_argnames=("num_samples", "positive_fraction")
)


def _match(gt_valid: list[bool], *, low: bool):
    return match_boxes(
        BOXES, GT, boxes_valid=np.array([True, True, True, False]), gt_valid=np.array(gt_valid),
        thresholds=(0.3, 0.7), allow_low_quality=low,
    )  # fmt: skip


BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60], [0, 0, 10, 10]], np.float32)
GT = np.array([[0, 0, 10, 10], [48, 48, 80, 80]], np.float32)


def test_match_labels_by_the_two_thresholds() -> None:
    matches = _match([True, True], low=False)
    np.testing.assert_array_equal(matches.labels, [1, -1, 0, -1])


def test_low_quality_match_makes_the_best_box_of_every_object_positive() -> None:
    matches = _match([True, True], low=True)
    np.testing.assert_array_equal(matches.labels, [1, -1, 1, -1])
    assert np.asarray(matches.gt_index)[2] == 1


def test_padded_ground_truth_matches_nothing() -> None:
    matches = _match([False, False], low=True)
    np.testing.assert_array_equal(matches.labels, [0, 0, 0, -1])


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("low", [False, True])
def test_every_device_finds_the_first_of_the_best_ground_truths(
    low: bool, far: bool, trace_for: Callable[[str], None]
) -> None:
    rng = np.random.default_rng(0)
    # Corners on a grid, so that many overlaps are equal; some are those of no object at all.
    corner = rng.integers(0, 12, (900, 2)) * 4
    boxes = np.concatenate([corner, corner + rng.integers(1, 5, (900, 2)) * 4], 1).astype(
        np.float32
    )
    gt = np.concatenate([boxes[:20], boxes[5:15], boxes[:1] + 1000])
    boxes_valid, gt_valid = rng.uniform(size=900) < 0.9, rng.uniform(size=31) < 0.7
    # A ground truth that overlaps nothing has all boxes as its best, as in Detectron2.
    gt_valid[-1] = far
    overlap = np.where(gt_valid[:, None] & boxes_valid, jax.jit(box_iou)(gt, boxes), -1.0)
    best = overlap.max(axis=0)
    labels = np.select([best < 0.3, best < 0.7], [0, -1], 1)
    if low:
        best_of_gt = np.where(gt_valid, overlap.max(axis=1), np.inf)
        labels[np.any(overlap == best_of_gt[:, None], axis=0)] = 1
    assert far or set(labels[boxes_valid]) == {-1, 0, 1}
    labels[~boxes_valid] = -1
    for platform in ("cpu", "gpu", "tpu"):
        trace_for(platform)
        # A function of its own: what jax has traced already keeps its form.
        match = jax.jit(lambda *args, **valid: ops.match_boxes(
            *args, **valid, thresholds=(0.3, 0.7), allow_low_quality=low
        ))  # fmt: skip
        found = match(boxes, gt, boxes_valid=boxes_valid, gt_valid=gt_valid)
        np.testing.assert_array_equal(found.gt_index, overlap.argmax(axis=0))
        np.testing.assert_array_equal(found.labels, labels)


def test_sampling_puts_foreground_first_and_respects_the_fraction() -> None:
    foreground = np.array([True, False, True, True, False, False])
    priority = np.array([0.9, 0.1, 0.2, 0.3, 0.0, 0.5], np.float32)
    index, is_foreground, valid = sample_by_priority(
        foreground, ~foreground, priority, num_samples=4, positive_fraction=0.5
    )
    np.testing.assert_array_equal(index, [2, 3, 4, 1])
    np.testing.assert_array_equal(is_foreground, [True, True, False, False])
    assert np.all(valid)


@pytest.mark.parametrize("slots", [3, 8])
def test_sampling_marks_missing_candidates_invalid(slots: int) -> None:
    # There are as many slots as asked for, also if there are fewer candidates.
    foreground, nothing = np.array([False, True, False]), np.zeros(3, bool)
    index, is_foreground, valid = sample_by_priority(
        foreground, nothing, np.zeros(3, np.float32), num_samples=slots, positive_fraction=1.0
    )
    np.testing.assert_array_equal(valid, np.arange(slots) < 1)
    np.testing.assert_array_equal(is_foreground, valid)
    assert np.asarray(index)[0] == 1
