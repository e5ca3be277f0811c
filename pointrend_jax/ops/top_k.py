"""The k largest of many numbers: by sorting all of them, or by counting until the k-th is known.

XLA sorts the whole axis for a GPU, of which PointRend wants a few in a hundred. Counted, the long
axis is read once for each four bits of a number and twice to find where the chosen ones lie; no
loop waits for the data, and only the chosen ones are sorted.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from pointrend_jax.devices.backend import forms

_BITS_A_PASS = 4
_LANES, _WORDS_A_GROUP = 32, 64
# Up to so many XLA finds without a sort. An axis so short takes few rounds to sort; and where a
# quarter is wanted, sorting what was chosen is most of it. Not measured.
_FEW, _SHORT, _TIMES = 16, 4096, 4


def top_k(x: Float[Array, "*S n"], k: int) -> tuple[Float[Array, "*S k"], Int[Array, "*S k"]]:
    """`jax.lax.top_k`: the k largest values of the last axis and where they stand, largest first.

    Of equal values the first comes first; -0.0 is below 0.0, NaN above all, NaN with a sign below.
    Both forms give the same bits, but for the order of several different NaN.

    Args:
      x: only of 16 or 32 bits are counted. k: n at most.
    """
    is_float = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize <= 4
    if forms().selects_by == "count" and is_float and is_counted(x.shape[-1], k):
        return top_k_by_count(x, k)
    values, index = jax.lax.top_k(x, k)
    return values, index


def is_counted(n: int, k: int) -> bool:
    """Whether the k largest of n numbers are counted where `Forms.selects_by` says "count"."""
    return k > _FEW and n > _SHORT and n >= _TIMES * k


def top_k_by_count(
    x: Float[Array, "*S n"], k: int
) -> tuple[Float[Array, "*S k"], Int[Array, "*S k"]]:
    """`top_k` without sorting the axis. x: of 16 or 32 bits, not empty. k: from 1 to n."""
    # It is read many times; what it is made of shall not be computed as often.
    x = jax.lax.optimization_barrier(x)
    keys = _ordered(x)
    index = _first_k(keys, _kth_largest(keys, k, 8 * x.dtype.itemsize), k)
    chosen = _at(keys, index)
    _, index = jax.lax.sort((~chosen, index), dimension=-1, num_keys=2, is_stable=False)
    return _at(x, index), index


def _ordered(x: Float[Array, "*S n"]) -> UInt32[Array, "*S n"]:
    """Integers in the order of the floats: with a sign, more bits mean a smaller number."""
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}"))
    sign = bits.dtype.type(1 << (8 * x.dtype.itemsize - 1))
    return jnp.where(bits >= sign, ~bits, bits | sign).astype(jnp.uint32)


def _kth_largest(keys: UInt32[Array, "*S n"], k: int, bits: int) -> UInt32[Array, "*S"]:
    """The largest number that k keys reach, found from its highest bits on."""
    found = jnp.zeros(keys.shape[:-1], jnp.uint32)
    for shift in range(bits - _BITS_A_PASS, -1, -_BITS_A_PASS):
        digits = [np.uint32(digit << shift) for digit in range(1, 2**_BITS_A_PASS)]
        reached = [count >= k for count in _count_from(keys, [found | digit for digit in digits])]
        found = found + (sum(x.astype(jnp.uint32) for x in reached) << np.uint32(shift))
    return found


def _count_from(
    keys: UInt32[Array, "*S n"], thresholds: list[UInt32[Array, "*S"]]
) -> tuple[Int[Array, "*S"], ...]:
    """How many keys reach each threshold, in one reduction that reads every key once."""
    reach = tuple((keys >= least[..., None]).astype(jnp.int32) for least in thresholds)
    nothing = (np.int32(0),) * len(reach)
    return tuple(jax.lax.reduce(reach, nothing, _add_each, (keys.ndim - 1,)))


def _add_each(these: tuple[Array, ...], those: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(a + b for a, b in zip(these, those, strict=True))


def _first_k(keys: UInt32[Array, "*S n"], kth: UInt32[Array, "*S"], k: int) -> Int[Array, "*S k"]:
    """Where the keys above the k-th stand, and then the first that equal it, each in order.

    One bit a key says which are above, and one which are equal. Each slot of the k looks for its
    own bit: in which group of words, in which word of them, and where in the word.
    """
    n = keys.shape[-1]
    # What is padded is equal to the smallest key at most, and then stands behind all that equal it.
    padded = [(0, 0)] * (keys.ndim - 1) + [(0, -n % (_LANES * _WORDS_A_GROUP))]
    lanes = jnp.pad(keys, padded).reshape(*keys.shape[:-1], -1, _LANES)
    kth = kth[..., None, None]
    words = jnp.concatenate([_packed(lanes > kth), _packed(lanes == kth)], axis=-1)
    groups = words.reshape(*keys.shape[:-1], -1, _WORDS_A_GROUP)
    ends_of_words = jnp.cumsum(_number_of_bits(groups), axis=-1)
    ends_of_groups = jnp.cumsum(ends_of_words[..., -1], axis=-1)

    slots = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), (*keys.shape[:-1], k))
    group, rank = _holder(ends_of_groups[..., None, :], slots)
    ends_of_words = jnp.take_along_axis(
        ends_of_words, group[..., None], axis=-2, mode="promise_in_bounds"
    )
    word, rank = _holder(ends_of_words, rank)
    word = group * _WORDS_A_GROUP + word
    # What is above a lane is shifted out, and the bits that are left are counted.
    above = np.uint32(_LANES - 1) - _lane_numbers((*word.shape, _LANES))
    lane, _ = _holder(_number_of_bits(_at(words, word)[..., None] << above), rank)
    return word % lanes.shape[-2] * _LANES + lane


def _packed(bits: Array) -> UInt32[Array, "*S words"]:
    return jnp.sum(bits.astype(jnp.uint32) << _lane_numbers(bits.shape), axis=-1, dtype=jnp.uint32)


def _lane_numbers(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    return jax.lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 1)


def _number_of_bits(words: UInt32[Array, "..."]) -> Int[Array, "..."]:
    return jax.lax.population_count(words).astype(jnp.int32)


def _holder(
    ends: Int[Array, "*#S parts"], rank: Int[Array, "*S"]
) -> tuple[Int[Array, "*S"], Int[Array, "*S"]]:
    """Which part holds what has this rank among all, and its rank there. ends: of each part."""
    is_before = ends <= rank[..., None]
    start = jnp.max(jnp.where(is_before, ends, 0), axis=-1)
    return jnp.sum(is_before, axis=-1, dtype=jnp.int32), rank - start


def _at(values: Array, index: Int[Array, "*S k"]) -> Array:
    return jnp.take_along_axis(values, index, axis=-1, mode="promise_in_bounds")
