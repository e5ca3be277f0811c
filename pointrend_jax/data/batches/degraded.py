"""Training and evaluation of a refiner: objects in crops, with a mask that was made worse.

An epoch has every object once. What happens to its mask, and how it is cut out, is a function of
the seed, the epoch and the object, so that a run resumes exactly; in an evaluation it is one of the
object alone, and every kind of `masks.degrade` has its turn.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import grain.python as grain
import numpy as np

from pointrend_jax.data.batches.crops import Crop, CropShape, make_crop, on_canvas, place_mask
from pointrend_jax.data.batches.loading import ForEach, iterate_batches
from pointrend_jax.data.batches.objects import read_record
from pointrend_jax.data.batches.transforms import padded_sizes, place_image, rasterize
from pointrend_jax.data.records.broken import BrokenRecords, must_read
from pointrend_jax.data.records.objects import PreparedSet
from pointrend_jax.masks.degrade import KINDS, degrade
from pointrend_jax.structures import CropBatch

# The window of a training crop has this much of the margin, so that no size is always the same.
_MARGINS = (0.5, 1.5)
# Square pixels of a box. People's outlines of smaller objects are hardly better than others.
_LEAST_AREA = 144.0


class PlannedObject(NamedTuple):
    """One object of a batch: its record, its place among the record's objects, the epoch."""

    record: int
    place: int
    epoch: int


class CropPlan:
    """An endless sequence of planned batches, for `grain.MapDataset.source`."""

    def __init__(self, objects: Sequence[tuple[int, int]], *, batch_size: int, seed: int) -> None:
        """Args: objects, the record and the place in it of each."""
        self._objects, self.batch_size, self.seed = list(objects), batch_size, seed
        self._order = lru_cache(maxsize=2)(self._order_of)

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> tuple[PlannedObject, ...]:
        first = int(index) * self.batch_size
        return tuple(map(self._planned, range(first, first + self.batch_size)))

    def _planned(self, number: int) -> PlannedObject:
        epoch, position = divmod(number, len(self._objects))
        return PlannedObject(*self._objects[int(self._order(epoch)[position])], epoch)

    def _order_of(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self._objects))


def crop_batches(
    prepared: PreparedSet,
    plan: CropPlan,
    shape: CropShape,
    *,
    flip_probability: float,
    num_threads: int,
    max_broken_share: float,
    process_index: int = 0,
    process_count: int = 1,
    start: int = 0,
) -> grain.DatasetIterator:
    """This process's batches from number `start` on, without end.

    Raises: ValueError if the processes cannot have equal parts of a batch.
    """
    broken, canvas = BrokenRecords(prepared.images, max_broken_share), shape.canvas

    def read(planned: PlannedObject) -> tuple[Crop, np.ndarray]:
        rng = np.random.default_rng([plan.seed, *planned])
        return _training_crop(prepared, planned, shape, rng, flip_probability)

    def read_unbroken(planned: tuple[PlannedObject, ...], position: int) -> tuple[Crop, np.ndarray]:
        return broken.load(planned, position, read)

    def load(planned: tuple[PlannedObject, ...], each: ForEach) -> CropBatch:
        part = len(planned) // process_count
        first = process_index * part
        hw = np.empty((part, 2), np.int32)
        given, truth = (np.zeros((part, canvas, canvas), np.uint8) for _ in range(2))
        images = np.empty((part, canvas, canvas, 3), np.uint8)

        def load_one(slot: int) -> None:
            crop, soft_truth = _first_with_pixels(planned, first + slot, read_unbroken)
            hw[slot] = crop.inside_hw
            images[slot] = place_image(crop.image, (canvas, canvas))
            place_mask(given[slot], crop.soft)
            place_mask(truth[slot], soft_truth)

        each(load_one, range(part))
        index = np.arange(first, first + part, dtype=np.int32)
        return CropBatch(images, hw, padded_sizes(hw), index, given, truth)

    return iterate_batches(
        plan, load, start=start, process_count=process_count, num_threads=num_threads
    )


class _NoPixelError(Exception):
    """The mask of an object, a thin outline, has no pixel."""


def _first_with_pixels(
    planned: tuple[PlannedObject, ...],
    position: int,
    load: Callable[[tuple[PlannedObject, ...], int], tuple[Crop, np.ndarray]],
) -> tuple[Crop, np.ndarray]:
    """An object of a batch, or else the next one of it whose mask has a pixel."""
    for offset in range(len(planned)):
        try:
            return load(planned, (position + offset) % len(planned))
        except _NoPixelError:
            continue
    raise ValueError("no object of a batch has a mask with a pixel; a refiner learns from masks.")


def _training_crop(
    prepared: PreparedSet,
    planned: PlannedObject,
    shape: CropShape,
    rng: np.random.Generator,
    flip_probability: float,
) -> tuple[Crop, np.ndarray]:
    image, truth = _object(prepared, planned.record, planned.place)
    given = degrade(truth, str(rng.choice(KINDS)), rng)
    own = shape._replace(margin=shape.margin * rng.uniform(*_MARGINS))
    crop = make_crop(image, given, own)
    x0, y0, x1, y1 = crop.window
    soft_truth = on_canvas(np.ascontiguousarray(truth[y0:y1, x0:x1]), crop.inside_hw)
    if rng.random() < flip_probability:
        crop = crop._replace(image=crop.image[:, ::-1], soft=crop.soft[:, ::-1])
        soft_truth = soft_truth[:, ::-1]
    return crop, soft_truth


def evaluation_crop(
    prepared: PreparedSet, record: int, place: int, shape: CropShape, number: int
) -> Crop:
    """An object, whose mask has pixels, with it made worse, the kind by its number in the set.

    Raises: ValueError, naming the image, if its record is broken.
    """
    facts = prepared.images[record]
    image, truth = must_read(facts, partial(_object, prepared, record, place))
    rng = np.random.default_rng([facts.id % 2**64, place])
    return make_crop(image, degrade(truth, KINDS[number % len(KINDS)], rng), shape)


def learnable_objects(prepared: PreparedSet) -> list[tuple[int, int]]:
    """The record, and the place in it, of every object that is large enough to learn from."""
    found = []
    for record, facts in enumerate(prepared.images):
        sides = _box_areas(prepared, record)
        assert len(sides) == len(facts.labels)
        found += [(record, place) for place, area in enumerate(sides) if area >= _LEAST_AREA]
    return found


def _box_areas(prepared: PreparedSet, record: int) -> list[float]:
    objects = prepared.source[record]["objects"]
    kept = np.flatnonzero(~np.asarray(objects["is_crowd"], bool))
    return [float(objects["bbox"][i][2] * objects["bbox"][i][3]) for i in kept]


def _object(prepared: PreparedSet, record: int, place: int) -> tuple[np.ndarray, np.ndarray]:
    """The photo, and the true mask of one of its objects. Raises: _NoPixelError."""
    image, objects = read_record(prepared, record)
    hw = (image.shape[0], image.shape[1])
    truth = rasterize(objects.segmentations[place], hw, hw, flip=False)
    if not truth.any():
        raise _NoPixelError
    return image, np.ascontiguousarray(truth)
