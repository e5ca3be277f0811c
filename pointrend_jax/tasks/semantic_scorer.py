"""The scores of predicted label maps: mIoU, iIoU, Boundary IoU and trimap mIoU."""

from typing import Any

from pointrend_jax.data.build_label_maps import SemanticDatasets, SemanticEvalSet
from pointrend_jax.evaluation.results import Results
from pointrend_jax.evaluation.semantic import CITYSCAPES_OBJECT_SIZES, SemanticEvaluator
from pointrend_jax.evaluation.tables import format_semantic_results
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import Config


class SemanticScorer:
    """An `Evaluator` of `PredictedLabels`. Args: data, whose evaluation set has the truth."""

    def __init__(self, data: SemanticDatasets | SemanticEvalSet, config: Config) -> None:
        names = [data.class_names[label] for label in data.instance_classes]
        self._truth = data.eval_truth
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

    @property
    def parts(self) -> Any:
        return self._evaluator.parts

    def merge(self, parts: Any) -> None:
        self._evaluator.merge(parts)

    def results(self) -> Results:
        return self._evaluator.results()

    def table(self, results: Results) -> str:
        return format_semantic_results(results)

    def save_details(self, folder: AnyPath) -> None:
        """The counts of every image."""
        self._evaluator.save_counts(folder / "counts.npz")
