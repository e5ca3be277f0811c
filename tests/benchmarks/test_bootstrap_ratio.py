"""A ratio of sums over objects, whose images are drawn again together."""

import numpy as np
import pytest

from benchmarks.bootstrap_ratio import Interval, paired_ratio


def test_the_ratio_is_that_of_the_sums_and_lies_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    images, below = rng.integers(0, 40, 200), rng.uniform(0.5, 1.5, 200)
    above = 0.3 * below + rng.normal(0, 0.02, 200)
    found = paired_ratio(above, below, images)
    assert found.value == pytest.approx(above.sum() / below.sum())
    assert 0.28 < found.low < found.value < found.high < 0.32


def test_objects_of_one_image_are_drawn_together() -> None:
    # Two images, one all gain and one all loss: a resample has one, the other, or both.
    above, below = np.repeat([1.0, -1.0], 50), np.ones(100)
    found = paired_ratio(above, below, np.repeat([7, 9], 50))
    assert found == Interval(0.0, -1.0, 1.0)


def test_nothing_to_remove_has_no_share() -> None:
    found = paired_ratio(np.zeros(4), np.zeros(4), np.arange(4))
    assert np.isnan(found).all()
