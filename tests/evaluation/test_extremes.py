"""The best and the worst images: which, in what order, and what is kept of them."""

from itertools import permutations

import numpy as np
import pytest

from pointrend_jax.evaluation.extremes import KeptMaps, extremes, extremes_in_words

QUALITIES = {5: 0.5, 2: 0.9, 9: 0.1, 4: 0.9, 7: 0.3}


@pytest.mark.parametrize(
    ("number", "best", "worst"),
    [(1, (2,), (9,)), (2, (2, 4), (9, 7)), (4, (2, 4, 5), (9, 7))],
)
def test_no_image_is_among_both(number: int, best: tuple, worst: tuple) -> None:
    assert extremes(QUALITIES, number) == (best, worst)


def test_of_no_image_there_are_none() -> None:
    assert extremes({}) == ((), ())


def test_they_are_told_with_their_names() -> None:
    images = extremes_in_words({3: 0.25, 8: 1 / 3}, "image {}".format, "a measure")["images"]
    assert images == {
        "measure": "a measure",
        "scored": 2,
        "best": [{"id": 8, "name": "image 8", "quality": 0.3333}],
        "worst": [{"id": 3, "name": "image 3", "quality": 0.25}],
    }


def test_what_is_kept_does_not_depend_on_the_order_of_the_images() -> None:
    for order in permutations(QUALITIES):
        kept = KeptMaps(1)
        for image_id in order:
            kept.offer(image_id, QUALITIES[image_id], np.full((2, 2), image_id, np.uint8))
        assert sorted(kept.parts) == [2, 9]
        assert kept[9].tolist() == [[9, 9], [9, 9]]


def test_a_kept_map_holds_no_batch_in_memory() -> None:
    batch, kept = np.zeros((8, 100, 100), np.uint8), KeptMaps()
    kept.offer(1, 0.5, batch[3, :10, :10])
    assert kept[1].base is None


def test_maps_of_two_processes_are_kept_by_the_same_rule() -> None:
    first, second = KeptMaps(1), KeptMaps(1)
    for kept, ids in ((first, (5, 2)), (second, (9, 4, 7))):
        for i in ids:
            kept.offer(i, QUALITIES[i], np.full((1, 1), i, np.uint8))
    first.merge(second.parts)
    assert sorted(first.parts) == [2, 9]
    with pytest.raises(ValueError, match="added twice"):
        first.merge(second.parts)
