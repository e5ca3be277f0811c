"""COCO's scores of one kind of overlap: boxes, masks, or the boundaries of masks.

The official pycocotools computes every number; Boundary AP changes only its overlap.
"""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pointrend_jax.evaluation.boundary import BoundaryCocoEval
from pointrend_jax.evaluation.results import Statistics

OverlapKind = Literal["box", "mask", "boundary"]
ObjectArea = Literal["mask", "box"]

# The order of COCOeval.stats; AP over IoU .50:.95, at .50, at .75, by area; AR at 1, 10, 100
# detections an image, by area. Areas are in pixels of the original image: 32^2, 96^2.
STAT_NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
# The most detections of a category that count on an image, the best ones. Source: pycocotools.
MAX_DETECTIONS = 100


# Precision at recalls 0, .01, ..., 1 by the overlap that counts as a match.
Curves = dict[str, list[float]]


class KindScores(NamedTuple):
    """The scores of one kind of overlap, AP by category id, and the curves that AP averages."""

    statistics: Statistics
    ap_by_category: dict[int, float | None]
    curves: Curves


def coco_scores(
    ground_truth: COCO,
    detections: Iterable[Mapping[str, Any]],
    kind: OverlapKind,
    *,
    boundary_dilation: float,
    image_ids: Sequence[int],
    max_detections: int = MAX_DETECTIONS,
) -> KindScores:
    """The twelve numbers of COCO by name; arguments and errors as `evaluate_detections`.

    Args:
      max_detections: beyond COCO's 100, there is also AP with as many, as "ap_max300" and the like.
    """
    evaluation: Any = evaluate_detections(
        ground_truth,
        detections,
        kind,
        boundary_dilation=boundary_dilation,
        image_ids=image_ids,
        max_detections=max_detections,
    )
    statistics = summarize(evaluation)
    # By threshold, recall, category, area and most detections.
    precision = evaluation.eval["precision"][:, :, :, 0]
    if max_detections > MAX_DETECTIONS:
        statistics[f"ap_max{max_detections}"] = mean_present(precision[..., -1])
    counted = precision[..., evaluation.params.maxDets.index(MAX_DETECTIONS)]
    by_category = ap_by_category(counted, sorted(ground_truth.cats))
    return KindScores(statistics, by_category, precision_curves(counted))


def ap_by_category(
    precision: Float[np.ndarray, "T R K"], category_ids: Sequence[int]
) -> dict[int, float | None]:
    """The mean precision of each category; None where there is nothing to find."""
    return {int(i): mean_present(precision[:, :, k]) for k, i in enumerate(category_ids)}


def precision_curves(precision: Float[np.ndarray, "T R K"]) -> Curves:
    """The mean over the categories that have objects, at IoU .50, at .75, and over .50:.95.

    Four digits are kept, which no score is made of. Without objects there is no curve.
    """
    present = precision[:, :, (precision > -1).all((0, 1))]
    if not present.shape[2]:
        return {}
    by_threshold = present.mean(2)
    curves = {"0.50": by_threshold[0], "0.75": by_threshold[5], "0.50:0.95": by_threshold.mean(0)}
    return {overlap: np.round(curve, 4).tolist() for overlap, curve in curves.items()}


def mean_present(values: np.ndarray) -> float | None:
    """The mean of the values that pycocotools does not give as -1; None if there are none."""
    found = values[values > -1]
    return float(found.mean()) if found.size else None


def evaluate_detections(
    ground_truth: COCO,
    detections: Iterable[Mapping[str, Any]],
    kind: OverlapKind,
    *,
    boundary_dilation: float = 0.02,
    image_ids: Sequence[int] | None = None,
    area_of_detection: ObjectArea = "mask",
    max_detections: int = MAX_DETECTIONS,
) -> COCOeval:
    """pycocotools' evaluation, run and accumulated but not summarised.

    Args:
      ground_truth: from `load_ground_truth`.
      detections: in COCO's result format.
      image_ids: the images to score; None for all of the ground truth.
      area_of_detection: by which area masks count as small, medium or large. pycocotools takes the
        box's where a result has both, which is how files of results are often scored.
      max_detections: beyond COCO's 100, precision and recall are there with as many too, last.

    Raises: ValueError if a detection names an image that is not in the ground truth.
    """
    evaluation = open_evaluation(
        ground_truth,
        detections,
        kind,
        boundary_dilation=boundary_dilation,
        image_ids=image_ids,
        area_of_detection=area_of_detection,
    )
    if max_detections > MAX_DETECTIONS:
        # Objects are matched from the best detection on, so what counts among the best 100 stays.
        evaluation.params.maxDets = [*evaluation.params.maxDets, max_detections]
    # pycocotools reports its progress on stdout.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def open_evaluation(
    ground_truth: COCO,
    detections: Iterable[Mapping[str, Any]],
    kind: OverlapKind,
    *,
    boundary_dilation: float,
    image_ids: Sequence[int] | None,
    area_of_detection: ObjectArea = "mask",
) -> COCOeval:
    """As `evaluate_detections`, ready to be run."""
    unused = "segmentation" if kind == "box" else "bbox" if area_of_detection == "mask" else None
    records = [{k: v for k, v in record.items() if k != unused} for record in detections]
    unknown = {record["image_id"] for record in records} - set(ground_truth.imgs)
    if unknown:
        raise ValueError(f"Detections name images {sorted(unknown)}, not in the ground truth.")
    with contextlib.redirect_stdout(io.StringIO()):
        # The stub of loadRes knows file names only.
        api: Any = ground_truth
        found = api.loadRes(records) if records else _no_detections(ground_truth)
        if kind == "boundary":
            evaluation = BoundaryCocoEval(ground_truth, found, dilation=boundary_dilation)
        else:
            evaluation = COCOeval(ground_truth, found, "bbox" if kind == "box" else "segm")
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
    return evaluation


def summarize(evaluation: COCOeval) -> Statistics:
    """The twelve numbers of COCO by name, None for those that pycocotools gives as -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    values = (float(value) for value in evaluation.stats)
    return {
        name: None if value < 0 else value for name, value in zip(STAT_NAMES, values, strict=True)
    }


def _no_detections(ground_truth: COCO) -> COCO:
    # COCO.loadRes fails on an empty list.
    found: Any = COCO()
    found.dataset = {**ground_truth.dataset, "annotations": []}
    found.createIndex()
    return found
