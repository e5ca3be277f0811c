"""The scores of predicted instances: COCO's or LVIS's rules, and Cityscapes' beside them."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from pointrend_jax.console import tell
from pointrend_jax.data.build_objects import Datasets, EvalSet
from pointrend_jax.evaluation.cityscapes_instances import CityscapesInstanceEvaluator
from pointrend_jax.evaluation.coco import MAX_DETECTIONS, coco_scores
from pointrend_jax.evaluation.extremes import extremes_in_words
from pointrend_jax.evaluation.instances import InstanceEvaluator, distinct_names
from pointrend_jax.evaluation.lvis import MAX_DETECTIONS as LVIS_MAX_DETECTIONS
from pointrend_jax.evaluation.lvis import is_federated, lvis_evaluator
from pointrend_jax.evaluation.matches import SURE, MatchFinder, taken_objects
from pointrend_jax.evaluation.results import (
    CITYSCAPES,
    Details,
    Evaluation,
    Results,
    of_prefix,
    prefixed,
)
from pointrend_jax.evaluation.tables import format_cityscapes_results, format_results
from pointrend_jax.masks.rle import rle_iou
from pointrend_jax.messages import first
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.report.sections import LEAST_SIDE, Drawn, Pair
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.predictions import write_results_list
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import Config
from pointrend_jax.visualize import OverlayStyle, Rgb, enlarging, overlay_masks

# Classes that are named below a picture.
_NAMED = 8


class InstanceScorer:
    """An `Evaluator` of `PredictedInstances`; says so if the model may find more than counts.

    Args:
      data: whose evaluation set has the truth. A set without annotations has no results, only
        detections.
    """

    def __init__(self, data: Datasets | EvalSet, config: Config) -> None:
        truth, dilation = data.eval_ground_truth, config.eval.boundary_dilation
        federated, most = is_federated(truth), config.model.box.detections_per_image
        if federated:
            self._evaluator = lvis_evaluator(truth, boundary_dilation=dilation)
        else:
            rules = partial(coco_scores, max_detections=most)
            self._evaluator = InstanceEvaluator(truth, boundary_dilation=dilation, rules=rules)
        self._matches = MatchFinder(self._evaluator.ground_truth)
        self._cityscapes = CityscapesInstanceEvaluator()
        self._category_ids = np.asarray(data.category_ids)
        self._instance_ids, self._pixels = data.eval_instance_ids, data.eval_pixels
        self._format = pixel_format(config)
        self._file_names = {image["id"]: image["file_name"] for image in truth["images"]}
        _tell_limit(most, federated=federated)

    @property
    def image_ids(self) -> tuple[int, ...]:
        return self._evaluator.image_ids

    def add(self, image_id: int, prediction: PredictedInstances) -> None:
        categories, scores = self._category_ids[prediction.classes], prediction.scores
        rendered, coarse = prediction.masks.rle(), prediction.coarse_masks.rle()
        self._evaluator.add(image_id, prediction.boxes, scores, categories, rendered, coarse)
        self._matches.add(image_id, categories, scores, rendered)
        if self._instance_ids is not None:
            # The category ids are Cityscapes' label ids.
            truth = self._instance_ids(image_id)
            self._cityscapes.add(image_id, categories, scores, rendered, coarse, truth)

    @property
    def parts(self) -> Any:
        return self._evaluator.parts, self._matches.parts, self._cityscapes.parts

    def merge(self, parts: Any) -> None:
        self._evaluator.merge(parts[0])
        self._matches.merge(parts[1])
        self._cityscapes.merge(parts[2])

    def evaluate(self) -> Evaluation:
        results: Results = {}
        details: Details = {}
        if self._evaluator.ground_truth.anns:
            scores, qualities = self._evaluator.scores(), self._matches.qualities()
            results |= scores.results
            names = distinct_names(self._evaluator.ground_truth)
            details = {"precision_recall": scores.curves} | self._matches.details(
                [names[i] for i in sorted(names)]
            )
            name = self._file_names.__getitem__
            details |= extremes_in_words(qualities, name, "the panoptic quality of the image")
        if self._instance_ids is not None:
            results |= prefixed(self._cityscapes.results(), CITYSCAPES)
        return Evaluation(results, details)

    def pair(self, image_id: int) -> Pair:
        truth: Any = self._evaluator.ground_truth
        image = self._format.shown(self._pixels(image_id))
        objects = truth.imgToAnns[image_id]
        found = [d for d in self._evaluator.of_image(image_id) if d["score"] >= SURE]
        found.sort(key=lambda d: -d["score"])
        scores = np.asarray([d["score"] for d in found])
        # What finds an object has its colour, and what finds none one of its own.
        number, crowds = len(objects), [bool(o["iscrowd"]) for o in objects]
        ours, true = ([r["segmentation"] for r in records] for records in (found, objects))
        taken = taken_objects(rle_iou(ours, true, crowds), np.asarray(crowds, np.bool_))
        colors = [number + i if t is None else t for i, t in enumerate(taken)]
        return Pair(
            self._drawn(image, objects, None, range(number)),
            self._drawn(image, found, scores, colors),
        )

    def _drawn(
        self, image: Rgb, records: Sequence[Any], scores: np.ndarray | None, colors: Sequence[int]
    ) -> Drawn:
        categories: Any = self._evaluator.ground_truth.cats
        labels = [str(categories[record["category_id"]]["name"]) for record in records]
        masks = [record["segmentation"] for record in records]
        counts = Counter(labels).most_common()
        words = first([f"{count} {label}" for label, count in counts], _NAMED) or "nothing"
        style = OverlayStyle(color_by="class", scale=enlarging(image, LEAST_SIDE))
        numbers = np.asarray(colors, np.int64)
        drawn = overlay_masks(image, None, masks, labels, scores, classes=numbers, style=style)
        return Drawn(drawn, words)

    def table(self, results: Results) -> str:
        official = of_prefix(results, CITYSCAPES)
        if "rendered" in results:
            table = format_results(results)
        else:
            table = (
                "nothing is scored: the evaluation set has no annotations. Its detections are "
                "written with its own image and category ids."
            )
        return f"{table}\n\n{format_cityscapes_results(official)}" if official else table

    def save_details(self, folder: AnyPath) -> None:
        """Every detection, as a list that pycocotools' `loadRes` takes."""
        for source in ("rendered", "coarse"):
            found = self._evaluator.coco_results(source)
            write_results_list(folder / f"detections_{source}.json", found)


def _tell_limit(most: int, *, federated: bool) -> None:
    """Says so if the model may find more on an image than its scores count."""
    if federated and most > LVIS_MAX_DETECTIONS:
        counted = f"LVIS's scores count the best {LVIS_MAX_DETECTIONS} of an image"
    elif not federated and most > MAX_DETECTIONS:
        counted = (
            f"COCO's scores count the best {MAX_DETECTIONS} of a class; AP with all of them is "
            f"given as mask AP@{most}, beside them"
        )
    else:
        return
    tell(f"config.model.box.detections_per_image is {most}: {counted}")
