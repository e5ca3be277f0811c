"""Instance segmentation as a task: the model's losses and predictions, and scoring a data set."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.evaluation.workers import in_order
from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.masks.paste import paste_masks_to_rle, probability, scale_boxes_to_original
from pointrend_jax.masks.rle import Rle
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.structures import (
    Array,
    Config,
    EvalSample,
    ImageBatch,
    InstanceBatch,
    InstancePredictions,
)
from pointrend_jax.tasks.task import Task, Variables, initial, kept

AddInstances = Callable[[int, np.ndarray, np.ndarray, np.ndarray, list[Rle], list[Rle]], None]


def build_instance_task(config: Config) -> Task:
    """The task of `config.model` for `config.task` "instance"."""
    return instance_task(build_model(config))


@kept
def instance_task(model: MaskRCNN) -> Task:
    """Losses, predictions and initial variables of `model` as pure functions.

    Equal models share one task, and so what jax has traced and compiled of it.
    """

    def draw(key: Array) -> Variables:
        # No parameter depends on the canvas, and the compiler drops the forward pass.
        canvas = ImageBatch(
            images=jnp.zeros((1, 64, 64, 3), jnp.uint8),
            image_hw=jnp.full((1, 2), 64),
            padded_hw=jnp.full((1, 2), 64),
            valid=jnp.ones((1,), bool),
        )
        return dict(model.init(key, canvas, method=MaskRCNN.predict))

    init, shapes = initial(draw)

    def loss(
        variables: Variables, batch: InstanceBatch, key: Array
    ) -> tuple[dict[str, LossTerm], Variables]:
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(batch.image_index)
        noise = model.draw_noise(keys, batch)
        terms: Any = model.apply(variables, batch, noise, method=MaskRCNN.losses)
        return terms, variables["buffers"]

    def predict(variables: Variables, batch: ImageBatch) -> InstancePredictions:
        predictions: Any = model.apply(variables, batch, method=MaskRCNN.predict)
        return predictions

    def explain(
        variables: Variables, batch: ImageBatch, regions: Regions
    ) -> tuple[MaskLogits, list[RenderStep]]:
        steps: Any = model.apply(variables, batch, regions, method=MaskRCNN.explain)
        return steps

    frozen = model.backbone.frozen_modules()

    def is_trainable(path: tuple[str, ...]) -> bool:
        return not (path[0] == "backbone" and path[1] in frozen)

    return Task(
        init=init,
        shapes=shapes,
        loss=loss,
        predict=predict,
        explain=explain,
        is_trainable=is_trainable,
    )


def evaluate_instances(
    predict: Callable[[ImageBatch], InstancePredictions],
    samples: Iterable[EvalSample],
    add: AddInstances,
    category_ids: Sequence[int],
) -> None:
    """Predicts every sample, brings the results back to the original images and hands them over.

    Args:
      predict: already holds its variables; compiled once a bucket.
      add: takes the image id, and the boxes, scores, category ids, rendered and coarse masks (RLE)
        of its detections, as `InstanceEvaluator.add`.
      category_ids: the annotation file's id of each class.
    """
    ids = np.asarray(category_ids)
    # The device works on the next batch while the host pastes this one.
    for image in in_order(partial(_pasted, category_ids=ids), _images(predict, samples)):
        add(*image)


def _images(
    predict: Callable[[ImageBatch], InstancePredictions], samples: Iterable[EvalSample]
) -> Iterator[tuple[int, tuple[int, int], tuple[int, int], InstancePredictions]]:
    """Id, resized size, original size and predictions of each image, on the host."""
    waiting: list[tuple[EvalSample, InstancePredictions]] = []
    for sample in samples:
        waiting.append((sample, predict(sample.batch)))
        if len(waiting) > 1:
            yield from _of_batch(*waiting.pop(0))
    for sample, predictions in waiting:
        yield from _of_batch(sample, predictions)


def _of_batch(
    sample: EvalSample, predictions: InstancePredictions
) -> Iterator[tuple[int, tuple[int, int], tuple[int, int], InstancePredictions]]:
    predictions = jax.device_get(predictions)
    slots = np.flatnonzero(sample.batch.valid)
    for slot, image_id, original_hw in zip(
        slots, sample.image_ids, sample.original_hw, strict=True
    ):
        height, width = (int(side) for side in sample.batch.image_hw[slot])
        one = jax.tree.map(lambda x, slot=slot: x[slot], predictions)
        yield image_id, (height, width), original_hw, one


def _pasted(
    image: tuple[int, tuple[int, int], tuple[int, int], InstancePredictions],
    *,
    category_ids: np.ndarray,
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, list[Rle], list[Rle]]:
    """What `AddInstances` takes, of one image."""
    image_id, image_hw, original_hw, predictions = image
    detections = predictions.detections
    boxes, kept = scale_boxes_to_original(detections.boxes[detections.valid], image_hw, original_hw)
    rows = np.flatnonzero(detections.valid)[kept]
    rendered, coarse = (
        paste_masks_to_rle(probability(logits[rows]), boxes, original_hw)
        for logits in (predictions.mask_logits, predictions.coarse_logits)
    )
    classes = category_ids[detections.classes[rows]]
    return image_id, boxes, detections.scores[rows], classes, rendered, coarse
