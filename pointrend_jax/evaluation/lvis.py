"""Federated evaluation, as the `lvis` package (0.5.3) does it: LVIS, and COCO models on it (AP*).

An image is annotated for some categories only. A detection counts if its category has objects on
the image or is listed as absent from it; one that matches nothing is ignored, not false, if the
image is not exhaustively annotated for its category. An image has 300 detections, of all
categories together. AP over categories of any frequency, and over the rare, common and frequent
ones. Matching and precision are pycocotools'; Boundary AP changes only the overlap.
"""

import contextlib
import copy
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from pycocotools.coco import COCO

from pointrend_jax.coco_file import FREQUENCIES, check_federated
from pointrend_jax.evaluation.coco import (
    KindScores,
    OverlapKind,
    ap_by_category,
    mean_present,
    open_evaluation,
    precision_curves,
)
from pointrend_jax.evaluation.instances import InstanceEvaluator
from pointrend_jax.masks.rle import rle_area
from pointrend_jax.structures import FEDERATED_LISTS

# "ar300" is AR at 300 detections an image, as are those by area; areas as COCO's.
LVIS_STAT_NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ap_rare", "ap_common", "ap_frequent", "ar300", "ar_small", "ar_medium", "ar_large"),
)
MAX_DETECTIONS = 300
# In the order of pycocotools' area ranges.
_AREAS = ("all", "small", "medium", "large")


class FederatedScores(NamedTuple):
    """By overlap threshold, recall, category and area; -1 where there is nothing to find."""

    precision: Float[np.ndarray, "T R K A"]
    recall: Float[np.ndarray, "T K A"]


def is_federated(ground_truth: Mapping[str, Any]) -> bool:
    """Whether COCO annotations say which categories their images lack."""
    return any(name in image for image in ground_truth["images"] for name in FEDERATED_LISTS)


def lvis_evaluator(
    ground_truth: Mapping[str, Any] | Path | str, *, boundary_dilation: float = 0.02
) -> InstanceEvaluator:
    """An evaluator by these rules; the names of its results are `LVIS_STAT_NAMES`.

    Args:
      ground_truth: content or path of an annotation file, whose images have "neg_category_ids" and
        "not_exhaustive_category_ids" and whose categories have a "frequency".
    Raises: ValueError as `InstanceEvaluator`, or if one of these is missing or wrong.
    """
    evaluator = InstanceEvaluator(
        ground_truth, boundary_dilation=boundary_dilation, rules=lvis_scores
    )
    check_federated(evaluator.ground_truth.dataset, "the ground truth")
    return evaluator


def lvis_scores(
    ground_truth: COCO,
    detections: Iterable[Mapping[str, Any]],
    kind: OverlapKind,
    *,
    boundary_dilation: float = 0.02,
    image_ids: Sequence[int] | None = None,
) -> KindScores:
    """The numbers of `LVIS_STAT_NAMES`; arguments and errors as `evaluate_detections`."""
    precision, recall = evaluate_federated(
        ground_truth,
        detections,
        kind,
        boundary_dilation=boundary_dilation,
        image_ids=image_ids,
    )
    # The stubs of pycocotools know COCO's fields only.
    categories: Any = ground_truth.cats
    frequencies = np.asarray([categories[i]["frequency"] for i in sorted(categories)])
    # The thresholds are .50, .55, ..., .95.
    values = {"ap": precision[..., 0], "ap50": precision[0, ..., 0], "ap75": precision[5, ..., 0]}
    values |= {f"ap_{area}": precision[..., a] for a, area in enumerate(_AREAS) if a}
    for name, frequency in FREQUENCIES.items():
        values[f"ap_{name}"] = precision[:, :, frequencies == frequency, 0]
    values[f"ar{MAX_DETECTIONS}"] = recall[..., 0]
    values |= {f"ar_{area}": recall[..., a] for a, area in enumerate(_AREAS) if a}
    return KindScores(
        {name: mean_present(values[name]) for name in LVIS_STAT_NAMES},
        ap_by_category(precision[..., 0], sorted(categories)),
        precision_curves(precision[..., 0]),
    )


