"""True masks become worse as tools make them, never empty, and the same for the same numbers."""

import numpy as np
import pytest

from pointrend_jax.masks.boundary import boundary_iou
from pointrend_jax.masks.degrade import KINDS, box_of, degrade


def _disc(radius: int = 40) -> np.ndarray:
    y, x = np.mgrid[:200, :240]
    return (x - 120) ** 2 + (y - 90) ** 2 <= radius**2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_worse_than_the_true_mask_and_still_of_the_object(kind: str) -> None:
    truth = _disc()
    before = truth.copy()
    worse = degrade(truth, kind, np.random.default_rng(0))
    assert worse.dtype == bool
    np.testing.assert_array_equal(truth, before)
    overlap = (worse & truth).sum() / (worse | truth).sum()
    assert overlap > 0.7
    assert (boundary_iou(worse, truth) == 1) == (kind == "true")
    np.testing.assert_array_equal(worse, degrade(truth, kind, np.random.default_rng(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_in_memory_changes_nothing(kind: str) -> None:
    rows, columns = (
        degrade(m, kind, np.random.default_rng(1)) for m in (_disc(), _disc().copy("F"))
    )
    np.testing.assert_array_equal(rows, columns)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_without_a_pixel(kind: str) -> None:
    for at in ((0, 0), (7, 3), (99, 149)):
        mask = np.zeros((100, 150), bool)
        mask[at] = True
        for seed in range(5):
            assert degrade(mask, kind, np.random.default_rng(seed)).any()


def test_kinds_do_what_they_are_called() -> None:
    truth, rng = _disc(), np.random.default_rng(3)
    assert degrade(truth, "dilated", rng)[truth].all()
    eroded = degrade(truth, "eroded", rng)
    assert truth[eroded].all()
    lost = degrade(truth, "part lost", rng)
    assert truth[lost].all()
    assert lost.sum() < truth.sum()
    x0, y0, x1, y1 = box_of(truth)
    assert (x0, y0, x1, y1) == (80, 50, 161, 131)
    box = degrade(truth, "box", rng)
    assert box[y0:y1, x0:x1].all()
    assert box.sum() == 81 * 81
