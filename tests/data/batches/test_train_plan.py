"""Every image is planned equally often, tall and wide ones apart, and a run resumes exactly."""

from collections import Counter

import pytest

from pointrend_jax.data.batches.train_plan import Augmentation, TrainPlan
from pointrend_jax.data.batches.transforms import training_canvases
from tests.data.plans import check_is_decided_by_seed_and_position

_BUCKETS = ((32, 64), (64, 32))
_CHOICES = Augmentation(min_sizes=(20, 28), max_size=64, flip_probability=0.5, buckets=_BUCKETS)
# Four wide images, a square one, and two tall ones.
_SIZES = ((20, 40), (40, 20), (30, 30), (20, 36), (36, 20), (20, 40), (20, 44))
_TALL = {1, 4}


def _plan(batch_size: int = 2, seed: int = 0, choices: Augmentation = _CHOICES) -> TrainPlan:
    return TrainPlan(_SIZES, range(len(_SIZES)), choices, batch_size=batch_size, seed=seed)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_images_are_seen_equally_often_and_whole_batches_of_one_orientation(batch_size: int):
    plan, epochs = _plan(batch_size), 48
    batches = [plan[i] for i in range(plan.first_batch(epochs))]
    counts = Counter(image.record for batch in batches for image in batch.images)
    # All of so many epochs, and what fills the last batch of each orientation is of the next.
    for records in (_TALL, set(range(len(_SIZES))) - _TALL):
        seen = [counts[record] for record in records]
        assert min(seen) >= epochs
        assert sum(seen) - epochs * len(records) == -epochs * len(records) % batch_size
    for batch in batches:
        assert len(batch.images) == batch_size
        assert len({image.record in _TALL for image in batch.images}) == 1
        assert batch.bucket in _BUCKETS


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_an_image_of_an_epoch_comes_once(batch_size: int):
    plan = _plan(batch_size)
    batches = [plan[i] for i in range(plan.first_batch(48))]
    images = [(image.epoch, image.record) for batch in batches for image in batch.images]
    assert len(images) == len(set(images))


def test_epochs_follow_one_another_without_a_gap():
    plan = _plan(3)
    assert [plan.first_batch(epoch) for epoch in range(4)] == [0, 3, 6, 7]
    # Five wide images are two batches and two tall ones one, with four of the next epoch.
    epochs = [{image.epoch for image in plan[i].images} for i in range(7)]
    assert set.union(*epochs[:3]) == {0, 1}
    assert {0} in epochs[:3]


def test_a_set_of_one_orientation_has_its_epochs_in_whole_batches():
    plan = TrainPlan([(20, 40)] * 6, range(6), _CHOICES, batch_size=3, seed=0)
    for epoch in range(3):
        batches = [plan[2 * epoch + i] for i in range(2)]
        assert sorted(i.record for batch in batches for i in batch.images) == list(range(6))


def test_what_is_left_of_several_buckets_of_an_orientation_shares_a_canvas():
    buckets = ((32, 64), (64, 96), (96, 64))
    plan = _plan(4, choices=_CHOICES._replace(min_sizes=(20, 40), max_size=80, buckets=buckets))
    batches = [plan[i] for i in range(plan.first_batch(40))]
    wide = [batch for batch in batches if batch.images[0].record not in _TALL]
    assert {batch.bucket for batch in wide} == {(32, 64), (64, 96)}
    heights = [{image.image_hw[0] > 32 for image in batch.images} for batch in wide]
    assert {len(of_batch) for of_batch in heights} == {1, 2}


def test_neither_of_two_wide_buckets_may_hold_what_is_left_of_both():
    buckets = ((32, 96), (64, 64))
    choices = Augmentation((32, 64), 96, 0.0, buckets)
    sizes = [(30, 90)] * 3 + [(60, 60)] * 3
    plan = TrainPlan(sizes, range(6), choices, batch_size=4, seed=0)
    seen = {plan[i].bucket for i in range(plan.first_batch(20))}
    assert seen == set(training_canvases(buckets)) == {*buckets, (64, 96)}


def test_every_image_fits_the_bucket_of_its_batch():
    plan = _plan()
    for i in range(20):
        for image in plan[i].images:
            assert image.image_hw[0] <= plan[i].bucket[0]
            assert image.image_hw[1] <= plan[i].bucket[1]


def test_a_batch_is_decided_by_seed_and_position_alone():
    check_is_decided_by_seed_and_position(lambda seed: _plan(seed=seed))


def test_an_image_that_fits_no_bucket_is_an_error_at_set_up():
    with pytest.raises(ValueError, match="fits none of"):
        TrainPlan(
            [(20, 40), (20, 200)], [0, 1], _CHOICES._replace(max_size=400), batch_size=1, seed=0
        )
