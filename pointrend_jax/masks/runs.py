"""Run lengths of COCO masks and their text, of one mask or of all of an image, in numpy alone.

A mask is run column by column, zeros first. Compressed counts are of type str everywhere, so that
every mask is fit for JSON.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt32

# {"size": [H, W], "counts": str}.
Rle = dict[str, Any]


def encode_runs(runs: Sequence[int], image_hw: tuple[int, int]) -> Rle:
    """From run lengths in column-major order, zeros first."""
    (counts,) = _texts(np.asarray(runs, np.int64), np.asarray([len(runs)]))
    return {"size": list(image_hw), "counts": counts}


def encode_changes(
    changes: Sequence[Int[np.ndarray, " _"]], image_hw: tuple[int, int]
) -> list[Rle]:
    """From the pixels at which each mask changes, all masks of an image in one go.

    Args:
      changes: of each mask, ascending positions x * H + y of the pixels that differ from the one
        before in column-major order; before the first pixel a mask is 0.
    """
    if not changes:
        return []
    # Each mask has a run for each of its changes, which ends there, and one to the image's end.
    end = np.asarray([image_hw[0] * image_hw[1]])
    ends = np.concatenate([part for of_mask in changes for part in (of_mask, end)])
    numbers = np.asarray([len(of_mask) + 1 for of_mask in changes], np.int64)
    first_runs = np.cumsum(numbers) - numbers
    runs = np.diff(ends, prepend=0)
    runs[first_runs] = ends[first_runs]
    texts = _texts(runs, numbers)
    return [{"size": list(image_hw), "counts": counts} for counts in texts]


def changes_of_bits(words: UInt32[np.ndarray, "w h"], height: int) -> Int64[np.ndarray, " _"]:
    """The changes of a mask, as `encode_changes` takes them, from its bits of ops/mask_changes.py.

    Args: words, bit b of (x, y) says that pixel (x, 32 y + b) differs from the one before.
    """
    little = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
    x, y = np.nonzero(np.unpackbits(little, axis=1, bitorder="little"))
    return x * height + y


def draw_changes(
    changes: Int[np.ndarray, " _"], image_hw: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """The mask of `encode_changes`, column by column in memory."""
    height, width = image_hw
    runs = np.diff(changes, prepend=0, append=height * width)
    return _draw_runs(runs, image_hw)


def decode_runs(counts: str) -> list[int]:
    """The run lengths of compressed counts.

    Raises: ValueError if the text is no sequence of runs (pycocotools may read beyond the end of
      such a text, or end the process).
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        digit = ord(character) - 48
        # The C code shifts an int, which has room for six characters; no image needs more.
        if not 0 <= digit < 64 or shift > 25:
            raise ValueError(f"RLE counts have the character {character!r} at a wrong place.")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        # From the fourth on, a run is stored as the difference to the one before the last.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift or any(run < 0 for run in runs):
        raise ValueError("RLE counts end within a number or have a negative run.")
    return runs


def runs_that_fill(rle: Mapping[str, Any]) -> list[int]:
    """The run lengths of a compressed RLE.

    Raises: ValueError if the counts are malformed or do not fill the size.
    """
    height, width = rle["size"]
    runs = decode_runs(rle["counts"])
    if sum(runs) != height * width:
        raise ValueError(f"RLE counts must sum to {height} * {width}, got {sum(runs)}.")
    return runs


def run_lengths(counts: Any) -> list[int] | None:
    """The run lengths of an RLE, compressed or not; None if they are none.

    They must fill the image exactly: pycocotools does not check this, and writes beyond the mask if
    they do not.
    """
    if isinstance(counts, str):
        try:
            return decode_runs(counts)
        except ValueError:
            return None
    if not isinstance(counts, list) or not {int, float}.issuperset(map(type, counts)):
        return None
    # JSON of other languages has whole numbers as 30.0; infinity and NaN are none.
    if not all(run >= 0 and run % 1 == 0 for run in counts):
        return None
    return [int(run) for run in counts]


def decode_rle(rle: Mapping[str, Any]) -> Bool[np.ndarray, "H W"]:
    """The mask of a compressed RLE. Raises: ValueError as `runs_that_fill`."""
    # pycocotools' own decode raises a deprecation warning of NumPy.
    return _draw_runs(runs_that_fill(rle), rle["size"])


def _draw_runs(
    runs: Sequence[int] | Int[np.ndarray, " R"], image_hw: Sequence[int]
) -> Bool[np.ndarray, "H W"]:
    height, width = image_hw
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return bits.reshape(width, height).T


def _texts(runs: Int64[np.ndarray, " R"], numbers: Int[np.ndarray, " D"]) -> list[str]:
    """The compressed counts of D masks, of which each has the next so many of the runs.

    A loop over characters, of which a run has few, not over runs.

    Source: rleToString of pycocotools' maskApi.c.
    """
    run_offsets = np.concatenate([[0], np.cumsum(numbers)])
    place = np.arange(len(runs)) - np.repeat(run_offsets[:-1], numbers)
    # From the fourth on, a run is stored as the difference to the one before the last.
    values = runs.copy()
    values[2:] -= np.where(place[2:] > 2, runs[:-2], 0)

    # Five bits a character, the lowest first; the highest of the last one is the sign.
    lengths = np.ones(len(runs), np.int64)
    longer, left = np.arange(len(runs)), values
    while longer.size:
        more = (left < -16) | (left >= 16)
        longer, left = longer[more], left[more] >> 5
        lengths[longer] += 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    text, at, left = np.empty(offsets[-1], np.uint8), offsets[:-1], values
    while at.size:
        more = (left < -16) | (left >= 16)
        text[at] = (left & 31) + 32 * more + 48
        at, left = at[more] + 1, left[more] >> 5

    whole = text.tobytes().decode("ascii")
    borders = offsets[run_offsets].tolist()
    return [whole[start:stop] for start, stop in pairwise(borders)]
