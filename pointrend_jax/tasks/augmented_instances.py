"""Instances predicted from scales of an image and its mirror image together.

The boxes that all views find go through NMS as one set; each view then predicts the masks of the
boxes that are left, and an instance has the mean of their probabilities, in the frame of its box.

Source: Detectron2's GeneralizedRCNNWithTTA. It computes the maps of a view twice; here they wait on
the device for the masks, so memory grows with the number of views.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.data.splits import EvalSamples, buckets
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.devices.compilations import Compilations
from pointrend_jax.devices.placement import replicated, split
from pointrend_jax.layers.regions import MaskLogits
from pointrend_jax.ops.boxes import clip_boxes
from pointrend_jax.ops.nms import nms_sorted
from pointrend_jax.structures import Config, Detections, EvalSample, InstancePredictions
from pointrend_jax.tasks.predict_batches import made_ahead, on_parts
from pointrend_jax.tasks.task import Task, Variables, kept
from pointrend_jax.tasks.views import views

# Probabilities of a mean are kept so far from 0 and 1, that their logits are finite.
_MARGIN = 1e-6


def augmented_instances(
    task: Task,
    variables: Variables,
    eval_samples: EvalSamples,
    config: Config,
    *,
    process: tuple[int, int],
) -> Iterator[tuple[EvalSample, InstancePredictions]]:
    """This process's evaluation images in their first view, with what `Task.results` takes.

    Args:
      process: its index, and how many there are.
    """
    of_views, box = views(config), config.model.box
    programs = _local_programs(task, float(box.nms_threshold), int(box.detections_per_image))
    variables, flips = replicated(variables), tuple(flip for _, flip in of_views)
    num_canvases = len(buckets(config)) * len({scale for scale, _ in of_views})
    streams = [eval_samples(*process, scale, flip) for scale, flip in of_views]
    # Closed in any case, as in `one_ahead`.
    with closing(made_ahead(zip(*streams, strict=True))) as made:
        for samples in made:
            batches = [split(sample.batch) for sample in samples]
            views_hw = [batch.image_hw for batch in batches]
            found = []
            for batch in batches:
                with programs.compilations.of(batch, num_canvases):
                    found.append(programs.find(variables, batch))
            merged = programs.merge([detections for _, detections in found], views_hw, flips)
            total: Any = None
            for batch, (maps, _), flip in zip(batches, found, flips, strict=True):
                frames = views_hw[0], batch.image_hw
                masks = programs.masks(variables, flip, maps, merged, frames, batch.padded_hw)
                total = masks if total is None else _added(total, masks)
            logits = jax.tree.map(lambda x: _logits_of_mean(x, len(flips)), total)
            # The host pastes, whatever pastes single predictions.
            yield samples[0], InstancePredictions(merged, logits.rendered, logits.coarse)


class _Programs(NamedTuple):
    """On all devices of this process, an equal part of the batch on each.

    find: (variables, images) to maps and detections. merge: as `merge_detections`. masks:
    (variables, whether the images are mirrored, maps, detections, (frame of the detections, size of
    the images), padded_hw) to probabilities.
    """

    find: Callable[..., tuple[Any, Detections]]
    merge: Callable[..., Detections]
    masks: Callable[..., MaskLogits]
    compilations: Compilations


@kept
def _local_programs(task: Task, iou_threshold: float, most: int) -> _Programs:
    compiled = partial(jax.jit, compiler_options=compiler_options())
    find, segment = task.find, task.segment
    assert find is not None, "a task of instances"
    assert segment is not None, "a task of instances"

    def masks(
        variables: Variables,
        flipped: Array,
        maps: Any,
        detections: Detections,
        frames: tuple[Array, Array],
        padded_hw: Array,
    ) -> MaskLogits:
        boxes = boxes_in_view(detections.boxes, *frames, flipped=flipped)
        logits = segment(variables, maps, detections._replace(boxes=boxes), padded_hw)
        probabilities = jax.tree.map(jax.nn.sigmoid, logits)
        return jax.tree.map(lambda x: jnp.where(flipped, x[..., ::-1], x), probabilities)

    def merge(found: Any, views_hw: Any, flips: tuple[bool, ...]) -> Detections:
        merged = partial(merge_detections, flips=flips, iou_threshold=iou_threshold, most=most)
        return on_parts(merged)(found, views_hw)

    return _Programs(
        find=compiled(on_parts(find, num_whole=1)),
        merge=compiled(merge, static_argnums=2),
        masks=compiled(on_parts(masks, num_whole=2)),
        compilations=Compilations("test-time augmentation"),
    )


def merge_detections(
    found: Sequence[Detections],
    views_hw: Sequence[Int[Array, "B 2"]],
    flips: tuple[bool, ...],
    *,
    iou_threshold: float,
    most: int,
) -> Detections:
    """The best of the detections of all views after NMS within each class.

    Args:
      found: of each view, in its own frame.
      views_hw: height and width of the images in each view.
      flips: which views are mirrored; not the first.
      most: of an image.
    Returns: detections in the frame of the first view.
    """
    frame = views_hw[0]
    boxes = jnp.concatenate(
        [
            boxes_from_view(detections.boxes, frame, hw, flipped=flip)
            for detections, hw, flip in zip(found, views_hw, flips, strict=True)
        ],
        axis=1,
    )
    scores, classes, valid = (
        jnp.concatenate([getattr(d, name) for d in found], axis=1)
        for name in ("scores", "classes", "valid")
    )

    def of_image(
        boxes: Array, scores: Array, classes: Array, valid: Array, image_hw: Array
    ) -> Detections:
        order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
        boxes = clip_boxes(boxes[order], image_hw)
        kept_rows, there = nms_sorted(
            boxes, classes[order], valid[order], iou_threshold=iou_threshold, max_outputs=most
        )
        rows = order[kept_rows]
        return Detections(
            boxes=jnp.where(there[:, None], boxes[kept_rows], 0.0),
            scores=jnp.where(there, scores[rows], 0.0),
            classes=jnp.where(there, classes[rows], 0),
            valid=there,
        )

    return jax.vmap(of_image)(boxes, scores, classes, valid, frame)


def boxes_from_view(
    boxes: Float[Array, "B D 4"],
    frame_hw: Int[Array, "B 2"],
    view_hw: Int[Array, "B 2"],
    *,
    flipped: bool | Bool[Array, ""],
) -> Float[Array, "B D 4"]:
    """Boxes of a view, in pixels of images of the size `frame_hw` that are not mirrored."""
    return _scaled(_mirrored(boxes, view_hw, flipped), view_hw, frame_hw)


def boxes_in_view(
    boxes: Float[Array, "B D 4"],
    frame_hw: Int[Array, "B 2"],
    view_hw: Int[Array, "B 2"],
    *,
    flipped: bool | Bool[Array, ""],
) -> Float[Array, "B D 4"]:
    """The inverse of `boxes_from_view`."""
    return _mirrored(_scaled(boxes, frame_hw, view_hw), view_hw, flipped)


def _scaled(boxes: Array, from_hw: Array, to_hw: Array) -> Array:
    factor = (to_hw / from_hw).astype(boxes.dtype)
    return boxes * factor[:, None, jnp.asarray([1, 0, 1, 0])]


def _mirrored(boxes: Array, image_hw: Array, flipped: bool | Array) -> Array:
    width = image_hw[:, 1, None].astype(boxes.dtype)
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    return jnp.where(flipped, jnp.stack([width - x1, y0, width - x0, y1], axis=-1), boxes)


@jax.jit
def _added(total: MaskLogits, masks: MaskLogits) -> MaskLogits:
    return jax.tree.map(jnp.add, total, masks)


def _logits_of_mean(total: Array, number: int) -> Array:
    return jax.scipy.special.logit(jnp.clip(total / number, _MARGIN, 1 - _MARGIN))
