"""Batches of one bucket each, a pure function of (seed, position): a run resumes exactly.

An epoch is planned before a byte of it is read: the shuffle, each image's size and flip and
therefore its bucket, and which images share a batch. Every process plans the same and loads its own
part.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Float

from pointrend_jax.data.batches.loading import ForEach, iterate_batches
from pointrend_jax.data.batches.object_points import as_arrays, transform_points
from pointrend_jax.data.batches.object_slots import choose_slot_sizes, slots_for
from pointrend_jax.data.batches.repeat_factors import most_images, repeat_counts
from pointrend_jax.data.batches.transforms import (
    Bucket,
    ImageObjects,
    check_fit,
    choose_bucket,
    pack_masks,
    padded_sizes,
    place_image,
    resize_image,
    resized_hw,
    training_canvases,
    transform_objects,
)
from pointrend_jax.data.images import decode_image
from pointrend_jax.data.records.broken import BrokenRecords
from pointrend_jax.data.records.layout import text
from pointrend_jax.data.records.objects import PreparedSet
from pointrend_jax.structures import ObjectBatch


class Augmentation(NamedTuple):
    """How training images are resized and flipped, and the canvases they go to."""

    min_sizes: tuple[int, ...]
    max_size: int
    flip_probability: float
    buckets: tuple[Bucket, ...]


class PointSupervision(NamedTuple):
    """Labelled points of each object in a step, and the seed by which these are drawn of more."""

    number: int
    seed: int


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
        """
        self._sizes, self._records = list(sizes), list(records)
        self._augmentation, self.batch_size, self._seed = augmentation, batch_size, seed
        check_fit(self._sizes, augmentation.min_sizes, augmentation.max_size, augmentation.buckets)
        # Two epochs: loading runs ahead of training over the border between them.
        self._epoch = lru_cache(maxsize=2)(self._plan_epoch)
        self._repeat_factors = repeat_factors
        number = len(self._records) if repeat_factors is None else most_images(repeat_factors)
        self.batches_per_epoch = -(-number // batch_size)

    @property
    def mask_bytes(self) -> int:
        """The bytes of one object's bits on the largest canvas."""
        canvases = training_canvases(self._augmentation.buckets)
        return max(height * width // 8 for height, width in canvases)

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> PlannedBatch:
        epoch, position = divmod(int(index), self.batches_per_epoch)
        return self._epoch(epoch)[position]

    def _plan_epoch(self, epoch: int) -> list[PlannedBatch]:
        rng = np.random.default_rng([self._seed, epoch])
        choices, indices = self._augmentation, np.arange(len(self._records))
        if self._repeat_factors is not None:
            indices = np.repeat(indices, repeat_counts(self._repeat_factors, rng))
        number = len(indices)
        order = rng.permutation(number)
        # One entry for each time that an epoch has an image.
        min_sizes = rng.choice(np.asarray(choices.min_sizes), number)
        flips = rng.random(number) < choices.flip_probability
        groups: dict[Bucket, list[PlannedImage]] = {}
        for i in order:
            index = indices[i]
            hw = _resized(self._sizes[index], int(min_sizes[i]), choices.max_size)
            bucket = _bucket(hw, choices.buckets)
            image = PlannedImage(self._records[index], hw, bool(flips[i]), epoch)
            groups.setdefault(bucket, []).append(image)
        batches, leftovers = self._full_batches(groups)
        batches += self._merge(leftovers, batches)
        return [batches[i] for i in rng.permutation(len(batches))]

    def _full_batches(
        self, groups: dict[Bucket, list[PlannedImage]]
    ) -> tuple[list[PlannedBatch], list[PlannedImage]]:
        size = self.batch_size
        batches, leftovers = [], []
        for bucket, images in groups.items():
            full = len(images) // size * size
            batches += [
                PlannedBatch(bucket, tuple(images[i : i + size])) for i in range(0, full, size)
            ]
            leftovers += images[full:]
        return batches, leftovers

    def _merge(
        self, leftovers: list[PlannedImage], batches: list[PlannedBatch]
    ) -> list[PlannedBatch]:
        """Batches of what filled no bucket, in canvases that hold them; nothing is dropped.

        The last one is filled up with images that this epoch has had already. An epoch of repeated
        images that is one image short of a batch may need a whole one of these.
        """
        leftovers = sorted(leftovers, key=lambda image: image.image_hw)
        missing = (self.batches_per_epoch - len(batches)) * self.batch_size - len(leftovers)
        again = [image for batch in batches for image in batch.images] + leftovers
        images = leftovers + [again[i % len(again)] for i in range(missing)]
        merged = []
        for first in range(0, len(images), self.batch_size):
            part = images[first : first + self.batch_size]
            bucket = _common_bucket([i.image_hw for i in part], self._augmentation.buckets)
            merged.append(PlannedBatch(bucket, tuple(part)))
        return merged


@lru_cache(maxsize=100_000)
def _resized(size: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    return resized_hw(size, min_size, max_size)


@lru_cache(maxsize=100_000)
def _bucket(hw: tuple[int, int], buckets: tuple[Bucket, ...]) -> Bucket:
    bucket = choose_bucket(hw, buckets)
    assert bucket is not None, "check_fit comes first"
    return bucket


def _common_bucket(sizes: list[tuple[int, int]], buckets: tuple[Bucket, ...]) -> Bucket:
    """The smallest canvas that holds all."""
    height, width = (max(hw[axis] for hw in sizes) for axis in (0, 1))
    return _bucket((height, width), training_canvases(buckets))


class _LoadBatch:
    """From a planned batch to this process's part of it."""

    def __init__(
        self,
        prepared: PreparedSet,
        slot_sizes: tuple[int, ...],
        process_index: int,
        process_count: int,
        max_broken_share: float,
        points: PointSupervision | None,
    ) -> None:
        self._prepared, self._slot_sizes, self._points = prepared, slot_sizes, points
        self._broken = BrokenRecords(prepared.images, max_broken_share)
        self._process = process_index, process_count

    def __call__(self, batch: PlannedBatch, each: ForEach) -> ObjectBatch:
        index, count = self._process
        part = len(batch.images) // count
        # The most objects on an image of any process: all processes must have equal shapes.
        most = max(len(self._prepared.images[image.record].labels) for image in batch.images)
        slots = slots_for(most, self._slot_sizes)
        height, width = batch.bucket
        pixels = self._prepared.pixels
        hw = np.empty((part, 2), np.int32)
        loaded = ObjectBatch(
            images=np.empty((part, height, width, pixels.channels), pixels.dtype),
            image_hw=hw,
            padded_hw=hw,
            image_index=np.arange(index * part, (index + 1) * part, dtype=np.int32),
            boxes=np.zeros((part, slots, 4), np.float32),
            classes=np.zeros((part, slots), np.int32),
            mask_bits=None,
            valid=np.zeros((part, slots), bool),
        )
        if self._points is None:
            bits = np.empty((part, slots, height, width // 8), np.uint8)
            loaded = loaded._replace(mask_bits=bits)
        else:
            number = self._points.number
            loaded = loaded._replace(
                point_coords=np.zeros((part, slots, number, 2), np.float32),
                point_labels=np.full((part, slots, number), -1, np.int32),
            )

        def load(slot: int) -> None:
            image, image_hw, (boxes, classes, *truth) = self._broken.load(
                batch.images, index * part + slot, self._load
            )
            number = len(boxes)
            loaded.images[slot] = place_image(image, batch.bucket)
            hw[slot] = image_hw
            loaded.boxes[slot, :number], loaded.classes[slot, :number] = boxes, classes
            loaded.valid[slot, :number] = True
            if self._points is None:
                loaded.mask_bits[slot] = pack_masks(truth[0], slots, batch.bucket)
            else:
                loaded.point_coords[slot, :number], loaded.point_labels[slot, :number] = truth

        each(load, range(part))
        return loaded._replace(padded_hw=padded_sizes(hw))

    def _load(self, planned: PlannedImage) -> tuple[np.ndarray, tuple[int, int], tuple]:
        image, objects = read_record(self._prepared, planned.record)
        sizes, flip = (image.shape[:2], planned.image_hw), planned.flip
        if self._points is None:
            moved = transform_objects(objects, *sizes, flip=flip)
        else:
            rng = np.random.default_rng([self._points.seed, planned.epoch, planned.record])
            number = self._points.number
            moved = transform_points(objects, *sizes, flip=flip, number=number, rng=rng)
        image = resize_image(image, planned.image_hw)
        return (image[:, ::-1] if planned.flip else image), planned.image_hw, moved


def read_record(prepared: PreparedSet, record: int) -> tuple[np.ndarray, ImageObjects]:
    """An image of the prepared set with its objects; crowd regions are left out of training."""
    content = prepared.source[record]
    image = decode_image(content["image"], prepared.images[record].name, prepared.pixels)
    objects = content["objects"]
    kept = np.flatnonzero(~np.asarray(objects["is_crowd"], bool))
    annotations = [json.loads(text(objects["annotation"][i])) for i in kept]
    boxes = np.asarray([a["box"] for a in annotations], np.float64).reshape(-1, 4)
    labels = np.asarray(objects["label"], np.int32)[kept]
    points = as_arrays([a.get("points", ()) for a in annotations])
    return image, ImageObjects(boxes, labels, [a["segmentation"] for a in annotations], points)


def train_batches(
    prepared: PreparedSet,
    plan: TrainPlan,
    *,
    num_threads: int,
    process_index: int = 0,
    process_count: int = 1,
    start: int = 0,
    max_broken_share: float = 0.0,
    points: PointSupervision | None = None,
) -> grain.DatasetIterator:
    """This process's batches from number `start` on, without end.

    Args:
      max_broken_share: of the records, that may be unreadable; see `records/broken.py`.
      points: what supervises instead of masks.
    Raises: ValueError if the processes cannot have equal parts of a batch.
    """
    load = _LoadBatch(
        prepared, slot_sizes(prepared, plan, points), process_index, process_count,
        max_broken_share, points,
    )  # fmt: skip
    return iterate_batches(
        plan, load, start=start, process_count=process_count, num_threads=num_threads
    )


def slot_sizes(
    prepared: PreparedSet, plan: TrainPlan, points: PointSupervision | None = None
) -> tuple[int, ...]:
    """The values of G that the batches of `plan` may have; crowd regions are left out."""
    num_objects = [len(image.labels) for image in prepared.images]
    # A labelled point is two coordinates and a label.
    slot_bytes = plan.mask_bytes if points is None else 12 * points.number
    return choose_slot_sizes(num_objects, plan.batch_size, slot_bytes)
