"""Federated evaluation: its rules on objects that can be counted by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.lvis import (
    LVIS_STAT_NAMES,
    is_federated,
    lvis_evaluator,
    lvis_scores,
)
from pointrend_jax.masks.rle import encode_mask
from tests.evaluation.scenes import annotation, detection, ellipse
from tests.evaluation.scenes import ground_truth as coco_ground_truth

DISC = ellipse((30, 30), (20, 20))
SMALLER_DISC = ellipse((30, 30), (18, 18))
ELSEWHERE = ellipse((65, 50), (8, 8))
_RARE, _COMMON, _FREQUENT = 3, 7, 9


def _truth(
    annotations: list[dict], *, negative: list[int], not_exhaustive: list[int], num_images: int = 1
) -> dict[str, Any]:
    """Image 1 has the lists; the others, if any, have empty ones."""
    truth = coco_ground_truth(annotations, num_images)
    for image in truth["images"]:
        first = image["id"] == 1
        image["neg_category_ids"] = negative if first else []
        image["not_exhaustive_category_ids"] = not_exhaustive if first else []
    truth["categories"] = [
        {"id": _RARE, "name": "disc", "frequency": "r"},
        {"id": _COMMON, "name": "box", "frequency": "c"},
        {"id": _FREQUENT, "name": "star", "frequency": "f"},
    ]
    return truth


def _scores(truth: dict[str, Any], found: list[dict], kind: Any = "mask") -> dict:
    return lvis_scores(load_ground_truth(truth), found, kind).statistics


def _disc(*, negative: Sequence[int] = (), not_exhaustive: Sequence[int] = ()) -> dict[str, Any]:
    return _truth(
        [annotation(1, 1, _RARE, DISC)],
        negative=list(negative),
        not_exhaustive=list(not_exhaustive),
    )


def test_statistics_are_those_of_lvis_by_name() -> None:
    scores = _scores(_disc(), [detection(1, _RARE, DISC, 0.9)])
    assert tuple(scores) == LVIS_STAT_NAMES
    # Only a rare object, of medium size, is to be found.
    found = {name for name, value in scores.items() if value is not None}
    assert found == {*("ap", "ap50", "ap75", "ap_medium", "ap_rare", "ar300", "ar_medium")}
    assert [scores[name] for name in found] == pytest.approx([1] * len(found))


def test_false_detection_costs_where_its_category_has_objects() -> None:
    found = [detection(1, _RARE, ELSEWHERE, 0.9), detection(1, _RARE, DISC, 0.8)]
    assert _scores(_disc(), found)["ap"] == pytest.approx(0.5)


def test_false_detection_is_ignored_where_objects_may_be_missing() -> None:
    found = [detection(1, _RARE, ELSEWHERE, 0.9), detection(1, _RARE, DISC, 0.8)]
    assert _scores(_disc(not_exhaustive=[_RARE]), found)["ap"] == pytest.approx(1)


def test_match_counts_where_objects_may_be_missing() -> None:
    scores = _scores(_disc(not_exhaustive=[_RARE]), [detection(1, _RARE, SMALLER_DISC, 0.8)])
    # IoU 0.81: thresholds 0.5 to 0.8.
    assert scores["ap"] == pytest.approx(0.7)


@pytest.mark.parametrize(("negative", "expected"), [([], 1.0), ([_RARE], 0.5)])
def test_category_without_objects_counts_only_where_it_is_negative(
    negative: list[int], expected: float
) -> None:
    # The disc is on image 2, and image 1 has a detection of one.
    truth = _truth(
        [annotation(1, 2, _RARE, DISC)], negative=negative, not_exhaustive=[], num_images=2
    )
    found = [detection(1, _RARE, DISC, 0.9), detection(2, _RARE, DISC, 0.8)]
    assert _scores(truth, found)["ap"] == pytest.approx(expected)


def test_frequencies_are_averaged_apart() -> None:
    annotations = [
        annotation(1, 1, _RARE, DISC),
        annotation(2, 1, _COMMON, DISC),
        annotation(3, 1, _FREQUENT, DISC),
    ]
    truth = _truth(annotations, negative=[], not_exhaustive=[])
    found = [detection(1, _RARE, DISC, 0.9), detection(1, _COMMON, SMALLER_DISC, 0.9)]
    scores = _scores(truth, found)
    by_frequency = [scores[name] for name in ("ap_rare", "ap_common", "ap_frequent")]
    assert by_frequency == pytest.approx([1.0, 0.7, 0.0])
    assert scores["ap"] == pytest.approx(1.7 / 3)


@pytest.mark.parametrize(("better", "expected"), [(299, 1.0), (300, 0.0)])
def test_an_image_has_300_detections_of_all_categories_together(
    better: int, expected: float
) -> None:
    # Their category does not count on this image, but fills it.
    found = [detection(1, _COMMON, ELSEWHERE, 0.9) for _ in range(better)]
    assert _scores(_disc(), [detection(1, _RARE, DISC, 0.8), *found])["ap"] == pytest.approx(
        expected
    )


@pytest.mark.parametrize("kind", ["mask", "boundary", "box"])
def test_empty_detection_is_left_out(kind: str) -> None:
    empty = detection(1, _RARE, np.zeros_like(DISC), 0.9)
    assert _scores(_disc(), [empty, detection(1, _RARE, DISC, 0.8)], kind)["ap"] == pytest.approx(1)


def test_object_of_no_area_is_left_out_with_its_detections() -> None:
    # As in the `lvis` package: its category is then neither present on image 2 nor absent from it.
    annotations = [annotation(1, 1, _RARE, DISC), annotation(2, 2, _RARE, DISC, area=0)]
    truth = _truth(annotations, negative=[], not_exhaustive=[], num_images=2)
    found = [detection(2, _RARE, ELSEWHERE, 0.9), detection(1, _RARE, DISC, 0.8)]
    assert _scores(truth, found)["ap"] == pytest.approx(1)


def test_boundary_counts_the_smaller_overlap() -> None:
    found = [detection(1, _RARE, SMALLER_DISC, 0.8)]
    assert _scores(_disc(), found, "mask")["ap"] == pytest.approx(0.7)
    # A band of 2 pixels has nothing in common with one that begins 2 pixels further in.
    assert _scores(_disc(), found, "boundary")["ap"] == 0


def test_size_of_a_detection_goes_by_its_mask() -> None:
    # A false ring: small by its mask and not by its box, so it costs among small objects.
    ring = DISC & ~ellipse((30, 30), (17, 17))
    truth = _truth([annotation(1, 1, _RARE, ring)], negative=[], not_exhaustive=[])
    found = [detection(1, _RARE, np.roll(ring, 20, axis=1), 0.9), detection(1, _RARE, ring, 0.8)]
    assert _scores(truth, found)["ap_small"] == pytest.approx(0.5)


def test_evaluator_scores_rendered_coarse_and_boxes_apart() -> None:
    evaluator = lvis_evaluator(_disc(negative=[_COMMON]))
    masks = [encode_mask(DISC)], [encode_mask(SMALLER_DISC)]
    box = np.asarray([[9.5, 9.5, 50.5, 50.5]])
    evaluator.add(1, box, np.asarray([0.9]), np.asarray([_RARE]), *masks)
    results = evaluator.results()
    assert list(results["rendered"]) == [
        f"{kind}_{name}" for kind in ("mask", "boundary") for name in LVIS_STAT_NAMES
    ]
    assert results["rendered"]["mask_ap_rare"] == pytest.approx(1)
    assert results["coarse"]["mask_ap"] == pytest.approx(0.7)
    assert results["coarse"]["boundary_ap"] == 0
    assert results["box"]["box_ar300"] == pytest.approx(1)


def test_chosen_images_are_scored_alone() -> None:
    annotations = [annotation(1, 1, _RARE, DISC), annotation(2, 2, _RARE, DISC)]
    truth = _truth(annotations, negative=[], not_exhaustive=[], num_images=2)
    found = [detection(1, _RARE, DISC, 0.9)]
    scores = lvis_scores(load_ground_truth(truth), found, "mask", image_ids=[1]).statistics
    assert scores["ap"] == pytest.approx(1)
    assert _scores(truth, found)["ap"] == pytest.approx(51 / 101)


def test_no_detections_give_zero() -> None:
    scores = _scores(_disc(), [])
    assert (scores["ap"], scores["ar300"], scores["ap_common"]) == (0, 0, None)


def test_detection_on_an_unknown_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images \[4\], not in the ground truth"):
        _scores(_disc(), [detection(4, _RARE, DISC, 0.9)])


def test_evaluation_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _scores(_disc(), [detection(1, _RARE, DISC, 0.9)])
    assert capsys.readouterr().out == ""


def test_annotations_of_coco_are_not_federated() -> None:
    assert is_federated(_disc())
    coco = coco_ground_truth([annotation(1, 1, 3, DISC)], 1)
    assert not is_federated(coco)
    with pytest.raises(ValueError, match=r'must have the "frequency".*first is category 3: None'):
        lvis_evaluator(coco)


# (what is wrong, its change of the annotations, what the message says)
_ERRORS = [
    (
        "unknown negative",
        {"neg_category_ids": [4]},
        r'entries of "neg_category_ids" are no category.* image 1: 4',
    ),
    (
        "no list",
        {"not_exhaustive_category_ids": None},
        'the list "not_exhaustive_category_ids"; 1 have none, the first is image 1',
    ),
    ("unknown frequency", {"frequency": "x"}, "first is category 3: 'x'"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_annotations_that_cannot_be_scored_are_an_error(
    changes: dict[str, Any], message: str
) -> None:
    truth = _disc()
    changed = truth["categories"] if "frequency" in changes else truth["images"]
    changed[0].update(changes)
    with pytest.raises(ValueError, match=message):
        lvis_evaluator(truth)
