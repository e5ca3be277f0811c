"""RoIs in chunks of about equally much work, for loops that turn as often as the data wants.

Static shapes and exactness meet there: a chunk has a fixed number of RoIs, and its loop turns as
often as the largest of them needs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


class Chunks(NamedTuple):
    """RoIs by ascending number of turns.

    rois: what was given of them, arrays [chunks, size]; turns [chunks, size]: of each RoI; places
    [chunks, size]: which RoI it is, or where there are no turns a place of its own beyond all;
    first: the first chunk that has any.
    """

    rois: Any
    turns: Array
    places: Array
    first: Array


def chunks_by_turns(rois: Any, turns: Int[Array, " N"], size: int) -> Chunks:
    """Args: rois, arrays [N] in any tree; turns, that each RoI needs, 0 for one that is left out;
    size, RoIs of a chunk."""
    order = jnp.argsort(turns)
    num_rois = order.shape[0]
    # What fills the first chunk has no turns either.
    filling = -num_rois % size

    def chunked(x: Array) -> Array:
        return jnp.pad(x[order], (filling, 0)).reshape(-1, size)

    of_chunks, turns_of_chunks = jax.tree.map(chunked, (rois, turns))
    places = jnp.pad(order, (filling, 0)).reshape(-1, size)
    beyond = num_rois + jnp.arange(places.size, dtype=places.dtype).reshape(-1, size)
    places = jnp.where(turns_of_chunks > 0, places, beyond)
    without = filling + jnp.sum(turns == 0, dtype=jnp.int32)
    return Chunks(of_chunks, turns_of_chunks, places, without // size)
