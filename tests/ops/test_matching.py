"""Matching and sampling with padding in every place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.matching import match_boxes, sample_by_priority

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def _match(boxes: jax.Array, gt: jax.Array, gt_valid: list[bool], *, low: bool):
    return match_boxes(
        boxes, gt, boxes_valid=jnp.array([True, True, True, False]), gt_valid=jnp.array(gt_valid),
        thresholds=(0.3, 0.7), allow_low_quality=low,
    )  # fmt: skip


BOXES = jnp.array([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60], [0, 0, 10, 10]], jnp.float32)
GT = jnp.array([[0, 0, 10, 10], [48, 48, 80, 80]], jnp.float32)


def test_match_labels_by_the_two_thresholds() -> None:
    matches = _match(BOXES, GT, [True, True], low=False)
    np.testing.assert_array_equal(matches.labels, [1, -1, 0, -1])


def test_low_quality_match_makes_the_best_box_of_every_object_positive() -> None:
    matches = _match(BOXES, GT, [True, True], low=True)
    np.testing.assert_array_equal(matches.labels, [1, -1, 1, -1])
    assert matches.gt_index[2] == 1


def test_padded_ground_truth_matches_nothing() -> None:
    matches = _match(BOXES, GT, [False, False], low=True)
    np.testing.assert_array_equal(matches.labels, [0, 0, 0, -1])


def test_sampling_puts_foreground_first_and_respects_the_fraction() -> None:
    foreground = jnp.array([True, False, True, True, False, False])
    priority = jnp.array([0.9, 0.1, 0.2, 0.3, 0.0, 0.5])
    index, is_foreground, valid = sample_by_priority(
        foreground, ~foreground, priority, num_samples=4, positive_fraction=0.5
    )
    np.testing.assert_array_equal(index, [2, 3, 4, 1])
    np.testing.assert_array_equal(is_foreground, [True, True, False, False])
    assert valid.all()


@pytest.mark.parametrize("slots", [3, 8])
def test_sampling_marks_missing_candidates_invalid(slots: int) -> None:
    # There are as many slots as asked for, also if there are fewer candidates.
    foreground = jnp.array([False, True, False])
    nothing = jnp.zeros(3, bool)
    index, is_foreground, valid = sample_by_priority(
        foreground, nothing, jnp.zeros(3), num_samples=slots, positive_fraction=1.0
    )
    np.testing.assert_array_equal(valid, np.arange(slots) < 1)
    np.testing.assert_array_equal(is_foreground, valid)
    assert index[0] == 1
