"""Non-maximum suppression with static shapes, exact, and no slower than it must be.

Candidates come sorted by score and are taken in blocks of 256. A block is compared with the boxes
kept so far and with itself, where "kept" is the fixed point of "no kept earlier box overlaps me".
The loop ends when all outputs are filled or no candidate is left, so its cost follows the number of
boxes kept, not the number of candidates.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.ops.boxes import box_iou

BLOCK = 256


class _Kept(NamedTuple):
    boxes: Array  # [max_outputs, 4]
    groups: Array  # [max_outputs], -1 where nothing is kept yet
    indices: Array  # [max_outputs]
    num: Array  # scalar: boxes kept so far
    block: Array  # scalar: the next one to look at


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
    num_blocks = -(-boxes.shape[0] // BLOCK)
    padding = num_blocks * BLOCK - boxes.shape[0]
    boxes = jnp.pad(boxes, ((0, padding), (0, 0)))
    groups = jnp.pad(groups, (0, padding))
    valid = jnp.pad(valid, (0, padding))

    def block_of(x: Array, block: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(x, block * BLOCK, BLOCK)

    def unfinished(kept: _Kept) -> Array:
        more = kept.block < num_blocks
        first = jnp.minimum(kept.block, num_blocks - 1) * BLOCK
        return more & (kept.num < max_outputs) & valid[first]

    def take_block(kept: _Kept) -> _Kept:
        own_boxes, own_groups = block_of(boxes, kept.block), block_of(groups, kept.block)
        by_kept = _suppresses(kept.boxes, kept.groups, own_boxes, own_groups, iou_threshold)
        free = block_of(valid, kept.block) & ~jnp.any(by_kept, axis=0)
        within = _suppresses(own_boxes, own_groups, own_boxes, own_groups, iou_threshold)
        keep = _fixed_point(free, jnp.triu(within, k=1))
        slot = jnp.where(keep, kept.num + jnp.cumsum(keep) - 1, max_outputs)
        return _Kept(
            boxes=kept.boxes.at[slot].set(own_boxes, mode="drop"),
            groups=kept.groups.at[slot].set(own_groups, mode="drop"),
            indices=kept.indices.at[slot].set(
                kept.block * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32), mode="drop"
            ),
            num=kept.num + jnp.sum(keep, dtype=jnp.int32),
            block=kept.block + 1,
        )

    nothing = _Kept(
        boxes=jnp.zeros((max_outputs, 4), boxes.dtype),
        groups=jnp.full((max_outputs,), -1, groups.dtype),
        indices=jnp.zeros((max_outputs,), jnp.int32),
        num=jnp.zeros((), jnp.int32),
        block=jnp.zeros((), jnp.int32),
    )
    kept = jax.lax.while_loop(unfinished, take_block, nothing)
    return kept.indices, jnp.arange(max_outputs) < kept.num


def _suppresses(
    boxes: Array, groups: Array, other_boxes: Array, other_groups: Array, iou_threshold: float
) -> Array:
    same_group = groups[:, None] == other_groups[None, :]
    return same_group & (box_iou(boxes, other_boxes) > iou_threshold)


def _fixed_point(free: Array, suppresses: Array) -> Array:
    """Greedy NMS of one block: keep[j] = free[j] and no kept i < j suppresses j.

    Each round settles at least one more box, and in practice a few rounds settle all.
    """

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        return free & ~jnp.any(suppresses & keep[:, None], axis=0), keep

    def changed(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0] != state[1])

    keep, _ = jax.lax.while_loop(changed, step, step((free, free)))
    return keep
