"""How many slots for objects (G) a training batch has: a few sizes for a whole set.

The masks of a batch take memory, time on the host and time on the way to the device for every
slot, used or not, and few images have as many objects as the richest one of a set. Every size is a
program to compile for every canvas, so there are three at most.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

_MOST_SIZES = 3
_STEP = 8
# A further size must save this part of the slots to be worth its programs.
_WORTH = 0.2
# Where the masks of a batch are fewer bytes there is one size: compiling a program for another one
# takes longer than the masks do on their way.
_FEWEST_BYTES = 2**24


def choose_slot_sizes(
    num_objects: Sequence[int], batch_size: int, slot_bytes: int
) -> tuple[int, ...]:
    """Numbers of slots, ascending: the fewest slots on average in batches drawn at random.

    Args:
      num_objects: of each image of the set; the largest number (or 1) is the last size.
      batch_size: of all processes together; its richest image decides.
      slot_bytes: of the mask of one object on the largest canvas.
    """
    most = max(*num_objects, 1)
    if most * batch_size * slot_bytes < _FEWEST_BYTES:
        return (most,)
    steps = [*range(_STEP, most, _STEP), most]
    at_most = np.searchsorted(np.sort(num_objects), steps, side="right") / len(num_objects)
    # That none of the images of a batch has more.
    fits = at_most**batch_size
    best, fewest = (most,), float(most)
    for number in range(1, min(_MOST_SIZES, len(steps))):
        chosen = np.array(list(combinations(range(len(steps) - 1), number)))
        chosen = np.concatenate([chosen, np.full((len(chosen), 1), len(steps) - 1)], axis=1)
        shares = np.diff(fits[chosen], axis=1, prepend=0.0)
        mean_slots = (shares * np.array(steps)[chosen]).sum(axis=1)
        place = int(mean_slots.argmin())
        if mean_slots[place] <= (1 - _WORTH) * fewest:
            best = tuple(steps[i] for i in chosen[place])
            fewest = float(mean_slots[place])
    return best


def slots_for(num_objects: int, sizes: Sequence[int]) -> int:
    """The smallest of the ascending `sizes` that holds `num_objects`."""
    return next(size for size in sizes if size >= num_objects)
