"""What is paired with what, and what confusion, sizes and qualities make of the pairs."""

import numpy as np
import pytest

from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.matches import MatchFinder, confusion_pairs, image_quality
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.structures import FEDERATED_LISTS
from tests.evaluation.scenes import annotation, ground_truth

DISC, BOX = 3, 7
NAMES = ("disc", "box")


def _strip(first: int, last: int) -> np.ndarray:
    """Ten rows of some columns, ten pixels each."""
    mask = np.zeros((60, 80), np.bool_)
    mask[10:20, first:last] = True
    return mask


def _finder(annotations: list[dict], lists: dict | None = None) -> MatchFinder:
    truth = ground_truth(annotations, 1)
    truth["images"][0] |= lists or {}
    return MatchFinder(load_ground_truth(truth))


def _found(finder: MatchFinder, *found: tuple[int, float, np.ndarray]) -> dict:
    """Details after one image. Args: found, category, score and mask of each detection."""
    categories, scores, masks = zip(*found, strict=True) if found else ((), (), ())
    finder.add(
        1,
        np.asarray(categories, np.int64),
        np.asarray(scores, np.float64),
        [encode_mask(mask) for mask in masks],
    )
    return finder.details(NAMES)


def _pairs(details: dict) -> dict:
    return {(p["true"], p["predicted"]): p["count"] for p in details["confusion"]["pairs"]}


_OBJECT = annotation(1, 1, DISC, _strip(10, 30))


@pytest.mark.parametrize(
    ("found", "pairs", "quality"),
    [
        ([], {("disc", None): 1}, 0.0),
        ([(DISC, 0.9, _strip(10, 30))], {("disc", "disc"): 1}, 1.0),
        # 15 of 20 columns.
        ([(DISC, 0.5, _strip(10, 25))], {("disc", "disc"): 1}, 0.75),
        ([(DISC, 0.49, _strip(10, 30))], {("disc", None): 1}, 0.0),
        ([(BOX, 0.9, _strip(10, 30))], {("disc", "box"): 1}, 0.0),
        # 9 of 20 columns: no match.
        ([(DISC, 0.9, _strip(10, 19))], {("disc", None): 1, (None, "disc"): 1}, 0.0),
        # The better of two takes it, though the other overlaps more.
        (
            [(DISC, 0.8, _strip(10, 30)), (DISC, 0.9, _strip(10, 25))],
            {("disc", "disc"): 1, (None, "disc"): 1},
            0.75 / 1.5,
        ),
    ],
    ids=["nothing", "exact", "part", "unsure", "other class", "too little", "twice"],
)
def test_detections_are_paired_with_objects_or_background(
    found: list, pairs: dict, quality: float
) -> None:
    finder = _finder([_OBJECT])
    details = _found(finder, *found)
    assert _pairs(details) == pairs
    assert details["confusion"]["classes"] == ["disc", "box"]
    assert finder.qualities() == {1: pytest.approx(quality)}


def test_an_object_of_another_class_is_taken_before_one_is_called_false() -> None:
    """Each takes what it overlaps most, whatever its class."""
    finder = _finder([_OBJECT, annotation(2, 1, BOX, _strip(10, 28))])
    details = _found(finder, (DISC, 0.9, _strip(10, 28)), (DISC, 0.8, _strip(10, 28)))
    assert _pairs(details) == {("box", "disc"): 1, ("disc", "disc"): 1}
    # One hit of IoU 18 / 20 among two objects and two detections.
    assert finder.qualities()[1] == pytest.approx(2 * 0.9 / 4)


@pytest.mark.parametrize(
    ("category", "pairs"), [(DISC, {}), (BOX, {(None, "box"): 1})], ids=["its class", "another"]
)
def test_what_lies_on_a_crowd_of_its_class_is_left_out(category: int, pairs: dict) -> None:
    crowd = annotation(1, 1, DISC, _strip(10, 60), iscrowd=1)
    details = _found(_finder([crowd]), (category, 0.9, _strip(20, 30)))
    assert _pairs(details) == pairs
    assert sum(details["sizes"]["objects"]) == 0


@pytest.mark.parametrize(
    ("absent", "may_have_more", "pairs"),
    [
        ([BOX], [], {(None, "box"): 1, (None, "disc"): 1}),
        ([], [], {(None, "disc"): 1}),
        ([], [DISC], {}),
    ],
    ids=["absent", "not known", "not all annotated"],
)
def test_in_a_federated_set_only_what_is_known_to_be_wrong_is_false(
    absent: list, may_have_more: list, pairs: dict
) -> None:
    lists = dict(zip(FEDERATED_LISTS, (absent, may_have_more), strict=True))
    found = [(DISC, 0.9, _strip(10, 30))]
    found += [(category, 0.8, _strip(50, 60)) for category in (DISC, BOX)]
    details = _found(_finder([_OBJECT], lists), *found)
    assert _pairs(details) == {("disc", "disc"): 1} | pairs


def test_sizes_are_sides_of_squares_of_the_same_area() -> None:
    # 200 and 490 pixels: sides of 14.1 and 22.1; the second is not found.
    objects = [_OBJECT, annotation(2, 1, BOX, _strip(31, 80))]
    sizes = _found(_finder(objects), (DISC, 0.9, _strip(10, 30)))["sizes"]
    bins = zip(sizes["sides"], sizes["objects"], sizes["found"], strict=True)
    assert [entry for entry in bins if entry[1]] == [(8, 1, 1), (16, 1, 0)]


def test_an_image_of_nothing_has_no_quality_and_none_added_give_no_details() -> None:
    finder = _finder([])
    assert finder.details(NAMES) == {}
    _found(finder)
    assert finder.qualities() == {}
    assert image_quality(finder.parts[1], len(NAMES)) is None


def test_images_of_two_processes_are_counted_once_each() -> None:
    finder, other = _finder([_OBJECT]), _finder([_OBJECT])
    _found(other, (DISC, 0.9, _strip(10, 30)))
    finder.merge(other.parts)
    assert _pairs(finder.details(NAMES)) == {("disc", "disc"): 1}
    with pytest.raises(ValueError, match="1 entries were added twice"):
        finder.merge(other.parts)


def test_pairs_that_do_not_occur_are_not_listed() -> None:
    counts = {(1, 0): 0, (0, 2): 3}
    assert confusion_pairs(counts, NAMES) == [{"true": "disc", "predicted": None, "count": 3}]
