"""The scores of predicted label maps: mIoU, iIoU, Boundary IoU and trimap mIoU."""

from typing import Any

import numpy as np

from pointrend_jax.data.build_label_maps import SemanticDatasets, SemanticEvalSet
from pointrend_jax.evaluation.extremes import KeptMaps, extremes_in_words
from pointrend_jax.evaluation.results import Evaluation, Results
from pointrend_jax.evaluation.semantic import CITYSCAPES_OBJECT_SIZES, SemanticEvaluator
from pointrend_jax.evaluation.tables import format_semantic_results
from pointrend_jax.messages import first
from pointrend_jax.report.sections import LEAST_SIDE, Drawn, Pair
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import IGNORE_LABEL, Config
from pointrend_jax.visualize import Rgb, enlarging, overlay_labels


class SemanticScorer:
    """An `Evaluator` of `PredictedLabels`. Args: data, whose evaluation set has the truth."""

    def __init__(self, data: SemanticDatasets | SemanticEvalSet, config: Config) -> None:
        names = [data.class_names[label] for label in data.instance_classes]
        self._truth, self._class_names = data.eval_truth, data.class_names
        self._kept = KeptMaps()
        self._evaluator = SemanticEvaluator(
            data.class_names,
            average_object_sizes={name: CITYSCAPES_OBJECT_SIZES[name] for name in names},
            boundary_dilation=config.eval.boundary_dilation,
            trimap_widths=tuple(config.eval.trimap_widths),
        )

    @property
    def image_ids(self) -> tuple[int, ...]:
        return self._evaluator.image_ids

    def add(self, image_id: int, prediction: PredictedLabels) -> None:
        truth = self._truth.labels(image_id), self._truth.instance_ids(image_id)
        self._evaluator.add(image_id, prediction.labels, prediction.coarse_labels, *truth)
        quality = self._evaluator.quality(image_id)
        if quality is not None:
            self._kept.offer(image_id, quality, prediction.labels)

    @property
    def parts(self) -> Any:
        return self._evaluator.parts, self._kept.parts

    def merge(self, parts: Any) -> None:
        self._evaluator.merge(parts[0])
        self._kept.merge(parts[1])

    def evaluate(self) -> Evaluation:
        known = {i: self._evaluator.quality(i) for i in self.image_ids}
        qualities = {i: quality for i, quality in known.items() if quality is not None}
        details = extremes_in_words(qualities, self._truth.name, "the mIoU of the image")
        return Evaluation(self._evaluator.results(), self._evaluator.details() | details)

    def pair(self, image_id: int) -> Pair:
        image = self._truth.pixels.shown(self._truth.image(image_id))
        truth = self._truth.labels(image_id)
        return Pair(*(self._drawn(image, labels) for labels in (truth, self._kept[image_id])))

    def _drawn(self, image: Rgb, labels: np.ndarray) -> Drawn:
        present = [self._class_names[i] for i in np.unique(labels) if i != IGNORE_LABEL]
        words = first(present, len(present)) or "nothing"
        scale = enlarging(image, LEAST_SIDE)
        return Drawn(overlay_labels(image, labels, self._class_names, scale=scale), words)

    def table(self, results: Results) -> str:
        return format_semantic_results(results)

    def save_details(self, folder: AnyPath) -> None:
        """The counts of every image."""
        self._evaluator.save_counts(folder / "counts.npz")
