"""Non-maximum suppression with static shapes, exact, and no slower than it must be.

Candidates come sorted by score and are taken in blocks. A block is compared with the boxes kept so
far and with itself, where "kept" is the fixed point of "no kept earlier box overlaps me". A fixed
number of rounds towards that point decides all or most of the block; the next block begins with
the first box that is not decided. Who overlaps whom is kept as words of 32 bits, so that a round
reads a thirty-second of the pairs. The loop over blocks ends when all outputs are filled or no
candidate is left, so its cost follows the number of boxes kept, not the number of candidates.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.boxes import iou_of_sides

_BITS, _GROUP, _INDEX = 32, 4, 5


class _Kept(NamedTuple):
    rows: Array  # [B * max_outputs, 6]: box, group, index; 0 where nothing is kept yet
    num: Array  # [B]: boxes kept so far
    next: Array  # [B]: the first candidate that is not decided
    goes_on: Array  # scalar: whether there is a next block
    start: Array  # scalar: its first candidate
    block: Array  # [6, B, block]: the candidates of that block, like rows


def nms_sorted(
    boxes: Float[Array, "*B R 4"],
    groups: Int[Array, "*B R"],
    valid: Bool[Array, "*B R"],
    *,
    iou_threshold: float,
    max_outputs: int,
) -> tuple[Int[Array, "*B O"], Bool[Array, "*B O"]]:
    """The first `max_outputs` survivors of greedy NMS, in order.

    Args:
      boxes: by descending score.
      groups: only boxes of one group (a class, a pyramid level) suppress one another; numbers that
        float32 has, such as all up to 2**24.
      valid: False for padding; all valid candidates come before the others.
      iou_threshold: a box is dropped if its overlap with a kept one is larger (strictly).
    Returns:
      indices into `boxes`, and which of them are valid; invalid ones are 0.
    """
    images, num = groups.shape[:-1], groups.shape[-1]
    dtype = jnp.promote_types(boxes.dtype, jnp.float32)
    index = jnp.broadcast_to(jnp.arange(num, dtype=dtype), groups.shape)
    fields = [*jnp.moveaxis(boxes.astype(dtype), -1, 0), groups.astype(dtype), index]
    fields = jnp.stack(fields).reshape(len(fields), math.prod(images), num)
    existing = jnp.sum(valid, axis=-1, dtype=jnp.int32).reshape(math.prod(images))
    kept = _nms(fields, existing, iou_threshold, max_outputs)
    found = jnp.arange(max_outputs)[None] < kept.num[:, None]
    index = kept.rows[:, _INDEX].astype(jnp.int32)
    return index.reshape(*images, max_outputs), found.reshape(*images, max_outputs)


def _nms(
    fields: Float[Array, "6 B R"], existing: Int[Array, " B"], iou_threshold: float, most: int
) -> _Kept:
    """fields: of the rows of `_Kept`. existing: candidates of each image. most: that are kept."""
    num_fields, images, num = fields.shape
    block = forms().nms_block
    # A block may begin anywhere, and reaches beyond the last candidate then.
    fields = jnp.pad(fields, ((0, 0), (0, 0), (0, block)))
    own, image = (jnp.arange(x, dtype=jnp.int32)[None] for x in (block, images))
    is_before = _words(own[..., None] < own[:, None])

    def block_from(num_kept: Array, following: Array) -> tuple[Array, Array, Array]:
        # All images share a block: where one is behind, the others wait.
        is_going = (num_kept < most) & (following < existing)
        start = jnp.min(jnp.where(is_going, following, num))
        return start < num, start, jax.lax.dynamic_slice_in_dim(fields, start, block, axis=2)

    def take_block(kept: _Kept) -> _Kept:
        candidates = kept.block
        place = kept.start + own
        free = (kept.next[:, None] <= place) & (place < existing[:, None])
        # A TPU turns the rows once, and not each field by itself.
        of_kept = jnp.moveaxis(kept.rows.reshape(images, most, num_fields), -1, 0)
        of_kept = jax.lax.optimization_barrier(of_kept)
        by_kept = _suppresses(of_kept, candidates, iou_threshold)
        # The largest of numbers is found faster than whether one of them is true.
        free &= jnp.max(jnp.where(by_kept, 1.0, 0.0), axis=1, initial=0.0) == 0
        within = _words(_suppresses(candidates, candidates, iou_threshold)) & is_before
        keep, decided = _greedy(free, within)
        rank = jnp.sum(jax.lax.population_count(_words(keep)[..., None] & is_before), axis=1)
        slot = kept.num[:, None] + rank
        # What is not kept is written beyond the end, each box somewhere else, so that no two writes
        # meet and a GPU needs no order for them.
        slot = jnp.where(
            keep & (slot < most), image.T * most + slot, images * most + image.T * block + own
        )
        rows = jnp.moveaxis(candidates, 0, -1).reshape(-1, num_fields)
        rows = kept.rows.at[slot.reshape(-1)].set(rows, mode="drop", unique_indices=True)
        num_kept = kept.num + jnp.sum(keep, axis=1, dtype=jnp.int32)
        following = jnp.clip(kept.start + decided, kept.next, num)
        return _Kept(rows, num_kept, following, *block_from(num_kept, following))

    nothing = jnp.zeros_like(existing)
    rows = jnp.zeros((images * most, num_fields), fields.dtype)
    # The next block is at hand when a turn begins: a CPU would read it anew for each comparison.
    first = _Kept(rows, nothing, nothing, *block_from(nothing, nothing))
    return jax.lax.while_loop(lambda kept: kept.goes_on, take_block, first)


def _suppresses(
    a: Float[Array, "6 B N"], b: Float[Array, "6 B M"], iou_threshold: float
) -> Bool[Array, "B N M"]:
    a, b = a[..., None], b[:, :, None]
    return (a[_GROUP] == b[_GROUP]) & (iou_of_sides(a, b) > iou_threshold)


def _greedy(
    free: Bool[Array, "B R"], suppresses: Int[Array, "B W R"]
) -> tuple[Bool[Array, "B R"], Int[Array, " B"]]:
    """Greedy NMS of the first boxes of a block: keep[j] = free[j] and no kept i < j suppresses j.

    Each round settles at least one more box, and in practice a few rounds settle all. What a round
    gives keeps too much and too little in turn, so where two agree they are right.

    Args:
      suppresses: words of the bits of all i, for each j.
    Returns:
      which of the decided boxes are kept, and how many of the first boxes are decided.
    """
    # This is computed once, and not in each round again.
    by_free = jax.lax.optimization_barrier(suppresses & _words(free)[..., None])
    clear = before = jnp.ones_like(free, jnp.int32)
    for _ in range(forms().nms_rounds):
        by_clear = by_free & _words(clear)[..., None]
        clear, before = jnp.min(jnp.where(by_clear != 0, 0, 1), axis=1), clear
    place = jnp.arange(free.shape[1], dtype=jnp.int32)[None]
    undecided = free & (clear != before)
    decided = jnp.min(jnp.where(undecided, place, free.shape[1]), axis=1)
    return free & (clear != 0) & (place < decided[:, None]), decided


def _words(bits: Bool[Array, "B R *M"] | Int[Array, "B R *M"]) -> Int[Array, "B W *M"]:
    """The numbers 0 and 1 of an axis as words of 32 bits: word w has those of w, w + W, ..."""
    of_words = bits.reshape(bits.shape[0], _BITS, -1, *bits.shape[2:]).astype(jnp.int32)
    bit = jax.lax.broadcasted_iota(jnp.int32, (1, _BITS, *[1] * (of_words.ndim - 2)), 1)
    return jnp.sum(of_words << bit, axis=1)
