"""From `config.data` to data sets: the only function of this package that sees a configuration."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Float, Int32

from pointrend_jax.console import tell
from pointrend_jax.data.batches.instances import (
    Augmentation,
    TrainPlan,
    eval_samples,
    train_batches,
)
from pointrend_jax.data.batches.repeat_factors import image_repeat_factors
from pointrend_jax.data.batches.transforms import check_fit
from pointrend_jax.data.records.fetch import fetch_records
from pointrend_jax.data.records.instances import (
    PreparedSet,
    ground_truth,
    instance_ids,
    open_instances,
    prepare,
    prepare_set,
)
from pointrend_jax.data.records.layout import facts_digest
from pointrend_jax.data.sources.cityscapes_instances import read_cityscapes_objects
from pointrend_jax.data.sources.cocofied_lvis import read_cocofied_lvis
from pointrend_jax.data.sources.embedded import generate_embedded
from pointrend_jax.data.sources.findings import tell_absent_classes
from pointrend_jax.data.sources.lvis import read_lvis
from pointrend_jax.storage import as_path, default_cache_dir, expanded, local_path
from pointrend_jax.structures import Config, EvalSample

# Splits of a data set by what they are for.
SPLITS = {"train": "train", "eval": "val"}
# From the id of an image to its map of Cityscapes' label ids and instance ids.
InstanceIds = Callable[[int], Int32[np.ndarray, "H W"]]


class Datasets(NamedTuple):
    """What training and evaluation need of a data set.

    Attributes:
      class_names, category_ids: by class index; the ids are those of the annotation files.
      train_digest: of the training images, their sizes and classes.
      num_train_images: after leaving out images without annotations, if the config says so.
      train_batches: (process_index, process_count, start) to this host's batches from number
        `start` on, without end.
      eval_samples: (process_index, process_count) to this host's evaluation images, once.
      eval_ground_truth: the checked annotations as a COCO dictionary.
      eval_instance_ids: from an image id of it to Cityscapes' instance id map; None for other sets.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    num_train_images: int
    train_digest: str
    train_batches: Callable[..., grain.DatasetIterator]
    eval_samples: Callable[..., Iterator[EvalSample]]
    eval_ground_truth: dict[str, Any]
    eval_instance_ids: InstanceIds | None


class EvalSet(NamedTuple):
    """The part of `Datasets` that an evaluation needs; the training set is not touched."""

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    eval_samples: Callable[..., Iterator[EvalSample]]
    eval_ground_truth: dict[str, Any]
    eval_instance_ids: InstanceIds | None


def build_datasets(config: Config) -> Datasets:
    """Checks and prepares training and evaluation set.

    Raises: ValueError that says what is wrong with the files or the config.
    """
    _check_eval_files(config)
    evaluation = build_eval_set(config)
    training = _prepare(config, "train")
    check_classes(config, training.class_names)
    if training.class_names != evaluation.class_names:
        raise ValueError(
            f"training and evaluation set differ in their categories: "
            f"{list(training.class_names)} and {list(evaluation.class_names)}."
        )
    records = _training_records(training, filter_empty=config.data.filter_empty_annotations)
    images = training.images
    present = (label for image in images for label in image.labels)
    tell_absent_classes("training set", training.class_names, present)
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
        )

    return Datasets(
        class_names=evaluation.class_names,
        category_ids=evaluation.category_ids,
        num_train_images=len(records),
        train_digest=facts_digest(images),
        train_batches=batches,
        eval_samples=evaluation.eval_samples,
        eval_ground_truth=evaluation.eval_ground_truth,
        eval_instance_ids=evaluation.eval_instance_ids,
    )


def build_eval_set(config: Config, *, may_lack_annotations: bool = False) -> EvalSet:
    """Checks and prepares the evaluation set alone; errors as `build_datasets`.

    Args:
      may_lack_annotations: a COCO file may have none, as those of test sets.
    """
    prepared = _prepare(config, "eval", may_lack_annotations=may_lack_annotations)
    check_classes(config, prepared.class_names)
    present = (label for image in prepared.images for label in image.labels)
    tell_absent_classes("evaluation set", prepared.class_names, present)
    # Before a training and not at its first evaluation.
    check_fit(
        [(image.height, image.width) for image in prepared.images],
        [config.data.eval_min_size],
        config.data.max_size,
        buckets(config),
    )

    def samples(process_index: int = 0, process_count: int = 1) -> Iterator[EvalSample]:
        return eval_samples(
            prepared,
            min_size=config.data.eval_min_size,
            max_size=config.data.max_size,
            buckets=buckets(config),
            batch_size=config.eval.batch_size,
            process_index=process_index,
            process_count=process_count,
        )

    return EvalSet(
        class_names=prepared.class_names,
        category_ids=prepared.category_ids,
        eval_samples=samples,
        eval_ground_truth=ground_truth(prepared),
        eval_instance_ids=instance_ids(prepared) if prepared.has_instance_ids else None,
    )


