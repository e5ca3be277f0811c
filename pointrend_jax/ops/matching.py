"""Which ground truth a box answers for, and which boxes a step trains on.

A random choice takes a priority for each candidate, lowest first, instead of a key, so that a
reference's permutation can be fed in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.boxes import iou_of_sides
from pointrend_jax.ops.top_k import top_k

IGNORE = -1
_ROWS, _LANES = 8, 128


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
    number = boxes.shape[0]
    # The boxes fill registers of a TPU, and the ground truths lie one behind the other, so that the
    # best of these are found without looking across a register.
    missing = -number % (_ROWS * _LANES)
    sides = jnp.pad(boxes, ((0, missing), (0, 0))).T.reshape(4, 1, -1, _LANES)
    exists = jnp.pad(boxes_valid, (0, missing)).reshape(1, -1, _LANES)
    of_gt = gt_valid.reshape(-1, 1, 1)
    overlap = iou_of_sides(gt_boxes.T.reshape(4, -1, 1, 1), sides)
    masked = jnp.where(of_gt & exists, overlap, -1.0)
    # A TPU computes what a reduction reads anew for each, so which boxes are valid is asked after
    # the reduction there. A CPU keeps the overlaps, once.
    overlap = jnp.where(of_gt, overlap, -1.0) if forms().reduces_at_once else masked
    if allow_low_quality:
        best_of_gt = jnp.max(masked, axis=(1, 2), keepdims=True)
        is_best_of_gt = overlap == jnp.where(best_of_gt >= 0, best_of_gt, jnp.inf)
    else:
        is_best_of_gt = jnp.zeros_like(overlap, bool)
    best, gt_index, is_best = _first_best(overlap, is_best_of_gt)
    low, high = thresholds
    labels = jnp.where(best < low, 0, jnp.where(best < high, IGNORE, 1))
    labels = jnp.where(is_best, 1, labels)
    labels = jnp.where(exists[0], labels, IGNORE)
    gt_index = jnp.where(exists[0], gt_index, 0)
    return Matches(gt_index.reshape(-1)[:number], labels.reshape(-1)[:number])


def best_ground_truth(
    boxes: Float[Array, "A 4"], gt_boxes: Float[Array, "G 4"], gt_valid: Bool[Array, " G"]
) -> Int[Array, " A"]:
    """The row of the ground truth that each box overlaps most, as `match_boxes` has it."""
    overlap = iou_of_sides(gt_boxes.T.reshape(4, -1, 1), boxes.T.reshape(4, 1, -1))
    return jnp.argmax(jnp.where(gt_valid[:, None], overlap, -1.0), axis=0)


def _first_best(
    values: Float[Array, "G R L"], flags: Bool[Array, "G R L"]
) -> tuple[Float[Array, "R L"], Int[Array, "R L"], Bool[Array, "R L"]]:
    """The largest value along the first axis, 0 at least, where it stands first, and whether there
    is a flag."""
    if not forms().reduces_at_once:
        best, place = jnp.max(values, axis=0), jnp.argmax(values, axis=0)
        return jnp.maximum(best, 0.0), place, jnp.any(flags, axis=0)

    def better(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
        (value, place, flag), (other, other_place, other_flag) = a, b
        first = (value > other) | ((value == other) & (place < other_place))
        place = jnp.where(first, place, other_place)
        return jnp.maximum(value, other), place, jnp.maximum(flag, other_flag)

    place = jax.lax.broadcasted_iota(jnp.int32, values.shape, 0)
    nothing = (np.float32(-np.inf), np.int32(0), np.int32(0))
    best, place, flag = jax.lax.reduce(
        (values, place, flags.astype(jnp.int32)), nothing, better, (0,)
    )
    return jnp.maximum(best, 0.0), place, flag != 0


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
    negated, indices = top_k(jnp.where(candidates, -priority, -jnp.inf), num)
    return indices, negated > -jnp.inf
