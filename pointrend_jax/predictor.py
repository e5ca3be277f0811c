"""A trained model as a function of images: numpy RGB in, instances of the original image out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pointrend_jax.data.pipeline import make_sample
from pointrend_jax.data.transforms import choose_bucket, padded_hw, resized_hw
from pointrend_jax.evaluation.paste import paste_masks_to_rle, scale_boxes_to_original
from pointrend_jax.layers.regions import Regions
from pointrend_jax.structures import Config, EvalSample
from pointrend_jax.tasks.instance import build_task, probability
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.checkpoints import load_variables


class PredictedInstances(NamedTuple):
    """The instances of one image, by descending score.

    Attributes:
      boxes: float32 [n, 4], xyxy in pixels of the original image.
      scores: float32 [n], in (0, 1].
      classes: int [n], indices into the predictor's `class_names`.
      masks, coarse_masks: n compressed COCO RLEs of the original image's size; the rendered masks
      and
        the coarse ones they were rendered from.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: list[Any]
    coarse_masks: list[Any]


class ExplainedStep(NamedTuple):
    """One rendering step of one instance, in the frame of its box.

    mask_probs [S, S] after the step; uncertainty [S, S] and point_coords [P, 2] in [0, 1], by which
    and where the step predicted.
    """

    mask_probs: np.ndarray
    uncertainty: np.ndarray
    point_coords: np.ndarray


class ExplainedInstance(NamedTuple):
    """coarse_probs [m, m] and the steps from the regular grid to the full resolution."""

    coarse_probs: np.ndarray
    steps: list[ExplainedStep]


class Predictor:
    """Predicts with fixed variables; compiles once for each canvas, not for each image size.

    Example:
      predictor = load("runs/demo")
      instances = predictor.predict([image])[0]
    """

    def __init__(self, variables: Variables, config: Config, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._config = config
        self._variables = jax.tree.map(jnp.asarray, variables)
        task = build_task(config)
        self._predict = jax.jit(task.predict)
        self._explain = jax.jit(task.explain)

    def predict(
        self, images: Sequence[np.ndarray], *, score_threshold: float = 0.0
    ) -> list[PredictedInstances]:
        """The instances of each image, in order.

        Args:
          images: uint8 [H, W, 3] RGB of any sizes.
          score_threshold: leaves out what scores lower; the model itself has a threshold too.
        Raises: ValueError if an image is of another type or shape.
        """
        return [self._predict_one(image, score_threshold) for image in images]

    def explain(
        self, image: np.ndarray, boxes: np.ndarray, classes: np.ndarray
    ) -> list[ExplainedInstance]:
        """How the mask of each box is rendered.

        Args:
          boxes: [n, 4] xyxy in pixels of `image`, such as predicted ones. classes: [n].
        Raises: ValueError if the model has no rendering steps.
        """
        sample = self._sample(image)
        scale = np.asarray(sample.batch.image_hw[0] / np.array(image.shape[:2]), np.float32)
        boxes = np.asarray(boxes, np.float32) * scale[[1, 0, 1, 0]]
        return [
            self._explain_one(sample, box, int(label))
            for box, label in zip(boxes, classes, strict=True)
        ]

    def _predict_one(self, image: np.ndarray, score_threshold: float) -> PredictedInstances:
        sample = self._sample(image)
        predictions = jax.device_get(self._predict(self._variables, sample.batch))
        detections = jax.tree.map(lambda x: x[0], predictions.detections)
        kept = np.flatnonzero(detections.valid & (detections.scores >= score_threshold))
        height, width = (int(side) for side in sample.batch.image_hw[0])
        boxes, nonempty = scale_boxes_to_original(
            detections.boxes[kept], (height, width), sample.original_hw[0]
        )
        kept = kept[nonempty]
        rendered, coarse = (
            paste_masks_to_rle(probability(logits[0][kept]), boxes, sample.original_hw[0])
            for logits in (predictions.mask_logits, predictions.coarse_logits)
        )
        scores, classes = detections.scores[kept], detections.classes[kept]
        return PredictedInstances(boxes, scores, classes, rendered, coarse)

    def _explain_one(self, sample: EvalSample, box: np.ndarray, label: int) -> ExplainedInstance:
        regions = Regions(
            boxes=jnp.asarray(box)[None],
            image_index=jnp.zeros(1, jnp.int32),
            classes=jnp.full(1, label, jnp.int32),
            gt_index=jnp.zeros(1, jnp.int32),
            valid=jnp.ones(1, bool),
        )
        masks, steps = jax.device_get(self._explain(self._variables, sample.batch, regions))
        return ExplainedInstance(
            coarse_probs=probability(masks.coarse[0]),
            steps=[
                ExplainedStep(probability(s.logits[0, ..., 0]), s.uncertainty[0], s.point_coords[0])
                for s in steps
            ],
        )

    def _sample(self, image: np.ndarray) -> EvalSample:
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"an image must be uint8 [height, width, 3] RGB, got {image.dtype} {image.shape}."
            )
        data = self._config.data
        hw = resized_hw((image.shape[0], image.shape[1]), data.eval_min_size, data.max_size)
        bucket = choose_bucket(hw, tuple(tuple(b) for b in data.buckets)) or padded_hw(hw)
        sample = make_sample([image], (0,), bucket, data.eval_min_size, data.max_size, 1)
        return sample._replace(batch=jax.tree.map(jnp.asarray, sample.batch))


def load(workdir: Path | str) -> Predictor:
    """The newest checkpoint of a run, which knows its configuration and class names.

    Raises: ValueError if there is none.
    """
    variables, meta, _ = load_variables(Path(workdir))
    return Predictor(variables, ConfigDict(meta.config).lock(), meta.class_names)
