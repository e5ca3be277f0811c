"""Sharpening given masks as a task: losses, predictions, and the masks in pixels of the photo."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from pointrend_jax.data.batches.crops import Crop, change_by, given_batch
from pointrend_jax.masks.paste import probability
from pointrend_jax.models.refiner import RefinedLogits, Refiner, build_refiner
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.results.refined import RefinedCrop
from pointrend_jax.structures import Array, Config, CropBatch, EvalSample, GivenBatch
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

# The probability of the other side from which on a pixel changes; read off objects that were
# neither learned nor judged (docs/refine.md).
SURE = 0.7


def crop_sample(
    ids: Sequence[int], crops: Sequence[Crop], canvas: int, batch_size: int
) -> EvalSample:
    """Crops as a batch of `batch_size` slots."""
    batch = given_batch(crops, canvas, batch_size)
    sizes = tuple((crop.given.shape[0], crop.given.shape[1]) for crop in crops)
    return EvalSample(batch, tuple(ids), sizes, tuple(crops))


def build_refine_task(config: Config) -> Task:
    """The task of `config.model` for `config.task` "refine"."""
    return refine_task(build_refiner(config), keep_below=float(config.model.refine.keep_below))


@kept
def refine_task(model: Refiner, *, keep_below: float) -> Task:
    """Losses, predictions and initial variables of `model` as pure functions.

    Equal models share one task, and so what jax has traced and compiled of it.
    """

    def draw(key: Array) -> Variables:
        # The compiler drops the forward pass.
        images = black_image(len(model.pixel_mean))
        batch = GivenBatch(*images, given=images.images[..., 0])
        return {"buffers": {}} | dict(model.init(key, batch, method=Refiner.predict))

    init, shapes = initial(draw)

    def loss(
        variables: Variables, batch: CropBatch, key: Array
    ) -> tuple[dict[str, LossTerm], Variables]:
        result: Any = model.apply(
            with_fixed_as_constants(variables, is_trainable),
            batch,
            model.draw_noise(image_keys(key, batch.image_index)),
            mutable=["buffers"],
            method=Refiner.losses,
        )
        terms, updated = result
        return terms, updated.get("buffers", variables["buffers"])

    def predict(variables: Variables, batch: GivenBatch) -> RefinedLogits:
        predictions: Any = model.apply(variables, batch, method=Refiner.predict)
        return predictions

    def explain(variables: Variables, batch: GivenBatch) -> list[RenderStep]:
        steps: Any = model.apply(variables, batch, method=Refiner.explain)
        return steps

    def results(
        sample: EvalSample, predicted: RefinedLogits, class_names: tuple[str, ...]
    ) -> Iterator[RefinedCrop]:
        del class_names
        logits, errors = (np.asarray(x) for x in predicted)
        for slot, crop in enumerate(sample.crops):
            error = float(errors[slot])
            left_alone, mask = error < keep_below, crop.given
            if not left_alone:
                changed = change_by(crop, probability(logits[slot]), sure=SURE)
                # A refiner sharpens; that there is no object is not for it to say.
                mask = changed if changed.any() else mask
            scale = max(crop.given.shape) / max(crop.inside_hw)
            yield RefinedCrop(crop.window, crop.given, mask, error * scale, left_alone)

    def none_of_scenes(*_: Any) -> NoReturn:
        raise ValueError(
            "a refiner sharpens given masks (pointrend_jax.refine); it has no scenes to zoom into "
            "and no export."
        )

    frozen: tuple[str, ...] = model.backbone.frozen_modules()  # pyright: ignore[reportAttributeAccessIssue]
    is_trainable = all_but(frozen)

    return Task(
        init=init,
        shapes=shapes,
        loss=loss,
        predict=predict,  # pyright: ignore[reportArgumentType]
        find=None,
        segment=None,
        encode_regions=None,
        predict_scene=none_of_scenes,
        deliver=None,
        exported=none_of_scenes,
        results=results,
        explain=explain,
        render=none_of_scenes,
        is_trainable=is_trainable,
    )
