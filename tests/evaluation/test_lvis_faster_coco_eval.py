"""Why LVIS is not scored by faster-coco-eval: what its `lvis_style` counts otherwise.

Our numbers are those of the `lvis` package (`test_lvis_official`); docs/lvis.md has the decision.
"""

from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.lvis import MAX_DETECTIONS, lvis_scores
from tests.evaluation.scenes import annotation, detection, ellipse, ground_truth

DISC = ellipse((30, 30), (20, 20))
ELSEWHERE = ellipse((65, 50), (8, 8))
_DISC, _BOX = 3, 7

ONE = [annotation(1, 1, _DISC, DISC)]
FOUND = detection(1, _DISC, DISC, 0.8)
CASES = {
    "the one of all detections that are one too many": (
        ONE,
        [FOUND, *(detection(1, _BOX, ELSEWHERE, 0.9) for _ in range(MAX_DETECTIONS))],
        # Theirs are 300 of each category.
        (0.0, 1.0),
    ),
    "an empty mask": (
        ONE,
        [detection(1, _DISC, np.zeros_like(DISC), 0.9), FOUND],
        # For them it is false.
        (1.0, 0.5),
    ),
    "an object of no area": (
        [*ONE, annotation(2, 2, _DISC, DISC, area=0)],
        [detection(2, _DISC, ELSEWHERE, 0.9), FOUND],
        # For them it is missed, so that precision is 1/2 up to recall 1/2: 51 of 101 places.
        (1.0, 0.5 * 51 / 101),
    ),
}


def _truth(annotations: list[dict[str, Any]]) -> dict[str, Any]:
    truth = ground_truth(annotations, 2)
    for image in truth["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    names = {_DISC: "disc", _BOX: "box"}
    truth["categories"] = [{"id": i, "name": n, "frequency": "r"} for i, n in names.items()]
    return truth


def _theirs(truth: dict[str, Any], found: list[dict[str, Any]]) -> float:
    api = COCO(truth)
    masks = [{k: v for k, v in d.items() if k != "bbox"} for d in found]
    evaluation = COCOeval_faster(
        api, api.loadRes(masks), "segm", lvis_style=True, print_function=lambda *_: None
    )
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]
    return float(precision[precision > -1].mean())


@pytest.mark.parametrize(("annotations", "found", "expected"), CASES.values(), ids=CASES)
def test_faster_coco_eval_is_not_lvis(
    annotations: list[dict[str, Any]],
    found: list[dict[str, Any]],
    expected: tuple[float, float],
) -> None:
    truth = _truth(annotations)
    ours = lvis_scores(load_ground_truth(truth), found, "mask").statistics["ap"]
    assert (ours, _theirs(truth, found)) == pytest.approx(expected)
