"""Slots for objects: enough for every batch, fewer than the richest image has, of few sizes."""

import numpy as np
import pytest

from pointrend_jax.data.batches.object_slots import choose_slot_sizes, slots_for


@pytest.mark.parametrize(
    ("num_objects", "batch_size", "sizes"),
    [
        # By hand: (0.9 x 8 + 0.1 x 20) slots on average instead of 20.
        ([1] * 9 + [20], 1, (8, 20)),
        # Nearly every batch has the rich image.
        ([1] * 9 + [20], 32, (20,)),
        # Nothing to be saved.
        ([20] * 10, 1, (20,)),
        ([7, 1, 3], 1, (7,)),
        ([0, 0], 4, (1,)),
        # By hand: 23.4 slots on average, with two sizes 37.8.
        ([1] * 60 + [30] * 30 + [90] * 10, 1, (8, 32, 90)),
        # 16 would save another tenth, which is not worth its programs.
        ([1] * 10 + [10] * 10 + [20] * 10 + [90] * 10, 1, (24, 90)),
    ],
)
def test_sizes_are_those_that_save_most(
    num_objects: list[int], batch_size: int, sizes: tuple[int, ...]
) -> None:
    assert choose_slot_sizes(num_objects, batch_size, 2**24) == sizes


def test_small_masks_are_not_worth_another_program() -> None:
    assert choose_slot_sizes([1] * 60 + [90], 16, 96 * 96 // 8) == (90,)


def test_batches_drawn_at_random_have_fewer_slots_than_the_richest_image() -> None:
    rng = np.random.default_rng(0)
    # As in COCO: seven objects on average, and an image of 93.
    num_objects = np.append(np.minimum(rng.geometric(1 / 7, 10_000), 92), 93)
    sizes = choose_slot_sizes(num_objects.tolist(), 16, 1344 * 1344 // 8)
    richest = rng.choice(num_objects, (500, 16)).max(axis=1)
    slots = [slots_for(int(number), sizes) for number in richest]
    assert sizes[-1] == 93
    assert (np.array(slots) >= richest).all()
    assert np.mean(slots) < 93 / 2
