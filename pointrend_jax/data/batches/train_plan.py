"""Which images share a batch, and how each is resized and flipped: a pure function of seed and
position, planned before a byte of an image is read, so that a run resumes exactly.

Tall and wide images never share a batch: a canvas that holds both would be a program of its own,
and the largest of all. Of each orientation, epochs follow one another without a gap, and a batch
that the last images of an epoch do not fill goes on with the first of the next one. So all images
are seen equally often.
"""

import copy
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pointrend_jax.data.batches.repeat_factors import most_images, repeat_counts
from pointrend_jax.data.batches.transforms import (
    Bucket,
    buckets_by_orientation,
    check_fit,
    choose_bucket,
    resized_hw,
    training_canvases,
)


class Augmentation(NamedTuple):
    """How training images are resized and flipped, and the canvases they go to."""

    min_sizes: tuple[int, ...]
    max_size: int
    flip_probability: float
    buckets: tuple[Bucket, ...]


class PlannedImage(NamedTuple):
    """What happens to one image of a batch."""

    record: int
    image_hw: tuple[int, int]
    flip: bool
    epoch: int


class PlannedBatch(NamedTuple):
    """One batch of all processes together."""

    bucket: Bucket
    images: tuple[PlannedImage, ...]


class _Orientation(NamedTuple):
    """The images that are wide, or those that are tall.

    Attributes:
      rows: places of its images among all.
      repeat_factors: how often an epoch has each on average; None for once.
      number: images of an epoch.
      buckets: that its images may go to.
    """

    rows: np.ndarray
    repeat_factors: Float[np.ndarray, " N"] | None
    number: int
    buckets: tuple[Bucket, ...]


