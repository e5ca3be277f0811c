"""Non-maximum suppression with static shapes, exact, and no slower than it must be.

Candidates come sorted by score and are taken in blocks. A block is compared with the boxes kept so
far and with itself, where "kept" is the fixed point of "no kept earlier box overlaps me". A fixed
number of rounds towards that point decides all or most of the block; the next block begins with
the first box that is not decided. The loop over blocks ends when all outputs are filled or no
candidate is left, so its cost follows the number of boxes kept, not the number of candidates.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.boxes import box_iou


class _Kept(NamedTuple):
    boxes: Array  # [max_outputs, 4]
    groups: Array  # [max_outputs], -1 where nothing is kept yet
    indices: Array  # [max_outputs]
    num: Array  # scalar: boxes kept so far
    next: Array  # scalar: the first candidate that is not decided


def nms_sorted(
    boxes: Float[Array, "R 4"],
    groups: Int[Array, " R"],
    valid: Bool[Array, " R"],
    *,
    iou_threshold: float,
    max_outputs: int,
) -> tuple[Int[Array, " O"], Bool[Array, " O"]]:
    """The first `max_outputs` survivors of greedy NMS, in order.

    Args:
      boxes: by descending score.
      groups: only boxes of one group (a class, a pyramid level) suppress one another.
      valid: False for padding; all valid candidates come before the others.
      iou_threshold: a box is dropped if its overlap with a kept one is larger (strictly).
    Returns:
      indices into `boxes`, and which of them are valid; invalid ones are 0.
    """
    num, block = boxes.shape[0], forms().nms_block
    # A block may begin anywhere, and reaches beyond the last candidate then.
    boxes = jnp.pad(boxes, ((0, block), (0, 0)))
    groups = jnp.pad(groups, (0, block))
    valid = jnp.pad(valid, (0, block))

    def unfinished(kept: _Kept) -> Array:
        # Beyond the last candidate nothing is valid.
        return (kept.num < max_outputs) & valid[kept.next]

    def take_block(kept: _Kept) -> _Kept:
        own_boxes, own_groups, own_valid = (
            jax.lax.dynamic_slice_in_dim(x, kept.next, block) for x in (boxes, groups, valid)
        )
        by_kept = _suppresses(kept.boxes, kept.groups, own_boxes, own_groups, iou_threshold)
        free = own_valid & ~jnp.any(by_kept, axis=0)
        within = _suppresses(own_boxes, own_groups, own_boxes, own_groups, iou_threshold)
        keep, decided = _greedy(free, jnp.triu(within, k=1))
        own = jnp.arange(block, dtype=jnp.int32)
        # What is not kept is written beyond the end, each box somewhere else, so that no two writes
        # meet and a GPU needs no order for them.
        slot = jnp.where(keep, kept.num + jnp.cumsum(keep) - 1, max_outputs + block + own)

        def write(x: Array, values: Array) -> Array:
            return x.at[slot].set(values, mode="drop", unique_indices=True)

        return _Kept(
            boxes=write(kept.boxes, own_boxes),
            groups=write(kept.groups, own_groups),
            indices=write(kept.indices, kept.next + own),
            num=kept.num + jnp.sum(keep, dtype=jnp.int32),
            next=jnp.minimum(kept.next + decided, num),
        )

    nothing = _Kept(
        boxes=jnp.zeros((max_outputs, 4), boxes.dtype),
        groups=jnp.full((max_outputs,), -1, groups.dtype),
        indices=jnp.zeros((max_outputs,), jnp.int32),
        num=jnp.zeros((), jnp.int32),
        next=jnp.zeros((), jnp.int32),
    )
    kept = jax.lax.while_loop(unfinished, take_block, nothing)
    return kept.indices, jnp.arange(max_outputs) < kept.num


def _suppresses(
    boxes: Array, groups: Array, other_boxes: Array, other_groups: Array, iou_threshold: float
) -> Array:
    same_group = groups[:, None] == other_groups[None, :]
    return same_group & (box_iou(boxes, other_boxes) > iou_threshold)


def _greedy(
    free: Bool[Array, " R"], suppresses: Bool[Array, "R R"]
) -> tuple[Bool[Array, " R"], Int[Array, ""]]:
    """Greedy NMS of the first boxes of a block: keep[j] = free[j] and no kept i < j suppresses j.

    Each round settles at least one more box, and in practice a few rounds settle all. What a round
    gives keeps too much and too little in turn, so where two agree they are right.

    Returns:
      which of the decided boxes are kept, and how many of the first boxes are decided.
    """
    keep = before = free
    for _ in range(forms().nms_rounds):
        keep, before = free & ~jnp.any(suppresses & keep[:, None], axis=0), keep
    undecided = jnp.cumsum(keep != before) > 0
    return keep & ~undecided, jnp.sum(~undecided, dtype=jnp.int32)
