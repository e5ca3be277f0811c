"""What a scorer of refined masks gives, by one process and by two."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.data.build_crops import CropEvalSet
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.report.page import report_page
from pointrend_jax.results.refined import RefinedCrop
from pointrend_jax.tasks.refine_scorer import RefineScorer
from tests.tiny_refiner import ellipse, photo, refiner_config


def _data() -> CropEvalSet:
    """Two objects of one photo, a polygon and an RLE, the second called large."""
    polygon = [[10.0, 10.0, 40.0, 10.0, 40.0, 40.0, 10.0, 40.0]]
    objects: tuple[dict[str, Any], ...] = (
        {"id": 5, "image_id": 3, "segmentation": polygon, "area": 900.0},
        {"id": 8, "image_id": 3, "segmentation": encode_mask(ellipse()), "area": 10_000.0},
    )
    images = {3: {"id": 3, "file_name": "a.jpg", "height": 60, "width": 80}}
    unused: Any = None
    return CropEvalSet(objects, images, unused, lambda _: photo(), 2, 64)


def _refined(truth: np.ndarray, *, better: bool) -> RefinedCrop:
    """A mask that was two pixels off, as it was or as it should be."""
    given = np.roll(truth, 2, axis=1)
    return RefinedCrop((0, 0, 80, 60), given, truth if better else given, 2.0, not better)


def _found() -> dict[int, RefinedCrop]:
    square = np.zeros((60, 80), bool)
    square[10:40, 10:40] = True
    return {0: _refined(square, better=True), 1: _refined(ellipse(), better=False)}


def test_given_and_refined_masks_are_scored_by_size(tmp_path: Path) -> None:
    scorer = RefineScorer(_data(), refiner_config())
    for number, found in _found().items():
        scorer.add(number, found)
    results, details = scorer.evaluate()
    given, refined = results["coarse"], results["rendered"]
    assert refined["boundary_iou_small"] == 1
    assert refined["boundary_iou_large"] == given["boundary_iou_large"]
    assert 0 < (given["boundary_iou_small"] or 0) < 1
    assert refined["boundary_iou_medium"] is None
    assert details["left_alone"] == 0.5
    assert details["images"]["best"][0]["name"] == "a.jpg, object 5"
    assert "boundary IoU large" in scorer.table(results)
    scorer.save_details(tmp_path)
    assert '"kind": "true"' in (tmp_path / "refined.json").read_text()
    # Of 60 x 80 pixels, enlarged.
    assert {drawn.pixels.shape for drawn in scorer.pair(0)} == {(360, 480, 3)}
    page = report_page("title", ["about"], results, details, pair_of=scorer.pair)
    assert b"object 5" in page


def test_two_processes_give_the_scores_of_one() -> None:
    whole, lead, other = (RefineScorer(_data(), refiner_config()) for _ in range(3))
    for number, found in _found().items():
        for scorer in (whole, other if number else lead):
            scorer.add(number, found)
    lead.merge(pickle.loads(pickle.dumps(other.parts)))
    assert lead.evaluate() == whole.evaluate()
    assert lead.image_ids == (0, 1)