def evaluate_federated(
    ground_truth: COCO,
    detections: Iterable[Mapping[str, Any]],
    kind: OverlapKind,
    *,
    boundary_dilation: float = 0.02,
    image_ids: Sequence[int] | None = None,
) -> FederatedScores:
    """Precision and recall of every category, by ascending id; arguments as `lvis_scores`.

    Costs what the pairs of an image and a category cost that have something: there are as many as
    objects, where images times categories are millions.
    """
    positives = _positives(ground_truth)
    evaluation: Any = open_evaluation(
        ground_truth,
        _counted(ground_truth, detections, positives, kind),
        kind,
        boundary_dilation=boundary_dilation,
        image_ids=image_ids,
    )
    params = evaluation.params
    params.maxDets = [MAX_DETECTIONS]
    # pycocotools reports its progress on stdout.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation._prepare()
        _drop_without_area(evaluation._gts)
        images: dict[int, set[int]] = defaultdict(set)
        for image_id, category_id in [*evaluation._gts, *evaluation._dts]:
            images[category_id].add(image_id)
        shape = len(params.iouThrs), len(params.recThrs), len(params.catIds), len(params.areaRng)
        precision, recall = -np.ones(shape), -np.ones((shape[0], *shape[2:]))
        for k, category_id in enumerate(params.catIds):
            if images[category_id]:
                scores = _of_category(evaluation, category_id, sorted(images[category_id]))
                precision[:, :, k], recall[:, k] = scores
    return FederatedScores(precision, recall)


def _of_category(
    evaluation: Any, category_id: int, image_ids: list[int]
) -> tuple[Float[np.ndarray, "T R A"], Float[np.ndarray, "T A"]]:
    params = copy.copy(evaluation.params)
    params.catIds, params.imgIds = [category_id], image_ids
    for image_id in image_ids:
        pair = image_id, category_id
        evaluation.ious[pair] = evaluation.computeIoU(*pair)
    evaluation.evalImgs = [
        _evaluate_image(evaluation, image_id, category_id, area)
        for area in params.areaRng
        for image_id in image_ids
    ]
    evaluation._paramsEval = params
    evaluation.accumulate(params)
    results = evaluation.eval
    return results["precision"][:, :, 0, :, 0], results["recall"][:, 0, :, 0]


def _evaluate_image(
    evaluation: Any, image_id: int, category_id: int, area: Sequence[float]
) -> dict[str, Any] | None:
    result = evaluation.evaluateImg(image_id, category_id, area, MAX_DETECTIONS)
    image = evaluation.cocoGt.imgs[image_id]
    if result is not None and category_id in image["not_exhaustive_category_ids"]:
        result["dtIgnore"] = result["dtIgnore"] | (result["dtMatches"] == 0)
    return result


def _positives(ground_truth: COCO) -> set[tuple[int, int]]:
    """The (image, category) pairs that have objects."""
    annotations = ground_truth.dataset["annotations"]
    return {(a["image_id"], a["category_id"]) for a in annotations if a["area"] > 0}


def _counted(
    ground_truth: COCO,
    detections: Iterable[Mapping[str, Any]],
    positives: set[tuple[int, int]],
    kind: OverlapKind,
) -> list[Mapping[str, Any]]:
    """The best detections of each image, of any category, and of these the ones that count.

    The `lvis` package leaves out empty ones silently, where pycocotools takes them as false.
    """
    by_image: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for detection in detections:
        by_image[detection["image_id"]].append(detection)
    images: Any = ground_truth.imgs
    counted = []
    for image_id, found in by_image.items():
        negatives = set(images[image_id]["neg_category_ids"] if image_id in images else ())
        best = sorted(found, key=lambda d: d["score"], reverse=True)[:MAX_DETECTIONS]
        for detection in best:
            category_id = detection["category_id"]
            known = (image_id, category_id) in positives or category_id in negatives
            # A detection on an unknown image is kept, so that it is refused later.
            if image_id not in images or (known and _area(detection, kind) > 0):
                counted.append(detection)
    return counted


def _area(detection: Mapping[str, Any], kind: OverlapKind) -> float:
    if kind == "box":
        return detection["bbox"][2] * detection["bbox"][3]
    return rle_area(detection["segmentation"])


def _drop_without_area(truths: dict[tuple[int, int], list[dict[str, Any]]]) -> None:
    for pair in list(truths):
        truths[pair] = [truth for truth in truths[pair] if truth["area"] > 0]
        if not truths[pair]:
            del truths[pair]