class TrainPlan:
    """An endless sequence of planned batches, for `grain.MapDataset.source`."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        records: Sequence[int],
        augmentation: Augmentation,
        *,
        batch_size: int,
        seed: int,
        repeat_factors: Float[np.ndarray, " N"] | None = None,
    ) -> None:
        """Args: sizes, (height, width) of each image of `records`; repeat_factors, how often an
        epoch has each on average (`repeat_factors.py`), None for once.

        Raises: ValueError if an image fits no bucket when resized.
        """
        self._sizes, self._records = list(sizes), list(records)
        self._augmentation, self.batch_size, self._seed = augmentation, batch_size, seed
        check_fit(self._sizes, augmentation.min_sizes, augmentation.max_size, augmentation.buckets)
        self._orientations = _orientations(self._sizes, augmentation, repeat_factors)
        # Two epochs of each: a batch goes on with the next. Each has a cache of its own, since of a
        # few images a batch takes many epochs.
        self._shuffled = [
            lru_cache(maxsize=2)(partial(self._shuffle, place))
            for place in range(len(self._orientations))
        ]
        # Loading runs ahead of training, over the border between two.
        self._epoch = lru_cache(maxsize=2)(self._plan_epoch)

    @property
    def mask_bytes(self) -> int:
        """The bytes of one object's bits on the largest canvas."""
        canvases = training_canvases(self._augmentation.buckets)
        return max(height * width // 8 for height, width in canvases)

    def first_batch(self, epoch: int) -> int:
        """The position at which an epoch begins. Its length is that of others up to a batch."""
        return sum(self._first_of(orientation, epoch) for orientation in self._orientations)

    def _first_of(self, orientation: _Orientation, epoch: int) -> int:
        # The batch that the epoch before has begun belongs to that.
        return -(-epoch * orientation.number // self.batch_size)

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> PlannedBatch:
        number = sum(orientation.number for orientation in self._orientations)
        beyond = int(index) * self.batch_size // number + 2
        epoch = bisect_right(range(beyond), int(index), key=self.first_batch) - 1
        return self._epoch(epoch)[int(index) - self.first_batch(epoch)]

    def _plan_epoch(self, epoch: int) -> list[PlannedBatch]:
        batches = []
        for orientation, shuffled in zip(self._orientations, self._shuffled, strict=True):
            first, last = (self._first_of(orientation, epoch + i) for i in (0, 1))
            span = range(first * self.batch_size, last * self.batch_size)
            places = (divmod(i, orientation.number) for i in span)
            images = [shuffled(own_epoch)[0][place] for own_epoch, place in places]
            batches += self._batches(images, orientation.buckets)
        _, rng = self._shuffled[0](epoch)
        return [batches[i] for i in copy.deepcopy(rng).permutation(len(batches))]

    def _shuffle(self, place: int, epoch: int) -> tuple[list[PlannedImage], np.random.Generator]:
        """The images of one epoch of an orientation, and the generator after they were drawn."""
        orientation, choices = self._orientations[place], self._augmentation
        rng = np.random.default_rng([self._seed, epoch, *([place] if place else [])])
        rows = orientation.rows
        if orientation.repeat_factors is not None:
            rows = np.repeat(rows, repeat_counts(orientation.repeat_factors, rng))
        number = len(rows)
        order = rng.permutation(number)
        # One entry for each time that an epoch has an image.
        min_sizes = rng.choice(np.asarray(choices.min_sizes), number)
        flips = rng.random(number) < choices.flip_probability
        images = []
        for i in order:
            hw = _resized(self._sizes[rows[i]], int(min_sizes[i]), choices.max_size)
            images.append(PlannedImage(self._records[rows[i]], hw, bool(flips[i]), epoch))
        # An epoch of repeated images may be one short.
        return images + images[: orientation.number - number], rng

    def _batches(
        self, images: Iterable[PlannedImage], buckets: tuple[Bucket, ...]
    ) -> list[PlannedBatch]:
        """Whole batches of each bucket, and of what is left on canvases that hold it."""
        size, batches, left = self.batch_size, [], []
        groups: dict[Bucket, list[PlannedImage]] = {}
        for image in images:
            groups.setdefault(_bucket(image.image_hw, buckets), []).append(image)
        for bucket, group in groups.items():
            full = len(group) // size * size
            parts = (group[i : i + size] for i in range(0, full, size))
            batches += [PlannedBatch(bucket, tuple(part)) for part in parts]
            left += group[full:]
        left.sort(key=lambda image: image.image_hw)
        for first in range(0, len(left), size):
            part = tuple(left[first : first + size])
            height, width = (max(image.image_hw[axis] for image in part) for axis in (0, 1))
            canvas = _bucket((height, width), training_canvases(buckets))
            batches.append(PlannedBatch(canvas, part))
        return batches


def _orientations(
    sizes: Sequence[tuple[int, int]],
    augmentation: Augmentation,
    repeat_factors: Float[np.ndarray, " N"] | None,
) -> tuple[_Orientation, ...]:
    """Those that there are. An image is of the first whose buckets hold it at its largest, and
    so at every size."""
    known = buckets_by_orientation(augmentation.buckets)
    largest = max(augmentation.min_sizes)
    rows: list[list[int]] = [[] for _ in known]
    for row, size in enumerate(sizes):
        hw = _resized(size, largest, augmentation.max_size)
        rows[next(i for i, buckets in enumerate(known) if _held(hw, buckets))].append(row)
    found = []
    for own, buckets in zip(rows, known, strict=True):
        if own:
            factors = None if repeat_factors is None else repeat_factors[own]
            number = len(own) if factors is None else most_images(factors)
            found.append(_Orientation(np.asarray(own), factors, number, buckets))
    return tuple(found)


@lru_cache(maxsize=100_000)
def _resized(size: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    return resized_hw(size, min_size, max_size)


@lru_cache(maxsize=100_000)
def _held(hw: tuple[int, int], buckets: tuple[Bucket, ...]) -> Bucket | None:
    return choose_bucket(hw, buckets)


def _bucket(hw: tuple[int, int], buckets: tuple[Bucket, ...]) -> Bucket:
    bucket = _held(hw, buckets)
    assert bucket is not None, "its orientation was chosen so"
    return bucket
