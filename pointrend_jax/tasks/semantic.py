"""Semantic segmentation as a task: losses, predictions, and the label maps of original images."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from pointrend_jax.evaluation.semantic import SemanticEvaluator
from pointrend_jax.evaluation.workers import in_order
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.ops.resize import label_map, map_rows, upsample_by
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.structures import (
    Array,
    Config,
    EvalSample,
    ImageBatch,
    SemanticBatch,
    SemanticPredictions,
)
from pointrend_jax.tasks.task import Task, Variables, initial, kept

# px; the sides of canvases of label maps: this times 1, 1.5, 2, 3, 4, 6, 8, ...
_SMALLEST_SIDE = 64


@runtime_checkable
class SemanticTruth(Protocol):
    """The ground truth of an evaluation set, image by image, at original size."""

    def labels(self, image_id: int) -> np.ndarray:
        """uint8 [H, W], 0..K-1 or `IGNORE_LABEL`."""
        ...

    def instance_ids(self, image_id: int) -> np.ndarray | None:
        """int [H, W], Cityscapes' instance ids, or None where objects are not told apart."""
        ...


def build_semantic_task(config: Config) -> Task:
    """The task of `config.model` for `config.task` "semantic"."""
    return semantic_task(build_semantic_model(config))


@kept
def semantic_task(model: SemanticSegmentor) -> Task:
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
        return {"buffers": {}} | dict(model.init(key, canvas, method=SemanticSegmentor.predict))

    init, shapes = initial(draw)

    def loss(
        variables: Variables, batch: SemanticBatch, key: Array
    ) -> tuple[dict[str, LossTerm], Variables]:
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(batch.image_index)
        dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        result: Any = model.apply(
            variables,
            batch,
            model.draw_noise(keys),
            dropout_keys,
            mutable=["buffers"],
            method=SemanticSegmentor.losses,
        )
        terms, updated = result
        return terms, updated.get("buffers", {})

    def predict(variables: Variables, batch: ImageBatch) -> SemanticPredictions:
        predictions: Any = model.apply(variables, batch, method=SemanticSegmentor.predict)
        return predictions

    def explain(variables: Variables, batch: ImageBatch) -> list[RenderStep]:
        steps: Any = model.apply(variables, batch, method=SemanticSegmentor.explain)
        return steps

    frozen: tuple[str, ...] = model.backbone.frozen_modules()  # pyright: ignore[reportAttributeAccessIssue]

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


class LabelMaps(NamedTuple):
    """Best class of each pixel of the original images, uint8 [B, h, w]; undefined beyond them.

    rendered, coarse: from the final logits, and from the coarse ones upsampled bilinearly.
    """

    rendered: Array
    coarse: Array


def label_maps(
    predictions: SemanticPredictions,
    batch: ImageBatch,
    original_hw: Int[Array, "B 2"],
    canvas_hw: tuple[int, int],
) -> LabelMaps:
    """Args: canvas_hw, what holds every original image."""
    return LabelMaps(
        label_map(predictions.logits, batch.image_hw, original_hw, canvas_hw),
        label_map(
            upsampled_coarse_logits(predictions, batch), batch.image_hw, original_hw, canvas_hw
        ),
    )


def upsampled_coarse_logits(
    predictions: SemanticPredictions, batch: ImageBatch
) -> Float[Array, "B H W K"]:
    """The coarse logits, upsampled to the input: what there is without points."""
    stride = batch.images.shape[1] // predictions.coarse_logits.shape[1]
    return upsample_by(predictions.coarse_logits, stride, batch.padded_hw // stride)


def class_probabilities(
    logits: Float[Array, "B H W K"],
    batch: ImageBatch,
    original_hw: Int[Array, "B 2"],
    canvas_hw: tuple[int, int],
    *,
    flipped: bool = False,
) -> Float[Array, "B h w K"]:
    """Softmax of the logits at the pixels of the original images.

    Args:
      logits: of `SemanticPredictions`, at the resolution of the input.
      flipped: the images were mirrored; the probabilities are of what they were before.
    """
    probabilities = map_rows(logits, batch.image_hw, original_hw, canvas_hw, jax.nn.softmax)
    if not flipped:
        return probabilities
    columns = jnp.maximum(original_hw[:, 1:] - 1 - jnp.arange(canvas_hw[1])[None], 0)
    return jnp.take_along_axis(probabilities, columns[:, None, :, None], axis=2)


def original_sizes(sample: EvalSample) -> tuple[np.ndarray, tuple[int, int]]:
    """(height, width) of every slot's original image, int32 [B, 2], and a canvas that holds them.

    Sides of canvases are two an octave, so that a data set of many sizes compiles few programs.
    """
    sizes = np.ones((len(sample.batch.valid), 2), np.int32)
    # A batch without an image has no size to take.
    sizes[np.flatnonzero(sample.batch.valid)] = np.reshape(sample.original_hw, (-1, 2))
    height, width = (_canvas_side(int(side)) for side in sizes.max(axis=0))
    return sizes, (height, width)


def _canvas_side(pixels: int) -> int:
    octave = _SMALLEST_SIDE
    while 2 * octave < pixels:
        octave *= 2
    return next(side for side in (octave, 3 * octave // 2, 2 * octave) if side >= pixels)


def evaluate_semantic(
    predicted: Iterable[tuple[EvalSample, LabelMaps]],
    evaluator: SemanticEvaluator,
    truth: SemanticTruth,
) -> None:
    """Hands labels over with the ground truth.

    Args:
      predicted: samples and their labels, which may still be on their way from the device; the next
        is taken before the one before it is counted.
    """

    def count(image: tuple[int, np.ndarray, np.ndarray]) -> None:
        image_id = image[0]
        evaluator.add(*image, truth.labels(image_id), truth.instance_ids(image_id))

    for _ in in_order(count, _images(predicted)):
        pass


def _images(
    predicted: Iterable[tuple[EvalSample, LabelMaps]],
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Id, rendered and coarse labels of each image, on the host."""
    waiting: list[tuple[EvalSample, LabelMaps]] = []
    for sample_and_labels in predicted:
        waiting.append(sample_and_labels)
        if len(waiting) > 1:
            yield from _of_batch(*waiting.pop(0))
    for sample, labels in waiting:
        yield from _of_batch(sample, labels)


def _of_batch(
    sample: EvalSample, labels: LabelMaps
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    rendered, coarse = (np.asarray(x) for x in labels)
    slots = np.flatnonzero(sample.batch.valid)
    for slot, image_id, (height, width) in zip(
        slots, sample.image_ids, sample.original_hw, strict=True
    ):
        yield image_id, rendered[slot, :height, :width], coarse[slot, :height, :width]
