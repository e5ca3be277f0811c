"""Masks pasted onto the image on the device, and only where they change brought to the host.

Mask R-CNN, inference. The pixels are those of masks/paste.py, in the column-major order of COCO's
RLE; what leaves the device is a few thousand numbers and no map. Nothing here sorts, and no loop
waits for what was computed: every shape and number of rounds follows from the canvas. Only where
nobody waits for a branch is a mask without a box left out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.boxes import nonempty

# Bits of a word; a column of the canvas is a whole number of words.
_BITS = 32
# What a round may hold of the pasted masks, should the compiler write them out: 128 MiB.
_PIXELS_AT_A_TIME = 2**25


class MaskChanges(NamedTuple):
    """Where the masks of one image change, mask by mask.

    Attributes:
      positions: int32 [S], x * H + y of the pixels that differ from the one before in column-major
        order, ascending within a mask; before the first pixel a mask is 0. 0 in slots beyond the
        last change.
      ends: int32 [D], the number of changes of a mask and all before it. A mask is whole if its
        end is at most S; what lies beyond has no slot.
    """

    positions: Array
    ends: Array


def changed_bits(
    mask_logits: Float[Array, "D M M"],
    boxes: Float[Array, "D 4"],
    image_hw: Int[Array, "2"],
    *,
    canvas_hw: tuple[int, int],
) -> UInt32[Array, "D w h"]:
    """The changes of each pasted mask, pixel by pixel: bit b of word (x, y) is of row 32 y + b.

    Args:
      mask_logits: in the frame of their boxes.
      boxes: xyxy in pixels of the image that is pasted on; an empty one gives an empty mask.
      image_hw: (height, width) of that image.
      canvas_hw: (., w), a size that holds the image, of up to 32 h rows; time follows it and the
        number of masks, or of boxes that are not empty (`Forms.works_on_all_rows`).
    """
    num_masks, (height, width) = len(boxes), canvas_hw
    words_high = -(-height // _BITS)
    if num_masks == 0:
        return jnp.zeros((0, width, words_high), jnp.uint32)
    rounds = num_masks
    if forms().works_on_all_rows:
        rounds = -(-num_masks * width * words_high * _BITS // _PIXELS_AT_A_TIME)
    at_a_time = -(-num_masks // min(rounds, num_masks))
    rounds = -(-num_masks // at_a_time)
    missing = rounds * at_a_time - num_masks

    def in_rounds(x: Array) -> Array:
        padded = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(rounds, at_a_time, *x.shape[1:])

    def paste(masks: tuple[Array, Array]) -> UInt32[Array, "n w h"]:
        return _changed_bits(_pasted_bits(*masks, image_hw, width, words_high), image_hw)

    def paste_if_any(masks: tuple[Array, Array]) -> UInt32[Array, "n w h"]:
        nothing = jnp.zeros((at_a_time, width, words_high), jnp.uint32)
        return jax.lax.cond(jnp.any(nonempty(masks[1])), paste, lambda _: nothing, masks)

    paste_round = paste if forms().works_on_all_rows else paste_if_any
    changed = jax.lax.map(paste_round, (in_rounds(mask_logits), in_rounds(boxes)))
    return changed.reshape(-1, width, words_high)[:num_masks]


def list_changes(
    changed: UInt32[Array, "D w h"], image_hw: Int[Array, "2"], *, slots: int
) -> MaskChanges:
    """The places of the bits that are set.

    Args:
      changed: of `changed_bits`, with the same `image_hw`.
      slots: S, of all masks together.
    """
    num_masks, width, words_high = changed.shape
    if num_masks == 0:
        return MaskChanges(jnp.zeros(slots, jnp.int32), jnp.zeros(0, jnp.int32))
    words = changed.reshape(-1)
    ends = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32))

    word, bit = _set_bits(words, ends, slots)
    in_mask = word % (width * words_high)
    x, y = in_mask // words_high, in_mask % words_high * _BITS + bit
    positions = jnp.where(jnp.arange(slots) < ends[-1], x * image_hw[0] + y, 0)
    return MaskChanges(positions, ends.reshape(num_masks, -1)[:, -1])


def boxes_of_original(
    boxes: Float[Array, "D 4"], image_hw: Int[Array, "2"], original_hw: Int[Array, "2"]
) -> Float[Array, "D 4"]:
    """Boxes of the resized image in pixels of the original, clipped to it.

    Some may be empty. Bit for bit those of masks/paste.py, `scale_boxes_to_original`.
    """
    limit = original_hw.astype(jnp.float32)
    scale = _divide(limit, image_hw.astype(jnp.float32))
    scale, limit = (jnp.tile(hw[::-1], 2)[None] for hw in (scale, limit))
    return jnp.clip(boxes * scale, 0.0, limit)


def _pasted_bits(
    mask_logits: Float[Array, "n M M"],
    boxes: Float[Array, "n 4"],
    image_hw: Int[Array, "2"],
    width: int,
    words_high: int,
) -> UInt32[Array, "n w h"]:
    """The thresholded masks column by column, 32 pixels a word; 0 beyond the image.

    Outside its box a mask has less than half of any cell's weight, and so no pixel: the window that
    the host cuts out around the box takes nothing away.
    """
    side = mask_logits.shape[1]
    probabilities = 1.0 / (1.0 + jnp.exp(-mask_logits))
    padded = jnp.pad(probabilities, ((0, 0), (1, 1), (1, 1)))
    height = words_high * _BITS
    mask_rows = _lerp(padded, *_axis(boxes[:, 1], boxes[:, 3], height, side))
    mask_columns = jnp.swapaxes(mask_rows, 1, 2)
    columns = _lerp(mask_columns, *_axis(boxes[:, 0], boxes[:, 2], width, side))

    in_image = (jnp.arange(width) < image_hw[1])[:, None] & (jnp.arange(height) < image_hw[0])[None]
    inside = (columns >= 0.5) & in_image[None] & nonempty(boxes)[:, None, None]
    bits = inside.reshape(-1, width, words_high, _BITS).astype(jnp.uint32)
    places = jnp.arange(_BITS, dtype=jnp.uint32).reshape(1, 1, 1, _BITS)
    return jnp.sum(bits << places, axis=-1, dtype=jnp.uint32)


def _axis(
    start: Float[Array, " n"], end: Float[Array, " n"], length: int, side: int
) -> tuple[Int[Array, "n L"], Float[Array, "n L"]]:
    """For each pixel the padded index below it, and the fraction, in the host's order of rounding.

    Far outside the box nothing is told apart; that the product is clipped also keeps a compiler
    from rounding it together with the difference that follows.
    """
    centres = jnp.arange(length, dtype=jnp.float32)[None] + 0.5
    normalized = _divide(centres - start[:, None], (end - start)[:, None]) * 2.0 - 1.0
    position = jnp.clip((normalized + 1.0) * (side / 2), -1.0, side + 1.0) - 0.5
    low = jnp.floor(position)
    index = jnp.clip(low, -1, side - 1)
    fraction = jnp.where(low < -1, 0.0, jnp.where(low > side - 1, 1.0, position - low))
    return index.astype(jnp.int32) + 1, fraction


def _divide(a: Float[Array, "*s"], b: Float[Array, "*t"]) -> Float[Array, "*u"]:
    """a / b, rounded as IEEE 754 says on every device; 0 for a b that is not positive."""
    b = jnp.where(b > 0, b, jnp.inf)
    return corrected_quotient(a / b, a, b)


def corrected_quotient(
    quotient: Float[Array, "*s"], a: Float[Array, "*t"], b: Float[Array, "*u"]
) -> Float[Array, "*s"]:
    """a / b from a float32 quotient that is some units in the last place off.

    A GPU's division may be two off, which moves a sample of a mask of side 224 by 3e-5 cells. What
    is left over, a - quotient * b, is found from products of halves, which are exact, so that it is
    the same whether or not a compiler rounds them together with the differences.

    Source: Dekker, "A floating-point technique for extending the available precision" (1971).
    """
    b = jnp.broadcast_to(b, quotient.shape)
    (high, low), (b_high, b_low) = _halves(quotient), _halves(b)
    left_over = a - high * b_high - high * b_low - low * b_high - low * b_low
    return jnp.where(jnp.isfinite(b), quotient + left_over / b, quotient)


def _halves(x: Float[Array, "*s"]) -> tuple[Array, Array]:
    """Two numbers of twelve bits whose sum is x; their products are exact."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFFF000)
    high = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return high, x - high


