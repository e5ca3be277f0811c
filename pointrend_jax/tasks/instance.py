"""Instance segmentation as a task: the model's losses and predictions, and what a user gets."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.masks.paste import scale_boxes_to_original
from pointrend_jax.masks.runs import changes_of_bits
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops.boxes import nonempty
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.ops.mask_changes import (
    MaskChanges,
    boxes_of_original,
    changed_bits,
    list_changes,
)
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.late_rows import LateRows
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.structures import (
    Array,
    Config,
    Detections,
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

# Pixels of original images up to which the device pastes. Its time and memory follow the image, the
# host's the boxes.
_MOST_PIXELS = 2**22


def build_instance_task(config: Config) -> Task:
    """The task of `config.model` for `config.task` "instance"."""
    return instance_task(build_model(config), pastes_masks=forms().pastes_masks)


@kept
def instance_task(model: MaskRCNN, *, pastes_masks: bool = False) -> Task:
    """Losses, predictions and initial variables of `model` as pure functions.

    Equal models share one task, and so what jax has traced and compiled of it.

    Args:
      pastes_masks: see devices/backend.py.
    """

    def draw(key: Array) -> Variables:
        # The compiler drops the forward pass.
        return {"buffers": {}} | dict(
            model.init(key, black_image(len(model.pixel_mean)), method=MaskRCNN.predict)
        )

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

    def find(variables: Variables, batch: ImageBatch) -> tuple[dict[str, Array], Detections]:
        found: Any = model.apply(variables, batch, method=MaskRCNN.find)
        return found

    def segment(
        variables: Variables, maps: dict[str, Array], detections: Detections, padded_hw: Array
    ) -> MaskLogits:
        masks: Any = model.apply(variables, maps, detections, padded_hw, method=MaskRCNN.segment)
        return masks

    def explain(
        variables: Variables, batch: ImageBatch, regions: Regions
    ) -> tuple[MaskLogits, list[RenderStep]]:
        steps: Any = model.apply(variables, batch, regions, method=MaskRCNN.explain)
        return steps

    def predict_scene(
        variables: Variables, batch: ImageBatch
    ) -> tuple[InstancePredictions, dict[str, Array]]:
        predicted: Any = model.apply(variables, batch, method=MaskRCNN.predict_scene)
        return predicted

    def render(
        variables: Variables, pyramid: dict[str, Array], regions: Regions, windows: Array,
        hw: tuple[int, int],
    ) -> list[RenderStep]:  # fmt: skip
        steps: Any = model.apply(
            variables, pyramid, regions, windows, hw, method=MaskRCNN.render_windows
        )
        return steps

    def encode_regions(variables: Variables, pyramid: dict[str, Array], regions: Regions) -> Any:
        return model.apply(variables, pyramid, regions, method=MaskRCNN.encode_regions)

    is_trainable = all_but(model.backbone.frozen_modules())

    return Task(
        init=init,
        shapes=shapes,
        loss=loss,
        predict=predict,
        find=find,
        segment=segment,
        predict_scene=predict_scene,
        deliver=pasted_instances if pastes_masks else None,
        exported=exported_instances,
        results=pasted_results if pastes_masks else instance_results,
        explain=explain,
        render=render,
        encode_regions=encode_regions,
        is_trainable=is_trainable,
        most_delivered=_MOST_PIXELS,
    )


class PastedInstances(NamedTuple):
    """Predictions, and where their masks change on the original images, [B, ...].

    rendered, coarse: of the two kinds of masks. changed: uint32 [B, D, w, h] of `changed_bits`, of
    rendered masks, for those that have no slots left. All None where the host pastes.
    """

    predictions: InstancePredictions
    rendered: MaskChanges | None = None
    coarse: MaskChanges | None = None
    changed: Array | None = None


def pasted_instances(
    predictions: InstancePredictions,
    batch: ImageBatch,
    original_hw: Int[Array, "B 2"],
    canvas_hw: tuple[int, int],
) -> PastedInstances:
    """Pastes the masks on the device, image after image.

    Args: canvas_hw, a size that holds every original image.
    """

    def changes_of(mask_logits: Array) -> tuple[MaskChanges, Array]:
        slots = _slots(mask_logits, canvas_hw)

        def of_image(image: tuple[Array, ...]) -> tuple[MaskChanges, Array]:
            own_logits, boxes, image_hw, own_hw = image
            boxes = boxes_of_original(boxes, image_hw, own_hw)
            changed = changed_bits(own_logits, boxes, own_hw, canvas_hw=canvas_hw)
            return list_changes(changed, own_hw, slots=slots), changed

        boxes = predictions.detections.boxes
        return jax.lax.map(of_image, (mask_logits, boxes, batch.image_hw, original_hw))

    rendered, changed = changes_of(predictions.mask_logits)
    # The host has the maps of coarse masks, which are small, and pastes what has no slots.
    coarse, _ = changes_of(predictions.coarse_logits)
    return PastedInstances(predictions, rendered, coarse, changed)


def exported_instances(
    predictions: InstancePredictions,
    batch: ImageBatch,
    original_hw: Int[Array, "1 2"],
    canvas_hw: tuple[int, int],
) -> dict[str, Array]:
    """The instances of one image in the frame of the original, D slots, as plain arrays.

    boxes float32 [D, 4], scores float32 [D], classes int32 [D], valid bool [D]; positions int32 [S]
    and ends int32 [D] of `MaskChanges`; changed uint32 [D, w, h] of `changed_bits`, for masks that
    have no slots left. What nobody asks the device for does not leave it.

    Args:
      canvas_hw: a size that holds the original image.
    Raises: ValueError if the changes of all masks on it may be more than an int32 counts.
    """
    detections = jax.tree.map(lambda x: x[0], predictions.detections)
    num_masks = len(detections.valid)
    if num_masks * math.prod(canvas_hw) >= 2**31:
        raise ValueError(
            f"{num_masks} masks on originals of {canvas_hw[0]} x {canvas_hw[1]} pixels have more "
            f"pixels than an int32 counts; originals may have {(2**31 - 1) // num_masks} pixels."
        )
    boxes = boxes_of_original(detections.boxes, batch.image_hw[0], original_hw[0])
    # As the host drops them.
    valid = detections.valid & nonempty(boxes)
    boxes = jnp.where(valid[:, None], boxes, 0.0)
    changed = changed_bits(predictions.mask_logits[0], boxes, original_hw[0], canvas_hw=canvas_hw)
    slots = _slots(predictions.mask_logits, canvas_hw)
    listed = list_changes(changed, original_hw[0], slots=slots)
    return {
        "boxes": boxes,
        "scores": detections.scores,
        "classes": detections.classes,
        "valid": valid,
        "positions": listed.positions,
        "ends": listed.ends,
        "changed": changed,
    }


def _slots(mask_logits: Array, canvas_hw: tuple[int, int]) -> int:
    """As if each mask had two changes in every column; what some do not need, others take."""
    return 2 * mask_logits.shape[1] * canvas_hw[1]


def instance_results(
    sample: EvalSample, predictions: InstancePredictions, class_names: tuple[str, ...]
) -> Iterator[PredictedInstances]:
    """The instances of each image of the batch, in the frame of the original image."""
    return pasted_results(sample, jax.device_get(predictions), class_names)


def pasted_results(
    sample: EvalSample,
    delivered: PastedInstances | InstancePredictions,
    class_names: tuple[str, ...],
) -> Iterator[PredictedInstances]:
    """`instance_results` of masks that the device has pasted, or of images that are too large for
    that; their maps stay on the device."""
    pasted = delivered if isinstance(delivered, PastedInstances) else PastedInstances(delivered)
    mask_logits = pasted.predictions.mask_logits
    found, coarse_logits, rendered, coarse = jax.device_get(
        (pasted.predictions.detections, pasted.predictions.coarse_logits, *pasted[1:3])
    )

    @cache
    def changed() -> np.ndarray:
        """Of all images, once a mask had no slots left."""
        return np.asarray(pasted.changed)

    slots = np.flatnonzero(sample.batch.valid)
    for slot, original_hw in zip(slots.tolist(), sample.original_hw, strict=True):
        detections = jax.tree.map(lambda x, slot=slot: x[slot], found)
        height, width = (int(side) for side in sample.batch.image_hw[slot])
        rows = np.flatnonzero(detections.valid)
        boxes, has_area = scale_boxes_to_original(
            detections.boxes[rows], (height, width), original_hw
        )
        rows = rows[has_area]
        # Indexing copies, so that the slots that hold nothing are not kept in memory.
        on_host = isinstance(mask_logits, np.ndarray)
        maps = mask_logits[slot, rows] if on_host else LateRows(mask_logits, slot, rows)

        def bit_by_bit(row: int, slot: int = slot, height: int = original_hw[0]) -> np.ndarray:
            return changes_of_bits(changed()[slot, row], height)

        masks = _own_changes(rendered, slot, rows, bit_by_bit)
        coarse_masks = _own_changes(coarse, slot, rows, lambda _: None)
        classes = detections.classes[rows]
        names = tuple(class_names[label] for label in classes)
        yield PredictedInstances(
            boxes, detections.scores[rows], classes, names,
            PredictedMasks(maps, boxes, original_hw, masks),
            PredictedMasks(coarse_logits[slot, rows], boxes, original_hw, coarse_masks),
        )  # fmt: skip


def _own_changes(
    changes: MaskChanges | None,
    image: int,
    rows: np.ndarray,
    beyond: Callable[[int], np.ndarray | None],
) -> list[np.ndarray | None] | None:
    """Of each of the rows of an image; `beyond` gives those of a mask that had no slots left."""
    if changes is None:
        return None
    positions, ends = np.asarray(changes.positions[image]), np.asarray(changes.ends[image])
    starts = np.concatenate([[0], ends[:-1]])
    return [
        positions[starts[row] : ends[row]].copy() if ends[row] <= len(positions) else beyond(row)
        for row in rows.tolist()
    ]
