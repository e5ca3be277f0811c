"""COCO evaluation of instances: box AP, mask AP and Boundary AP, rendered beside coarse.

The official pycocotools computes every number; Boundary AP changes only its overlap. Every
evaluation reports the rendered masks and the coarse masks they were rendered from, so that it shows
what rendering adds.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pointrend_jax.evaluation.boundary import BoundaryCocoEval
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.results import MaskSource, Results, Statistics, check_disjoint

OverlapKind = Literal["box", "mask", "boundary"]
ObjectArea = Literal["mask", "box"]

# The order of COCOeval.stats; AP over IoU .50:.95, at .50, at .75, by area; AR at 1, 10, 100
# detections an image, by area. Areas are in pixels of the original image: 32^2, 96^2.
STAT_NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
# Group of results, whose masks, kind of overlap.
_GROUPS: tuple[tuple[str, MaskSource, OverlapKind], ...] = (
    ("rendered", "rendered", "mask"),
    ("rendered", "rendered", "boundary"),
    ("coarse", "coarse", "mask"),
    ("coarse", "coarse", "boundary"),
    ("box", "rendered", "box"),
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


class InstanceScores(NamedTuple):
    """The results of all kinds of overlap; curves by group and kind, as "rendered_mask"."""

    results: Results
    curves: dict[str, Curves]


class InstanceEvaluator:
    """Collects detections image by image, then scores them.

    Args:
      ground_truth: content or path of a COCO annotation file.
      boundary_dilation: width of the boundary as a part of the image diagonal; 0.02 is COCO's and
        LVIS's, Cityscapes has 0.005.
      rules: called as `coco_scores`, but for `max_detections`.

    Raises: ValueError as `load_ground_truth`.
    """

    def __init__(
        self,
        ground_truth: Mapping[str, Any] | Path | str,
        *,
        boundary_dilation: float = 0.02,
        rules: Callable[..., KindScores] | None = None,
    ) -> None:
        self._ground_truth = load_ground_truth(ground_truth)
        self._boundary_dilation = boundary_dilation
        self._rules = coco_scores if rules is None else rules
        # By image: several threads may add, each other images.
        self._detections: dict[int, dict[MaskSource, list[dict[str, Any]]]] = {}

    @property
    def ground_truth(self) -> COCO:
        return self._ground_truth

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The images added so far, ascending."""
        return tuple(sorted(self._detections))

    def add(
        self,
        image_id: int,
        boxes: Float[np.ndarray, "D 4"],
        scores: Float[np.ndarray, " D"],
        category_ids: Int[np.ndarray, " D"],
        rendered_rles: Sequence[Mapping[str, Any]],
        coarse_rles: Sequence[Mapping[str, Any]],
    ) -> None:
        """Adds the detections of one image; an image without any must be added too.

        Args:
          boxes: xyxy in pixels of the original image.
          category_ids: ids of the annotation file, not class indices.
          rendered_rles, coarse_rles: D masks as COCO RLE of the original image's size.

        Raises: ValueError if the image or a category is not of the ground truth, the image was
          added before, or the lengths differ.
        """
        given = (boxes, scores, category_ids, rendered_rles, coarse_rles)
        self._check(image_id, category_ids, [len(values) for values in given])
        found = [
            {
                "image_id": image_id,
                "category_id": int(category_id),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(score),
            }
            for category_id, score, (x0, y0, x1, y1) in zip(
                category_ids, scores, boxes.tolist(), strict=True
            )
        ]
        sources: dict[MaskSource, Sequence[Mapping[str, Any]]]
        sources = {"rendered": rendered_rles, "coarse": coarse_rles}
        self._detections[image_id] = {
            source: [
                {**detection, "segmentation": dict(rle)}
                for detection, rle in zip(found, rles, strict=True)
            ]
            for source, rles in sources.items()
        }

    @property
    def parts(self) -> dict[int, dict[MaskSource, list[dict[str, Any]]]]:
        """What was added so far, for `merge` of an evaluator in another process."""
        return self._detections

    def merge(self, parts: dict[int, dict[MaskSource, list[dict[str, Any]]]]) -> None:
        """Adds the images of another evaluator. Raises ValueError if both have an image."""
        check_disjoint(self._detections, parts)
        self._detections |= parts

    def coco_results(self, source: MaskSource = "rendered") -> list[dict[str, Any]]:
        """The detections in COCO's result format, by image, fit for JSON; boxes are xywh."""
        return [found for i in self.image_ids for found in self.of_image(i, source)]

    def of_image(self, image_id: int, source: MaskSource = "rendered") -> list[dict[str, Any]]:
        """`coco_results` of one image."""
        return [dict(found) for found in self._detections[image_id][source]]

    def results(self, image_ids: Iterable[int] | None = None) -> Results:
        """The results of `scores`."""
        return self.scores(image_ids).results

    def scores(self, image_ids: Iterable[int] | None = None) -> InstanceScores:
        """{"rendered": {"mask_ap", ..., "boundary_ap", ...}, "coarse": the same, "box": {...}}.

        The names are those of the rules (COCO's: `STAT_NAMES`) behind "mask_", "boundary_" and
        "box_", AP in 0..1, None where the ground truth has nothing to find (pycocotools' -1). AP of
        each category, by its name, is in groups of its own: "rendered_mask_ap_by_class" and
        "rendered_boundary_ap_by_class", the same of coarse masks, and "box_ap_by_class". The curves
        are in groups "rendered_mask", "rendered_boundary", the same of coarse masks, and "box".

        Args:
          image_ids: the images to score; None for all of the ground truth.

        Raises: ValueError if one of them was never added: its objects would count as missed.
        """
        chosen = sorted(self._ground_truth.imgs if image_ids is None else set(image_ids))
        absent = [image_id for image_id in chosen if image_id not in self._detections]
        if absent:
            raise ValueError(
                f"{len(absent)} of {len(chosen)} images were never evaluated, the first is "
                f"{absent[0]}; pass image_ids=evaluator.image_ids to score the others alone."
            )
        results: Results = {"rendered": {}, "coarse": {}, "box": {}}
        by_class: Results = {}
        curves: dict[str, Curves] = {}
        names = distinct_names(self._ground_truth)
        for group, source, kind in _GROUPS:
            scores = self._rules(
                self._ground_truth,
                self.coco_results(source),
                kind,
                boundary_dilation=self._boundary_dilation,
                image_ids=chosen,
            )
            results[group] |= {f"{kind}_{name}": v for name, v in scores.statistics.items()}
            prefix = "" if kind == "box" else f"{group}_"
            by_class[f"{prefix}{kind}_ap_by_class"] = {
                names[i]: value for i, value in scores.ap_by_category.items()
            }
            curves[f"{prefix}{kind}"] = scores.curves
        return InstanceScores(results | by_class, curves)

    def _check(self, image_id: int, category_ids: np.ndarray, lengths: list[int]) -> None:
        if image_id not in self._ground_truth.imgs:
            raise ValueError(f"Image {image_id} is not in the ground truth.")
        if image_id in self._detections:
            raise ValueError(f"Image {image_id} was added before; add each image once.")
        unknown = sorted(set(category_ids.tolist()) - set(self._ground_truth.cats))
        if unknown:
            raise ValueError(
                f"Categories {unknown} are not in the ground truth; map classes to category ids."
            )
        if len(set(lengths)) != 1:
            raise ValueError(f"Boxes, scores, categories and masks must be as many, got {lengths}.")


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


def distinct_names(ground_truth: COCO) -> dict[int, str]:
    """The name of each category, with its id where names repeat."""
    names = {i: str(category["name"]) for i, category in ground_truth.cats.items()}
    counts = Counter(names.values())
    return {i: name if counts[name] == 1 else f"{name} ({i})" for i, name in names.items()}


def _no_detections(ground_truth: COCO) -> COCO:
    # COCO.loadRes fails on an empty list.
    found: Any = COCO()
    found.dataset = {**ground_truth.dataset, "annotations": []}
    found.createIndex()
    return found