def _lerp(
    values: Float[Array, "n m k"], index: Int[Array, "n L"], fraction: Float[Array, "n L"]
) -> Float[Array, "n L k"]:
    """Between rows `index` and the rows after them."""
    below, above = (jax.vmap(_take)(values, i) for i in (index, index + 1))
    return below * (1.0 - fraction)[..., None] + above * fraction[..., None]


def _take(values: Array, index: Array) -> Array:
    return values.at[index].get(mode="promise_in_bounds")


def _changed_bits(
    bits: UInt32[Array, "n w h"], image_hw: Int[Array, "2"]
) -> UInt32[Array, "n w h"]:
    """The pixels of the image that differ from the one before, column by column."""
    height, width = image_hw[0], image_hw[1]
    last_row = (height - 1).astype(jnp.uint32)
    last_words = jax.lax.dynamic_index_in_dim(bits, (height - 1) // _BITS, axis=2)
    last_pixels = (last_words >> last_row % _BITS) & 1
    # Into a word comes the last bit of the one above it, or the last pixel of the column before.
    from_column = jnp.pad(last_pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    before = bits << 1 | jnp.concatenate([from_column, bits[..., :-1] >> (_BITS - 1)], axis=2)

    rows_left = height - jnp.arange(bits.shape[2]) * _BITS
    part = (jnp.uint32(1) << jnp.clip(rows_left, 0, _BITS - 1).astype(jnp.uint32)) - 1
    rows = jnp.where(rows_left >= _BITS, jnp.uint32(0xFFFFFFFF), part)
    columns = (jnp.arange(bits.shape[1]) < width)[:, None]
    in_image = jnp.where(columns, rows[None], jnp.uint32(0))
    return (bits ^ before) & in_image[None]


def _set_bits(
    words: UInt32[Array, " W"], ends: Int[Array, " W"], slots: int
) -> tuple[Int[Array, " S"], Int[Array, " S"]]:
    """The word and the place in it of each of the first `slots` set bits.

    Both are found by halving, with a fixed number of steps: first the word, by the number of bits
    up to its end, then the bit, by those of its lower half. Undefined where there is no such bit.
    """
    number = jnp.arange(slots, dtype=jnp.int32)
    word = jnp.zeros(slots, jnp.int32)
    step = 1 << (len(words).bit_length() - 1)
    while step:
        # As many words end before the bit as `word` says, or `step` more.
        further = jnp.minimum(word + step, len(words))
        word = jnp.where(_take(ends, further - 1) <= number, further, word)
        step //= 2
    word = jnp.minimum(word, len(words) - 1)

    value = _take(words, word)
    before = _take(ends, word) - jax.lax.population_count(value).astype(jnp.int32)
    ahead = number - before
    bit = jnp.zeros(slots, jnp.int32)
    for half in (16, 8, 4, 2, 1):
        lower = value & jnp.uint32((1 << half) - 1)
        in_lower = jax.lax.population_count(lower).astype(jnp.int32)
        above = ahead >= in_lower
        ahead = jnp.where(above, ahead - in_lower, ahead)
        bit = jnp.where(above, bit + half, bit)
        value = jnp.where(above, value >> half, lower)
    return word, bit
