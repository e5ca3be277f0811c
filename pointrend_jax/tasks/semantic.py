"""Semantic segmentation as a task: losses, predictions, and the label maps of original images."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.ops.resize import best_labels, map_rows, upsample_by
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.structures import (
    Array,
    Config,
    EvalSample,
    ImageBatch,
    SemanticBatch,
    SemanticPredictions,
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


def build_semantic_task(config: Config) -> Task:
    """The task of `config.model` for `config.task` "semantic"."""
    return semantic_task(build_semantic_model(config))


@kept
def semantic_task(model: SemanticSegmentor) -> Task:
    """Losses, predictions and initial variables of `model` as pure functions.

    Equal models share one task, and so what jax has traced and compiled of it.
    """

    def draw(key: Array) -> Variables:
        # The compiler drops the forward pass.
        return {"buffers": {}} | dict(
            model.init(key, black_image(len(model.pixel_mean)), method=SemanticSegmentor.predict)
        )

    init, shapes = initial(draw)

    def loss(
        variables: Variables, batch: SemanticBatch, key: Array
    ) -> tuple[dict[str, LossTerm], Variables]:
        keys = image_keys(key, batch.image_index)
        dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        result: Any = model.apply(
            with_fixed_as_constants(variables, is_trainable),
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

    def predict_scene(
        variables: Variables, batch: ImageBatch
    ) -> tuple[SemanticPredictions, dict[str, Array]]:
        predicted: Any = model.apply(variables, batch, method=SemanticSegmentor.predict_scene)
        return predicted

    def render(
        variables: Variables, maps: dict[str, Array],
        seen: tuple[SemanticPredictions, ImageBatch], windows: Array,
        size: tuple[tuple[int, int], int],
    ) -> list[RenderStep]:  # fmt: skip
        steps: Any = model.apply(
            variables, maps, *seen, windows, *size, method=SemanticSegmentor.render_windows
        )
        return steps

    frozen: tuple[str, ...] = model.backbone.frozen_modules()  # pyright: ignore[reportAttributeAccessIssue]
    is_trainable = all_but(frozen)

    return Task(
        init=init,
        shapes=shapes,
        loss=loss,
        predict=predict,
        find=None,
        segment=None,
        predict_scene=predict_scene,
        deliver=predicted_label_maps,
        exported=exported_labels,
        results=semantic_results,
        explain=explain,
        render=render,
        encode_regions=None,
        is_trainable=is_trainable,
    )


class PredictedLabelMaps(NamedTuple):
    """Best class of each pixel of the original images, uint8 [B, h, w]; undefined beyond them.

    rendered, coarse: from the final logits, and from the coarse ones upsampled bilinearly.
    """

    rendered: Array
    coarse: Array


def predicted_label_maps(
    predictions: SemanticPredictions,
    batch: ImageBatch,
    original_hw: Int[Array, "B 2"],
    canvas_hw: tuple[int, int],
) -> PredictedLabelMaps:
    """The label maps of the original images.

    Args:
      canvas_hw: a size that holds every original image.
    """
    return PredictedLabelMaps(
        best_labels(predictions.logits, batch.image_hw, original_hw, canvas_hw),
        best_labels(
            upsampled_coarse_logits(predictions, batch), batch.image_hw, original_hw, canvas_hw
        ),
    )


def exported_labels(
    predictions: SemanticPredictions,
    batch: ImageBatch,
    original_hw: Int[Array, "1 2"],
    canvas_hw: tuple[int, int],
) -> dict[str, Array]:
    """labels uint8 [h, w], the best class of each pixel of one image; undefined beyond it.

    Args:
      canvas_hw: (h, w), a size that holds the original image.
    """
    labels = best_labels(predictions.logits, batch.image_hw, original_hw, canvas_hw)
    return {"labels": labels[0]}


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


def semantic_results(
    sample: EvalSample, labels: PredictedLabelMaps, class_names: tuple[str, ...]
) -> Iterator[PredictedLabels]:
    """The label maps of each image of the batch, at its original size."""
    rendered, coarse = (np.asarray(x) for x in labels)
    slots = np.flatnonzero(sample.batch.valid)
    for slot, (height, width) in zip(slots, sample.original_hw, strict=True):
        own = slot, slice(height), slice(width)
        yield PredictedLabels(rendered[own], coarse[own], tuple(class_names))
