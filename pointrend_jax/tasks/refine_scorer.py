"""The scores of a refiner: Boundary IoU of given and of refined masks with the true ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pointrend_jax.data.build_crops import CropEvalSet
from pointrend_jax.evaluation.extremes import extremes_in_words
from pointrend_jax.evaluation.refined import RefineEvaluator
from pointrend_jax.evaluation.results import Evaluation, Results
from pointrend_jax.evaluation.tables import format_refined_results
from pointrend_jax.masks.degrade import KINDS
from pointrend_jax.masks.polygons import rasterize_polygons
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.report.sections import LEAST_SIDE, Drawn, Pair
from pointrend_jax.results.refined import RefinedCrop
from pointrend_jax.storage import AnyPath, write_json
from pointrend_jax.structures import Config, EvalSample
from pointrend_jax.tasks.refine import crop_sample
from pointrend_jax.visualize import OverlayStyle, enlarging, overlay_masks


def crop_samples(
    data: CropEvalSet, process_index: int = 0, process_count: int = 1
) -> Iterator[EvalSample]:
    """This process's objects of an evaluation set, each once, in batches of one size."""
    batch_size = data.batch_size // process_count
    for numbers, crops in data.crops(process_index, process_count):
        yield crop_sample(numbers, crops, data.canvas, batch_size)


class RefineScorer:
    """An `Evaluator` of `RefinedCrop`, by the objects' numbers in the evaluation set."""

    def __init__(self, data: CropEvalSet, config: Config) -> None:
        self._data = data
        self._evaluator = RefineEvaluator(config.eval.boundary_dilation)
        self._refined: dict[int, dict[str, Any]] = {}
        self._left_alone: dict[int, bool] = {}

    @property
    def image_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._evaluator.scores))

    def add(self, image_id: int, prediction: RefinedCrop) -> None:
        annotation = self._data.objects[image_id]
        truth, given, refined = self._truth(annotation), *_whole(prediction, self._hw(annotation))
        self._evaluator.add(image_id, float(annotation["area"]), truth, given, refined)
        self._refined[image_id] = encode_mask(refined)
        self._left_alone[image_id] = prediction.left_alone

    @property
    def parts(self) -> Any:
        return self._evaluator.scores, self._refined, self._left_alone

    def merge(self, parts: Any) -> None:
        scores, refined, left_alone = parts
        self._evaluator.merge(scores)
        self._refined |= refined
        self._left_alone |= left_alone

    def evaluate(self) -> Evaluation:
        qualities = {i: score.refined for i, score in self._evaluator.scores.items()}
        measure = "the Boundary IoU of one refined mask"
        details = extremes_in_words(qualities, self._name, measure)
        share = float(np.mean([*self._left_alone.values()]))
        return Evaluation(self._evaluator.results(), details | {"left_alone": share})

    def table(self, results: Results) -> str:
        return format_refined_results(results)

    def pair(self, image_id: int) -> Pair:
        annotation = self._data.objects[image_id]
        image = self._data.eval_pixels(annotation["image_id"])
        truth = encode_mask(self._truth(annotation))
        masks = (truth, "the true mask"), (self._refined[image_id], "refined")
        style = OverlayStyle(scale=enlarging(image, LEAST_SIDE))
        return Pair(
            *(Drawn(overlay_masks(image, None, [m], [""], None, style=style), w) for m, w in masks)
        )

    def save_details(self, folder: AnyPath) -> None:
        """The scores of every object."""
        objects = [
            {"id": self._data.objects[i]["id"], "kind": KINDS[i % len(KINDS)]}
            | score._asdict()
            | {"left_alone": self._left_alone[i]}
            for i, score in sorted(self._evaluator.scores.items())
        ]
        write_json(folder / "refined.json", {"objects": objects})

    def _hw(self, annotation: dict[str, Any]) -> tuple[int, int]:
        image = self._data.images[annotation["image_id"]]
        return image["height"], image["width"]

    def _name(self, number: int) -> str:
        annotation = self._data.objects[number]
        image = self._data.images[annotation["image_id"]]
        return f"{image['file_name']}, object {annotation['id']}"

    def _truth(self, annotation: dict[str, Any]) -> np.ndarray:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, dict):
            return decode_rle(segmentation)
        return rasterize_polygons(segmentation, self._hw(annotation))


def _whole(prediction: RefinedCrop, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The given and the refined mask in the whole image."""
    x0, y0, x1, y1 = prediction.window
    masks = np.zeros(hw, bool), np.zeros(hw, bool)
    for mask, own in zip(masks, (prediction.given, prediction.mask), strict=True):
        mask[y0:y1, x0:x1] = own
    return masks