def _prepare(config: Config, split: str, *, may_lack_annotations: bool = False) -> PreparedSet:
    data = config.data
    cache = cache_dir(config)
    if data.source == "coco":
        root = local_path(data.dir)
        if not root.is_dir():
            raise ValueError(f"config.data.dir {root} is not a folder; set --config.data.dir.")
        annotations = root / expanded(data[f"{split}_annotations"])
        images = root / expanded(data[f"{split}_images"])
        return prepare(annotations, images, cache, may_lack_annotations=may_lack_annotations)
    if data.source == "cityscapes":
        objects = read_cityscapes_objects(local_path(data.dir), SPLITS[split], cache)
        dataset, annotations, instance_files = objects
        return prepare_set(dataset, annotations, cache, instance_files)
    if data.source in ("lvis", "cocofied_lvis"):
        return _prepare_lvis(config, split, cache)
    if data.source == "embedded":
        return _prepare_embedded(config, split, cache)
    if data.source == "tfds":
        return open_instances(local_records(config), SPLITS[split])
    raise ValueError(
        "config.data.source must be 'coco', 'lvis', 'cocofied_lvis', 'cityscapes', 'tfds' or "
        f"'embedded' for config.task 'instance', got {data.source!r}."
    )


def _check_eval_files(config: Config) -> None:
    """Raises ValueError, saying how to do without, if only the evaluation's annotations lack."""
    data = config.data
    if data.source not in ("coco", "lvis", "cocofied_lvis"):
        return
    root = local_path(data.dir)
    files = {split: root / expanded(data[f"{split}_annotations"]) for split in SPLITS}
    if files["train"].is_file() and not files["eval"].is_file():
        raise ValueError(
            f"A training needs an evaluation set, but its annotation file {files['eval']} is not "
            "there; set config.data.eval_annotations and config.data.eval_images. To do without, "
            f"set them to the training set's ({data.train_annotations!r}, {data.train_images!r}) "
            "and config.train.eval_every to 0; the scores then say little."
        )


def _prepare_lvis(config: Config, split: str, cache: Path) -> PreparedSet:
    root, folder = local_path(config.data.dir), expanded(config.data[f"{split}_images"])
    annotations = root / expanded(config.data[f"{split}_annotations"])
    if config.data.source == "lvis":
        return prepare_set(read_lvis(annotations, root, folder), annotations, cache)
    dataset, annotations = read_cocofied_lvis(annotations, root, folder, cache)
    return prepare_set(dataset, annotations, cache)


def _prepare_embedded(config: Config, split: str, cache: Path) -> PreparedSet:
    embedded = config.data.embedded
    name = "-".join(str(embedded[field]) for field in sorted(embedded.keys()))
    root = cache / f"embedded-{name}"
    generate_embedded(
        root,
        image_size=embedded.image_size,
        num_train=embedded.num_train,
        num_eval=embedded.num_eval,
        max_objects=embedded.max_objects,
        seed=embedded.seed,
    )
    return prepare(root / "annotations" / f"{split}.json", root / split, cache)


def _training_records(training: PreparedSet, *, filter_empty: bool) -> list[int]:
    images = training.images
    usable = [bool(image.labels) for image in images]
    if not filter_empty:
        return list(range(len(images)))
    empty = len(images) - sum(usable)
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


def cache_dir(config: Config) -> Path:
    """Where prepared sets lie."""
    return local_path(config.data.cache_dir) if config.data.cache_dir else default_cache_dir()


def local_records(config: Config) -> Path:
    """The record files in `config.data.dir` on this machine; of a bucket, a copy in the cache."""
    return fetch_records(as_path(config.data.dir), cache_dir(config))


def check_classes(config: Config, class_names: tuple[str, ...]) -> None:
    """Raises ValueError unless `config.num_classes` is the number of names."""
    if len(class_names) != config.num_classes:
        raise ValueError(
            f"config.num_classes is {config.num_classes}, but the data set has {len(class_names)} "
            f"categories ({', '.join(class_names[:8])}); set config.num_classes to that."
        )


def buckets(config: Config) -> tuple[tuple[int, int], ...]:
    """The canvases as plain tuples."""
    return tuple((int(b[0]), int(b[1])) for b in config.data.buckets)
