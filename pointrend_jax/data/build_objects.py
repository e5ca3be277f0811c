"""From `config.data` to data sets of objects."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Float, Int32, Num

from pointrend_jax.console import tell
from pointrend_jax.data.batches.objects import PointSupervision, train_batches
from pointrend_jax.data.batches.repeat_factors import image_repeat_factors
from pointrend_jax.data.batches.train_plan import Augmentation, TrainPlan
from pointrend_jax.data.rasters import PixelsAndMissing
from pointrend_jax.data.records.layout import facts_digest
from pointrend_jax.data.records.objects import (
    PreparedSet,
    ground_truth,
    image_reader,
    instance_ids,
    open_objects,
    prepare_objects,
)
from pointrend_jax.data.sources.findings import tell_absent_classes
from pointrend_jax.data.sources.known import OBJECT_SETS
from pointrend_jax.data.splits import (
    NAMES,
    EvalSamples,
    buckets,
    cache_dir,
    check_classes,
    check_eval_sizes,
    image_with_missing,
    local_records,
    samples_of,
    split_finder,
)
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.storage import expanded, local_path
from pointrend_jax.structures import Config

_CALLED = {"train": "training", "eval": "evaluation"}
# From the id of an image to its pixels at original size.
Pixels = Callable[[int], Num[np.ndarray, "H W C"]]
# From the id of an image to its map of Cityscapes' label ids and instance ids.
InstanceIds = Callable[[int], Int32[np.ndarray, "H W"]]


class Datasets(NamedTuple):
    """What training and evaluation need of a data set.

    Attributes:
      class_names, category_ids: by class index; the ids are those of the annotation files.
      train_digest: of the training images, their sizes and classes.
      num_train_images: after leaving out images without annotations, if the config says so.
      train_batches: (process_index, process_count, start) to this process's batches from number
        `start` on, without end.
      train_image: from a place among the training images to the image at its original size, and
        which of its values are missing.
      eval_samples: an iterator over the evaluation images.
      eval_ground_truth: the checked annotations as a COCO dictionary.
      eval_pixels: from an image id of it to the image.
      eval_instance_ids: from an image id of it to Cityscapes' instance id map; None for other sets.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    num_train_images: int
    train_digest: str
    train_batches: Callable[..., grain.DatasetIterator]
    train_image: Callable[[int], PixelsAndMissing]
    eval_samples: EvalSamples
    eval_ground_truth: dict[str, Any]
    eval_pixels: Pixels
    eval_instance_ids: InstanceIds | None

    @property
    def num_eval_images(self) -> int:
        return len(self.eval_ground_truth["images"])


class EvalSet(NamedTuple):
    """The part of `Datasets` that an evaluation needs; the training set is not touched."""

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    eval_samples: EvalSamples
    eval_ground_truth: dict[str, Any]
    eval_pixels: Pixels
    eval_instance_ids: InstanceIds | None

    @property
    def num_eval_images(self) -> int:
        return len(self.eval_ground_truth["images"])

    def eval_images(self) -> Iterator[Num[np.ndarray, "H W C"]]:
        """The evaluation images as they are."""
        return (self.eval_pixels(image["id"]) for image in self.eval_ground_truth["images"])


def build_datasets(config: Config) -> Datasets:
    """Checks and prepares training and evaluation set.

    Raises: ValueError that says what is wrong with the files or the config.
    """
    _check_eval_files(config)
    prepare = preparer(config)
    evaluation = _eval_set(config, prepare)
    training = prepare("train")
    points = _point_supervision(config, training)
    if training.class_names != evaluation.class_names:
        raise ValueError(
            f"training and evaluation set differ in their categories: "
            f"{list(training.class_names)} and {list(evaluation.class_names)}."
        )
    records = _training_records(training, filter_empty=config.data.filter_empty_annotations)
    images = training.images
    plan = TrainPlan(
        [(images[i].height, images[i].width) for i in records],
        records,
        Augmentation(
            min_sizes=tuple(config.data.train_min_sizes),
            max_size=config.data.max_size,
            flip_probability=config.data.flip_probability,
            buckets=buckets(config),
        ),
        batch_size=config.train.batch_size,
        seed=config.seed,
        repeat_factors=_repeat_factors(training, records, config.data.repeat_threshold),
    )

    def batches(process_index: int, process_count: int, start: int = 0) -> grain.DatasetIterator:
        return train_batches(
            training,
            plan,
            process_index=process_index,
            process_count=process_count,
            start=start,
            num_threads=config.data.num_threads,
            max_broken_share=config.data.max_broken_share,
            points=points,
        )

    return Datasets(
        class_names=evaluation.class_names,
        category_ids=evaluation.category_ids,
        num_train_images=len(records),
        train_digest=facts_digest(images),
        train_batches=batches,
        train_image=lambda place: image_with_missing(training, records[place]),
        eval_samples=evaluation.eval_samples,
        eval_ground_truth=evaluation.eval_ground_truth,
        eval_pixels=evaluation.eval_pixels,
        eval_instance_ids=evaluation.eval_instance_ids,
    )


