"""From `config.data` to the objects that a refiner of masks is trained on and judged by.

Any set of objects will do: classes are not looked at, and every object that is no crowd region is
one whose mask is made worse.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grain.python as grain

from pointrend_jax.data.batches.crops import CLASS_NAMES, Crop, crop_shape
from pointrend_jax.data.batches.degraded import (
    CropPlan,
    crop_batches,
    evaluation_crop,
    learnable_objects,
)
from pointrend_jax.data.batches.loading import evaluation_parts
from pointrend_jax.data.build_objects import Pixels, preparer
from pointrend_jax.data.records.layout import facts_digest
from pointrend_jax.data.records.objects import PreparedSet, ground_truth, image_reader
from pointrend_jax.masks.polygons import mask_area
from pointrend_jax.pixel_format import PHOTO, pixel_format
from pointrend_jax.structures import Config
from pointrend_jax.workers import at_once

# The numbers of objects that are predicted together, with their crops.
NumberedCrops = tuple[tuple[int, ...], tuple[Crop, ...]]


class CropEvalSet(NamedTuple):
    """What judges a refiner.

    Attributes:
      objects: COCO's annotations of all that have a mask, those without crowd regions.
      images: the file's entries by image id.
      crops: (process_index, process_count) to this process's objects, by their place in
        `objects`, each once, `batch_size` of all processes at a time.
      eval_pixels: from an image id to the image.
    """

    objects: tuple[dict[str, Any], ...]
    images: dict[int, dict[str, Any]]
    crops: Callable[..., Iterator[NumberedCrops]]
    eval_pixels: Pixels
    batch_size: int
    canvas: int
    class_names: tuple[str, ...] = CLASS_NAMES

    @property
    def num_eval_images(self) -> int:
        """Objects, each of which is a crop."""
        return len(self.objects)


class CropDatasets(NamedTuple):
    """What training needs beside an evaluation set; names as in `Datasets`."""

    evaluation: CropEvalSet
    num_train_images: int
    train_digest: str
    train_batches: Callable[..., grain.DatasetIterator]
    class_names: tuple[str, ...] = CLASS_NAMES
    category_ids: tuple[int, ...] = (1,)


def build_crop_datasets(config: Config) -> CropDatasets:
    """Checks and prepares training and evaluation set.

    Raises: ValueError that says what is wrong with the files or the config.
    """
    prepare = _preparer(config)
    evaluation = _eval_set(config, _with_masks(prepare("eval"), "evaluation"))
    training = _with_masks(prepare("train"), "training")
    objects = learnable_objects(training)
    if not objects:
        raise ValueError(
            f"none of the {len(training.images)} training images has an object with a mask that "
            "is no crowd region; a refiner learns from true masks."
        )
    plan = CropPlan(objects, batch_size=config.train.batch_size, seed=config.seed)

    def batches(process_index: int, process_count: int, start: int = 0) -> grain.DatasetIterator:
        return crop_batches(
            training,
            plan,
            crop_shape(config),
            flip_probability=config.data.flip_probability,
            num_threads=config.data.num_threads,
            max_broken_share=config.data.max_broken_share,
            process_index=process_index,
            process_count=process_count,
            start=start,
        )

    return CropDatasets(evaluation, len(objects), facts_digest(training.images), batches)


def build_crop_eval_set(config: Config) -> CropEvalSet:
    """The evaluation set alone; errors as `build_crop_datasets`."""
    prepare = _preparer(config)
    return _eval_set(config, _with_masks(prepare("eval"), "evaluation"))


def _preparer(config: Config) -> Callable[[str], PreparedSet]:
    if pixel_format(config) != PHOTO:
        raise ValueError(
            "a refiner takes photos; leave config.data.channels at 3 and config.data.dtype at "
            "'uint8'."
        )
    return preparer(config, knows_classes=False)


def _with_masks(prepared: PreparedSet, called: str) -> PreparedSet:
    if prepared.lacks_masks:
        raise ValueError(
            f"objects of the {called} set have labelled points and no masks; a refiner is trained "
            "on true masks and judged by them."
        )
    return prepared


def _eval_set(config: Config, prepared: PreparedSet) -> CropEvalSet:
    truth, batch_size = ground_truth(prepared), int(config.eval.batch_size)
    if config.eval.tta_scales or config.eval.tta_flip:
        raise ValueError(
            "config.eval.tta_scales and config.eval.tta_flip are not for a refiner of masks; leave "
            "them out."
        )
    images = {image["id"]: image for image in truth["images"]}
    found = _with_pixels(truth["annotations"], images)
    records = {facts.id: record for record, facts in enumerate(prepared.images)}
    places = [(records[annotation["image_id"]], place) for annotation, place in found]
    if not places:
        raise ValueError(
            "no image of the evaluation set has an object with a mask that is no crowd region."
        )
    shape = crop_shape(config)
    canvas = shape.canvas, shape.canvas

    def crops(process_index: int = 0, process_count: int = 1) -> Iterator[NumberedCrops]:
        parts = evaluation_parts(
            {canvas: range(len(places))}, batch_size=batch_size,
            process_index=process_index, process_count=process_count,
        )  # fmt: skip

        def read(number: int) -> Crop:
            return evaluation_crop(prepared, *places[number], shape, number)

        return ((numbers, tuple(at_once(read, numbers))) for _, numbers in parts)

    return CropEvalSet(
        objects=tuple(annotation for annotation, _ in found),
        images=images,
        crops=crops,
        eval_pixels=image_reader(prepared),
        batch_size=batch_size,
        canvas=shape.canvas,
    )


def _with_pixels(
    annotations: list[dict[str, Any]], images: dict[int, dict[str, Any]]
) -> list[tuple[dict[str, Any], int]]:
    """Objects that are no crowd region and have a pixel, and the place of each among its image's
    that are none."""
    found, number = [], Counter[int]()
    for annotation in annotations:
        if annotation["iscrowd"]:
            continue
        image = images[annotation["image_id"]]
        if mask_area(annotation["segmentation"], (image["height"], image["width"])):
            found.append((annotation, number[image["id"]]))
        number[image["id"]] += 1
    return found
