"""How detections of two runs of one model are matched."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from benchmarks.half_precision import matched, overlaps


def _found(left: int, score: float, image: int = 1) -> dict[str, Any]:
    """A square of 10 pixels."""
    mask = np.zeros((20, 40), np.uint8, order="F")
    mask[5:15, left : left + 10] = 1
    run = coco_mask.encode(mask)
    counts = run["counts"]
    return {
        "image_id": image, "category_id": 1, "score": score, "bbox": [left, 5, 10, 10],
        "segmentation": {"size": [20, 40], "counts": counts},
    }  # fmt: skip


def test_each_has_one_partner_of_its_image_and_the_best_comes_first():
    one = [_found(0, 0.9), _found(2, 0.8), _found(20, 0.7), _found(0, 0.6, image=2)]
    other = [_found(1, 0.8), _found(2, 0.75), _found(20, 0.7)]
    found = matched(one, other, 0.5)
    assert found.number == 7
    # The one of the second image has no partner.
    assert found.share == pytest.approx(6 / 7)
    assert found.mask_iou == pytest.approx((1 + 1 + 9 / 11) / 3)
    assert found.score_difference == pytest.approx((0.05, 0.1))
    assert found.box_difference == pytest.approx((1 / 3, 1))


def test_a_partner_may_lie_below_the_threshold_and_what_both_have_below_is_not_counted():
    one, other = [_found(0, 0.51), _found(20, 0.3)], [_found(0, 0.49)]
    found = matched(one, other, 0.5)
    assert (found.number, found.share) == (1, 1)
    assert matched(one, other, 0.2).share == pytest.approx(2 / 3)


def test_masks_of_either_type_are_compared_with_the_truth():
    numbers = ("id", "image_id", "category_id", "iscrowd")
    objects = [
        dict(zip(numbers, (i, image, 1, crowd), strict=True)) | {"segmentation": mask}
        for i, (image, crowd, mask) in enumerate(
            ((1, 0, _true(0)), (1, 0, _true(20)), (2, 0, _true(0)), (2, 1, _true(20)))
        )
    ]
    truth = {
        "images": [{"id": i, "height": 20, "width": 40, "file_name": ""} for i in (1, 2)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": objects,
    }
    # The second object is found by the other type alone, the third by neither, and the fourth is a
    # crowd. The best mask counts, and none below the threshold.
    one = [_found(2, 0.9), _found(3, 0.9), _found(0, 0.1), _found(20, 0.9, image=2)]
    other = [_found(0, 0.6), _found(20, 0.6)]
    found = overlaps(one, other, truth, 0.5)
    assert found == pytest.approx((2 / 9, 2 / 3, 4 / 9, (1 / 3 + 1) / 3))
    assert overlaps(one, other, truth, 0.05).of_an_object == pytest.approx(1 / 3)


def _true(left: int) -> list[list[int]]:
    """The outline of the square that `_found` has."""
    return [[left, 5, left + 10, 5, left + 10, 15, left, 15]]