def build_eval_set(config: Config, *, may_lack_annotations: bool = False) -> EvalSet:
    """Checks and prepares the evaluation set alone; errors as `build_datasets`.

    Args:
      may_lack_annotations: a COCO file may have none, as those of test sets.
    """
    return _eval_set(config, preparer(config, may_lack_annotations=may_lack_annotations))


def _eval_set(config: Config, prepare: Callable[[str], PreparedSet]) -> EvalSet:
    prepared = prepare("eval")
    if prepared.lacks_masks:
        raise ValueError(
            "masks are scored against masks, but objects of the evaluation set have labelled "
            "points alone; evaluate on a set with masks (config.data.eval_annotations, and "
            "config.data.held_out = 0)."
        )
    # Before a training and not at its first evaluation.
    check_eval_sizes(config, [(image.height, image.width) for image in prepared.images])
    return EvalSet(
        class_names=prepared.class_names,
        category_ids=prepared.category_ids,
        eval_samples=samples_of(config, prepared),
        eval_ground_truth=ground_truth(prepared),
        eval_pixels=image_reader(prepared),
        eval_instance_ids=instance_ids(prepared) if prepared.has_instance_ids else None,
    )


def _point_supervision(config: Config, training: PreparedSet) -> PointSupervision | None:
    """What a step has of labelled points. Raises ValueError if the set has not what is wanted."""
    if config.data.supervision == "masks":
        if training.lacks_masks:
            raise ValueError(
                "objects of the training set have labelled points and no masks: set "
                'config.data.supervision = "points", or give masks.'
            )
        return None
    if not training.most_points:
        raise ValueError(
            'config.data.supervision = "points" needs objects with "point_coords" and '
            '"point_labels", but the training set has none; make some of its masks with '
            '`pointrend_jax points`, or set config.data.supervision = "masks".'
        )
    if training.without_points:
        tell(
            f"{training.without_points} objects have no labelled point: boxes are learned from "
            "them, and no masks"
        )
    number = config.data.points_per_step or training.most_points
    return PointSupervision(min(number, training.most_points), config.seed)


def preparer(
    config: Config, *, may_lack_annotations: bool = False, knows_classes: bool = True
) -> Callable[[str], PreparedSet]:
    """From "train" or "eval" to that split, checked and prepared.

    Args: knows_classes, whether the model does, so that they must be those of the config.
    """
    find, pixels = None, pixel_format(config)
    if config.data.source != "tfds":
        find = split_finder(config, OBJECT_SETS, may_lack_annotations=may_lack_annotations)

    def prepare(split: str) -> PreparedSet:
        if find is None:
            prepared = open_objects(local_records(config), NAMES[split], pixels)
        else:
            prepared = prepare_objects(find(split), cache_dir(config), pixels)
        if not knows_classes:
            return prepared
        check_classes(config, prepared.class_names)
        present = (label for image in prepared.images for label in image.labels)
        tell_absent_classes(f"{_CALLED[split]} set", prepared.class_names, present)
        return prepared

    return prepare


def _check_eval_files(config: Config) -> None:
    """Raises ValueError, saying how to do without, if only the evaluation's annotations lack."""
    data = config.data
    named = data.source in OBJECT_SETS and OBJECT_SETS[data.source].has_named_files
    if not named or data.held_out:
        return
    root = local_path(data.dir)
    files = {split: root / expanded(data[f"{split}_annotations"]) for split in NAMES}
    if files["train"].exists() and not files["eval"].exists():
        raise ValueError(
            f"A training needs an evaluation set, but its annotation file {files['eval']} is not "
            "there; set config.data.eval_annotations and config.data.eval_images, or hold some "
            "of the training images out for it: config.data.held_out = 0.1."
        )


def _training_records(training: PreparedSet, *, filter_empty: bool) -> list[int]:
    """The records that are trained on. Raises ValueError if all are left out."""
    images = training.images
    usable = [bool(image.labels) for image in images]
    if not filter_empty:
        return list(range(len(images)))
    empty = len(images) - sum(usable)
    if empty == len(images):
        raise ValueError(
            f"none of the {len(images)} training images has an object that is no crowd region; "
            "annotate some, hold others out for the evaluation (config.data.held_out_seed), or "
            "train on images without objects: config.data.filter_empty_annotations = False."
        )
    if empty:
        tell(
            f"{empty} of {len(images)} training images have no object, or crowd regions only, and "
            "are left out (config.data.filter_empty_annotations)"
        )
    return [record for record, kept in enumerate(usable) if kept]


def _repeat_factors(
    training: PreparedSet, records: list[int], threshold: float
) -> Float[np.ndarray, " N"] | None:
    if threshold == 0:
        return None
    return image_repeat_factors([training.images[record].labels for record in records], threshold)
