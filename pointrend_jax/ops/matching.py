"""Which ground truth a box answers for, and which boxes a step trains on.

A random choice takes a priority for each candidate, lowest first, instead of a key, so that a
reference's permutation can be fed in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.ops.boxes import box_iou

IGNORE = -1


class Matches(NamedTuple):
    """gt_index: [A] row of the best ground truth. labels: [A] 1 object, 0 background, -1 ignore."""

    gt_index: Array
    labels: Array


def match_boxes(
    boxes: Float[Array, "A 4"],
    gt_boxes: Float[Array, "G 4"],
    *,
    boxes_valid: Bool[Array, " A"],
    gt_valid: Bool[Array, " G"],
    thresholds: tuple[float, float],
    allow_low_quality: bool,
) -> Matches:
    """Labels each box by its largest overlap with a ground truth.

    Below `thresholds[0]` it is background, from `thresholds[1]` on an object, between them ignored;
    boxes that are not valid are ignored. With `allow_low_quality` the best boxes of every ground
    truth become objects whatever their overlap, and keep the index of their own best.
    Source: Detectron2 Matcher and RPN.label_and_sample_anchors.
    """
    overlap = box_iou(gt_boxes, boxes)
    overlap = jnp.where(gt_valid[:, None] & boxes_valid[None, :], overlap, -1.0)
    best = jnp.maximum(jnp.max(overlap, axis=0), 0.0)
    low, high = thresholds
    labels = jnp.where(best < low, 0, jnp.where(best < high, IGNORE, 1))
    if allow_low_quality:
        best_of_gt = jnp.max(overlap, axis=1, keepdims=True)
        is_best = jnp.any((overlap == best_of_gt) & gt_valid[:, None] & (best_of_gt >= 0), axis=0)
        labels = jnp.where(is_best, 1, labels)
    labels = jnp.where(boxes_valid, labels, IGNORE)
    return Matches(jnp.argmax(overlap, axis=0), labels)


def sample_by_priority(
    foreground: Bool[Array, " A"],
    background: Bool[Array, " A"],
    priority: Float[Array, " A"],
    *,
    num_samples: int,
    positive_fraction: float,
) -> tuple[Int[Array, " S"], Bool[Array, " S"], Bool[Array, " S"]]:
    """`num_samples` slots: at most the fraction of foreground, the rest of the slots background.

    Returns:
      indices: [S] candidates; foreground in the first slots, by priority.
      is_foreground: [S].
      valid: [S]; False where there were not enough candidates (index 0).
    Source: Detectron2 subsample_labels. The first `int(S * positive_fraction)` slots hold every
    foreground sample, so that a mask head needs only these.
    """
    num_positive = num_foreground_slots(num_samples, positive_fraction)
    positive, positive_valid = _lowest(foreground, priority, num_positive)
    negative, negative_valid = _lowest(background, priority, num_samples)
    room = num_samples - jnp.sum(positive_valid)
    negative_valid &= jnp.arange(negative.shape[0]) < room

    indices = jnp.concatenate([positive, negative])
    valid = jnp.concatenate([positive_valid, negative_valid])
    is_foreground = jnp.arange(indices.shape[0]) < positive.shape[0]
    # There may be fewer candidates than slots; whoever reads a part of the slots counts on all.
    missing = max(0, num_samples - indices.shape[0])
    indices, valid, is_foreground = (
        jnp.pad(x, (0, missing)) for x in (indices, valid, is_foreground)
    )
    # Stable: invalid slots go to the end, the order within each group stays.
    order = jnp.argsort(~valid, stable=True)[:num_samples]
    valid = valid[order]
    return jnp.where(valid, indices[order], 0), is_foreground[order] & valid, valid


def num_foreground_slots(num_samples: int, positive_fraction: float) -> int:
    """How many of the first slots of `sample_by_priority` may hold foreground."""
    return min(int(num_samples * positive_fraction), num_samples)


def _lowest(candidates: Array, priority: Array, num: int) -> tuple[Array, Array]:
    """Indices of the `num` candidates of lowest priority, and which of them exist."""
    num = min(num, candidates.shape[0])
    negated, indices = jax.lax.top_k(jnp.where(candidates, -priority, -jnp.inf), num)
    return indices, negated > -jnp.inf
