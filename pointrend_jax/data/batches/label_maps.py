"""Crops for semantic training, a pure function of (seed, position).

Image number n of the endless sequence is place n % N of epoch n // N, so an epoch has every image
once and batches go over its border. Every process plans the same and loads its own part.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import grain.python as grain
import numpy as np

from pointrend_jax.data.batches.color_augmentation import change_color_channels, draw_color_change
from pointrend_jax.data.batches.loading import ForEach, iterate_batches
from pointrend_jax.data.batches.semantic_transforms import (
    CROP_TRIES,
    choose_crop,
    place_labels,
    resize_labels,
)
from pointrend_jax.data.batches.transforms import (
    SIZE_DIVISIBILITY,
    place_image,
    resize_image,
    resized_hw,
)
from pointrend_jax.data.records.broken import BrokenRecords
from pointrend_jax.data.records.label_maps import PreparedMaps, read_image_and_labels
from pointrend_jax.structures import SemanticBatch


class CropAugmentation(NamedTuple):
    """What happens to training images.

    Attributes:
      min_sizes, max_size: pixels; the shorter edge becomes one of `min_sizes`, drawn for each
        image, unless the longer one would exceed `max_size`.
      crop_hw: pixels, multiples of 32; the canvas of every batch.
      max_category_area: share of the labelled pixels of a crop; see `choose_crop`.
      color: SSD's colour augmentation.
    """

    min_sizes: tuple[int, ...]
    max_size: int
    crop_hw: tuple[int, int]
    max_category_area: float
    color: bool
    flip_probability: float


class PlannedCrop(NamedTuple):
    """One image of a batch; `seed` decides its crop, colours and flip."""

    record: int
    image_hw: tuple[int, int]
    seed: tuple[int, ...]


class SemanticPlan:
    """An endless sequence of planned batches, for `grain.MapDataset.source`."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        augmentation: CropAugmentation,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        """Args: sizes, (height, width) of each image. Raises: ValueError for impossible crops."""
        _check(augmentation)
        self._sizes, self.augmentation = list(sizes), augmentation
        self.batch_size, self._seed = batch_size, seed
        # Two epochs: loading runs ahead of training over the border between them.
        self._epoch = lru_cache(maxsize=2)(self._plan_epoch)

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> tuple[PlannedCrop, ...]:
        start = int(index) * self.batch_size
        places = [divmod(start + i, len(self._sizes)) for i in range(self.batch_size)]
        return tuple(self._epoch(epoch)[place] for epoch, place in places)

    def _plan_epoch(self, epoch: int) -> list[PlannedCrop]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._sizes)).tolist()
        min_sizes = rng.choice(np.asarray(self.augmentation.min_sizes), len(order)).tolist()
        # Behind the epoch and from 1 on: numpy takes a missing number for 0.
        return [
            PlannedCrop(
                record,
                resized_hw(self._sizes[record], min_size, self.augmentation.max_size),
                (self._seed, epoch, record + 1),
            )
            for record, min_size in zip(order, min_sizes, strict=True)
        ]


def _check(augmentation: CropAugmentation) -> None:
    crop_hw, area = augmentation.crop_hw, augmentation.max_category_area
    if len(crop_hw) != 2 or any(side < 1 or side % SIZE_DIVISIBILITY for side in crop_hw):
        raise ValueError(
            "config.data.crop_hw must be (height, width), positive multiples of "
            f"{SIZE_DIVISIBILITY}, got {tuple(crop_hw)}; round them up."
        )
    if not 0.0 < area <= 1.0:
        raise ValueError(
            f"config.data.crop_max_category_area must be above 0 and at most 1, got {area}; 1 "
            "takes every crop."
        )
    sizes = augmentation.min_sizes
    if not sizes or min(*sizes, augmentation.max_size) < 1:
        raise ValueError(
            "config.data.train_min_sizes must have at least one size, and it and train_max_size "
            f"only positive ones, got {tuple(sizes)} and {augmentation.max_size}."
        )


class _LoadCrops:
    """From a planned batch to this process's part of it."""

    def __init__(
        self,
        prepared: PreparedMaps,
        augmentation: CropAugmentation,
        process_index: int,
        process_count: int,
        max_broken_share: float,
    ) -> None:
        self._prepared, self._augmentation = prepared, augmentation
        self._broken = BrokenRecords(prepared.images, max_broken_share)
        self._process = process_index, process_count

    def __call__(self, batch: tuple[PlannedCrop, ...], each: ForEach) -> SemanticBatch:
        index, count = self._process
        part = len(batch) // count
        height, width = self._augmentation.crop_hw
        pixels = self._prepared.pixels
        loaded = SemanticBatch(
            images=np.empty((part, height, width, pixels.channels), pixels.dtype),
            image_hw=np.empty((part, 2), np.int32),
            # The whole canvas, as Detectron2, which pads to the shape of the batch.
            padded_hw=np.tile(np.asarray((height, width), np.int32), (part, 1)),
            image_index=np.arange(index * part, (index + 1) * part, dtype=np.int32),
            labels=np.empty((part, height, width), np.uint8),
        )

        def load(slot: int) -> None:
            image, image_hw, labels = self._broken.load(batch, index * part + slot, self._load)
            loaded.images[slot], loaded.image_hw[slot] = image, image_hw
            loaded.labels[slot] = labels

        each(load, range(part))
        return loaded

    def _load(self, planned: PlannedCrop) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        choices, rng = self._augmentation, np.random.default_rng(planned.seed)
        positions = rng.random((CROP_TRIES, 2))
        flip, change = rng.random() < choices.flip_probability, draw_color_change(rng)
        image, labels = read_image_and_labels(self._prepared, planned.record)
        labels = resize_labels(labels, planned.image_hw)
        height, width = (min(sides) for sides in zip(choices.crop_hw, labels.shape, strict=True))
        y, x = choose_crop(labels, (height, width), choices.max_category_area, positions)
        labels = labels[y : y + height, x : x + width]
        image = resize_image(image, planned.image_hw)[y : y + height, x : x + width]
        if choices.color:
            image = change_color_channels(image, change, self._prepared.pixels)
        if flip:
            image, labels = image[:, ::-1], labels[:, ::-1]
        canvas = choices.crop_hw
        hw = np.asarray((height, width), np.int32)
        return place_image(image, canvas), hw, place_labels(labels, canvas)


def semantic_train_batches(
    prepared: PreparedMaps,
    plan: SemanticPlan,
    *,
    num_threads: int,
    process_index: int = 0,
    process_count: int = 1,
    start: int = 0,
    max_broken_share: float = 0.0,
) -> grain.DatasetIterator:
    """This process's batches from number `start` on, without end.

    Args:
      max_broken_share: of the records, that may be unreadable; see `records/broken.py`.
    Raises: ValueError if the processes cannot have equal parts of a batch.
    """
    load = _LoadCrops(prepared, plan.augmentation, process_index, process_count, max_broken_share)
    return iterate_batches(
        plan, load, start=start, process_count=process_count, num_threads=num_threads
    )
