"""Batches of images with their objects, as `train_plan.py` plans them: read, moved and placed.

Every process plans the same and loads its own part.
"""

import json
from typing import NamedTuple

import grain.python as grain
import numpy as np

from pointrend_jax.data.batches.loading import ForEach, iterate_batches
from pointrend_jax.data.batches.object_points import as_arrays, transform_points
from pointrend_jax.data.batches.object_slots import choose_slot_sizes, slots_for
from pointrend_jax.data.batches.train_plan import PlannedBatch, PlannedImage, TrainPlan
from pointrend_jax.data.batches.transforms import (
    ImageObjects,
    pack_masks,
    padded_sizes,
    place_image,
    resize_image,
    transform_objects,
)
from pointrend_jax.data.images import decode_image
from pointrend_jax.data.records.broken import BrokenRecords
from pointrend_jax.data.records.layout import text
from pointrend_jax.data.records.objects import PreparedSet
from pointrend_jax.structures import ObjectBatch


class PointSupervision(NamedTuple):
    """Labelled points of each object in a step, and the seed by which these are drawn of more."""

    number: int
    seed: int


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
