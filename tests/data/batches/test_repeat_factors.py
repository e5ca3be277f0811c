"""Images of rare categories are repeated as often as the formula says, in epochs of one length."""

from collections import Counter

import numpy as np
import pytest

from pointrend_jax.data.batches.repeat_factors import (
    image_repeat_factors,
    most_images,
    repeat_counts,
)
from pointrend_jax.data.batches.train_plan import Augmentation, TrainPlan
from tests.data.plans import check_is_decided_by_seed_and_position

_CHOICES = Augmentation((20, 28), 64, 0.5, ((32, 64), (64, 32), (64, 64)))


def test_factor_is_that_of_the_rarest_category() -> None:
    # Class 0 is in all four images, class 1 in two, class 2 in one.
    labels = [[0, 0], [0, 1], [0, 1, 2], [0]]
    # At 1: sqrt(1 / 1), sqrt(1 / 0.5), sqrt(1 / 0.25).
    np.testing.assert_allclose(image_repeat_factors(labels, 1.0), [1, 2**0.5, 2, 1], rtol=1e-15)
    # At half only class 2 is below the threshold.
    np.testing.assert_allclose(image_repeat_factors(labels, 0.5), [1, 1, 2**0.5, 1], rtol=1e-15)


def test_a_category_counts_once_an_image() -> None:
    labels = [[5, 5, 5], [], [], []]
    np.testing.assert_allclose(image_repeat_factors(labels, 1.0), [2, 1, 1, 1], rtol=1e-15)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_threshold_that_is_no_share_is_an_error(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"config\.data\.repeat_threshold must be a share"):
        image_repeat_factors([[0]], threshold)


def test_whole_factors_are_not_rounded() -> None:
    counts = repeat_counts(np.asarray([1.0, 3.0, 2.0]), np.random.default_rng(0))
    assert counts.tolist() == [1, 3, 2]


def test_counts_are_the_factors_on_average_in_epochs_of_one_length() -> None:
    factors = np.asarray([1.0, 1.5, 2.25, 1.1, 3.9, 1.0, 1.25, 1.75])
    rng = np.random.default_rng(0)
    counts = np.stack([repeat_counts(factors, rng) for _ in range(4000)])
    assert ((counts == np.floor(factors)) | (counts == np.ceil(factors))).all()
    assert most_images(factors) == 14
    assert set(counts.sum(1).tolist()) == {13, 14}
    # 4000 draws: a standard error of 0.008 at most.
    np.testing.assert_allclose(counts.mean(0), factors, atol=0.03)


def test_any_two_images_may_be_rounded_up_in_one_epoch() -> None:
    rng = np.random.default_rng(0)
    counts = np.stack([repeat_counts(np.full(4, 1.5), rng) for _ in range(2000)])
    # Two of four, every other one in a random order: a third of the pairs, in half of the epochs.
    for i, j in ((0, 1), (1, 2), (0, 3)):
        both = (counts[:, i] == 2) & (counts[:, j] == 2)
        assert both.mean() == pytest.approx(1 / 6, abs=0.03)


def _plan(factors: list[float] | None, batch_size: int = 4, seed: int = 0) -> TrainPlan:
    number = 10 if factors is None else len(factors)
    sizes = [(20, 40), (40, 20), (30, 30)] * number
    repeats = None if factors is None else np.asarray(factors)
    return TrainPlan(
        sizes[:number],
        range(100, 100 + number),
        _CHOICES,
        batch_size=batch_size,
        seed=seed,
        repeat_factors=repeats,
    )


def _counts(plan: TrainPlan, epochs: int) -> list[Counter]:
    """How often each of the first epochs has each record."""
    batches = [plan[i] for i in range(plan.first_batch(epochs))]
    assert all(len(batch.images) == plan.batch_size for batch in batches)
    counts = [Counter() for _ in range(epochs)]
    for image in (image for batch in batches for image in batch.images):
        if image.epoch < epochs:
            counts[image.epoch][image.record] += 1
    return counts


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_an_epoch_of_the_plan_repeats_rare_images(batch_size: int) -> None:
    # 12.5 images, three of them of tall ones: an epoch has 12 or 13, and one that is short repeats
    # its first image.
    plan = _plan([1.0] * 8 + [1.5, 3.0], batch_size)
    halves = []
    for counts in _counts(plan, 40):
        assert all(counts[100 + i] >= 1 for i in range(8))
        assert counts[109] >= 3
        assert counts[108] >= 1
        assert counts.total() == 13
        halves.append(counts[108])
    assert len(set(halves)) > 1


def test_repeats_of_an_image_are_sized_and_flipped_each_by_itself() -> None:
    plan = _plan([1.0, 12.0], batch_size=1)
    images = [plan[i].images[0] for i in range(plan.first_batch(1))]
    repeated = {image for image in images if image.record == 101}
    assert len(repeated) == 4  # two sizes, flipped or not


def test_a_batch_is_decided_by_seed_and_position_alone() -> None:
    factors = [1.0, 1.5, 2.3, 1.0, 1.7]
    check_is_decided_by_seed_and_position(lambda seed: _plan(factors, seed=seed))
