"""Instance segmentation as a task: the model's losses and predictions, and what a user gets."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.masks.paste import scale_boxes_to_original
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.structures import (
    Array,
    Config,
    EvalSample,
    ImageBatch,
    InstancePredictions,
    ObjectBatch,
)
from pointrend_jax.tasks.task import (
    Task,
    Variables,
    all_but,
    black_image,
    image_keys,
    initial,
    kept,
    with_fixed_as_constants,
)


def build_instance_task(config: Config) -> Task:
    """The task of `config.model` for `config.task` "instance"."""
    return instance_task(build_model(config))


@kept
def instance_task(model: MaskRCNN) -> Task:
    """Losses, predictions and initial variables of `model` as pure functions.

    Equal models share one task, and so what jax has traced and compiled of it.
    """

    def draw(key: Array) -> Variables:
        # The compiler drops the forward pass.
        return {"buffers": {}} | dict(model.init(key, black_image(), method=MaskRCNN.predict))

    init, shapes = initial(draw)

    def loss(
        variables: Variables, batch: ObjectBatch, key: Array
    ) -> tuple[dict[str, LossTerm], Variables]:
        keys = image_keys(key, batch.image_index)
        noise = model.draw_noise(keys, batch)
        variables = with_fixed_as_constants(variables, is_trainable)
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

    is_trainable = all_but(model.backbone.frozen_modules())

    return Task(
        init=init,
        shapes=shapes,
        loss=loss,
        predict=predict,
        deliver=None,
        results=instance_results,
        explain=explain,
        is_trainable=is_trainable,
    )


def instance_results(
    sample: EvalSample, predictions: InstancePredictions, class_names: tuple[str, ...]
) -> Iterator[PredictedInstances]:
    """The instances of each image of the batch, in the frame of the original image."""
    predictions = jax.device_get(predictions)
    slots = np.flatnonzero(sample.batch.valid)
    for slot, original_hw in zip(slots, sample.original_hw, strict=True):
        detections, mask_logits, coarse_logits = jax.tree.map(
            lambda x, slot=slot: x[slot], predictions
        )
        height, width = (int(side) for side in sample.batch.image_hw[slot])
        rows = np.flatnonzero(detections.valid)
        boxes, nonempty = scale_boxes_to_original(
            detections.boxes[rows], (height, width), original_hw
        )
        rows = rows[nonempty]
        # Indexing copies, so that the slots that hold nothing are not kept in memory.
        masks, coarse_masks = (
            PredictedMasks(logits[rows], boxes, original_hw)
            for logits in (mask_logits, coarse_logits)
        )
        classes = detections.classes[rows]
        names = tuple(class_names[label] for label in classes)
        yield PredictedInstances(
            boxes, detections.scores[rows], classes, names, masks, coarse_masks
        )
