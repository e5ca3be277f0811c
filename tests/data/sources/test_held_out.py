"""A set with training images only is divided: every image once, the same ones every time."""

from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.data.sources.annotations import CocoObject
from pointrend_jax.data.sources.folders import StoredFile
from pointrend_jax.data.sources.held_out import held_out_part
from pointrend_jax.data.sources.label_set import SemanticImage, SemanticSet
from pointrend_jax.data.sources.object_set import CocoImage, CocoSet, FoundObjects

_SQUARE = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]


def _objects(names: list[str]) -> FoundObjects:
    thing = CocoObject(1, (1, 1, 5, 5), (1, 1, 4, 4), 0, [_SQUARE], False, 16.0)
    images = tuple(
        CocoImage(i, StoredFile(Path(name)), 8, 8, (thing,)) for i, name in enumerate(names, 1)
    )
    return FoundObjects(CocoSet(images, (1,), ("a",), {"odd": 2}, remarks=("told",)), Path("x"))


def _names(found: FoundObjects) -> list[str]:
    return [image.file.name for image in found.dataset.images]


_HUNDRED = [f"{i:03d}.jpg" for i in range(100)]


@pytest.mark.parametrize(("share", "number"), [(0.1, 10), (0.004, 1), (0.25, 25), (0.999, 99)])
def test_the_two_splits_have_every_image_once(share: float, number: int):
    found = _objects(_HUNDRED)
    train, held_out = (held_out_part(found, split, share, 0) for split in ("train", "eval"))
    assert len(held_out.dataset.images) == number
    assert sorted(_names(train) + _names(held_out)) == _HUNDRED


def test_the_order_of_the_file_does_not_matter_and_the_seed_does():
    one = _names(held_out_part(_objects(_HUNDRED), "eval", 0.2, 0))
    turned = _names(held_out_part(_objects(_HUNDRED[::-1]), "eval", 0.2, 0))
    other = _names(held_out_part(_objects(_HUNDRED), "eval", 0.2, 1))
    assert one == turned[::-1]
    assert set(one) != set(other)


def test_an_image_that_is_added_later_moves_at_most_one_other():
    before = set(_names(held_out_part(_objects(_HUNDRED), "eval", 0.2, 0)))
    after = set(_names(held_out_part(_objects([*_HUNDRED, "new.jpg"]), "eval", 0.2, 0)))
    assert len(before - after) <= 1


def test_findings_of_the_file_are_told_once():
    train, held_out = (held_out_part(_objects(_HUNDRED), s, 0.2, 0) for s in ("train", "eval"))
    assert (train.dataset.skipped, train.dataset.remarks) == ({"odd": 2}, ("told",))
    assert (held_out.dataset.skipped, held_out.dataset.remarks) == ({}, ())


def test_label_maps_are_divided_as_well():
    file = StoredFile(Path("x"))
    images = tuple(SemanticImage(name, file, file, None, 4, 4) for name in _HUNDRED)
    found = SemanticSet(images, ("a", "b"), {0: 0, 1: 1}, ())
    parts = [held_out_part(found, split, 0.3, 0) for split in ("train", "eval")]
    assert [len(part.images) for part in parts] == [70, 30]
    assert len(np.unique([image.name for part in parts for image in part.images])) == 100


def test_a_single_image_cannot_be_divided():
    with pytest.raises(ValueError, match="a set of one image can be trained on or evaluated on"):
        held_out_part(_objects(["a.jpg"]), "eval", 0.5, 0)
