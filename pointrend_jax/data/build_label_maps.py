"""From `config.data` to data sets with a class for every pixel."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import grain.python as grain
import numpy as np
from jaxtyping import Num

from pointrend_jax.data.batches.label_maps import (
    CropAugmentation,
    SemanticPlan,
    semantic_train_batches,
)
from pointrend_jax.data.rasters import PixelsAndMissing
from pointrend_jax.data.records.label_maps import (
    EvalTruth,
    PreparedMaps,
    check_pixels,
    open_maps,
    prepare_maps,
)
from pointrend_jax.data.records.layout import facts_digest
from pointrend_jax.data.sources.known import LABEL_SETS
from pointrend_jax.data.sources.label_set import SemanticSet
from pointrend_jax.data.splits import (
    NAMES,
    EvalSamples,
    cache_dir,
    check_classes,
    check_eval_sizes,
    image_with_missing,
    local_records,
    samples_of,
    split_finder,
)
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.structures import Config


class SemanticDatasets(NamedTuple):
    """What training and evaluation need of a data set.

    Attributes:
      class_names: by class index.
      instance_classes: classes whose objects `eval_truth.instance_ids` tells apart.
      train_digest: of the training images and their sizes.
      train_batches: (process_index, process_count, start) to this process's batches from number
        `start` on, without end.
      train_image: from a place among the training images to the image at its original size, and
        which of its values are missing.
      eval_samples: an iterator over the evaluation images; `image_ids` are positions in
        `eval_truth`.
      eval_truth: pixels, labels, instance ids and names of the evaluation images, at original
        size.
    """

    class_names: tuple[str, ...]
    instance_classes: tuple[int, ...]
    num_train_images: int
    train_digest: str
    train_batches: Callable[..., grain.DatasetIterator]
    train_image: Callable[[int], PixelsAndMissing]
    eval_samples: EvalSamples
    eval_truth: EvalTruth

    @property
    def num_eval_images(self) -> int:
        return len(self.eval_truth)


class SemanticEvalSet(NamedTuple):
    """The part of `SemanticDatasets` that an evaluation needs; no training image is touched."""

    class_names: tuple[str, ...]
    instance_classes: tuple[int, ...]
    eval_samples: EvalSamples
    eval_truth: EvalTruth

    @property
    def num_eval_images(self) -> int:
        return len(self.eval_truth)

    def eval_images(self) -> Iterator[Num[np.ndarray, "H W C"]]:
        """The evaluation images as they are."""
        return (self.eval_truth.image(image_id) for image_id in range(len(self.eval_truth)))


def build_semantic_datasets(config: Config) -> SemanticDatasets:
    """Checks and prepares training and evaluation set.

    Raises: ValueError that says what is wrong with the files or the config.
    """
    data = config.data
    _check_colors(config)
    find = _finder(config)
    source = find("train")
    images = source.images
    plan = SemanticPlan(
        [(image.height, image.width) for image in images],
        CropAugmentation(
            min_sizes=tuple(data.train_min_sizes),
            max_size=data.train_max_size,
            crop_hw=tuple(data.crop_hw),
            max_category_area=data.crop_max_category_area,
            color=data.color_augmentation,
            flip_probability=data.flip_probability,
        ),
        batch_size=config.train.batch_size,
        seed=config.seed,
    )
    evaluation = _eval_set(config, find)
    if source.class_names != evaluation.class_names:
        raise ValueError(
            "training and evaluation set must have the same classes in the same order, got "
            f"{list(source.class_names)} and {list(evaluation.class_names)}."
        )
    training = _prepared(config, source)
    check_pixels("training set", training)

    def batches(process_index: int, process_count: int, start: int = 0) -> grain.DatasetIterator:
        return semantic_train_batches(
            training,
            plan,
            process_index=process_index,
            process_count=process_count,
            start=start,
            num_threads=data.num_threads,
            max_broken_share=data.max_broken_share,
        )

    return SemanticDatasets(
        class_names=evaluation.class_names,
        instance_classes=evaluation.instance_classes,
        num_train_images=len(images),
        train_digest=facts_digest(training.images),
        train_batches=batches,
        train_image=partial(image_with_missing, training),
        eval_samples=evaluation.eval_samples,
        eval_truth=evaluation.eval_truth,
    )


def build_semantic_eval_set(config: Config) -> SemanticEvalSet:
    """Checks and prepares the evaluation set alone; errors as `build_semantic_datasets`."""
    return _eval_set(config, _finder(config))


def _eval_set(config: Config, find: Callable[[str], SemanticSet | PreparedMaps]) -> SemanticEvalSet:
    _check_scoring(config)
    source = find("eval")
    # Before the preparation, and before a training rather than at its first evaluation.
    check_eval_sizes(config, [(image.height, image.width) for image in source.images])
    prepared = _prepared(config, source)
    check_pixels("evaluation set", prepared)

    return SemanticEvalSet(
        source.class_names,
        source.instance_classes,
        samples_of(config, prepared),
        EvalTruth(prepared),
    )


def _check_scoring(config: Config) -> None:
    """Before a training rather than at its end."""
    settings = config.eval
    scales = tuple(settings.tta_scales)
    if not all(0.0 < scale < float("inf") for scale in scales):
        raise ValueError(
            f"config.eval.tta_scales must be positive factors such as (0.75, 1.0), got {scales}."
        )
    widths = tuple(settings.trimap_widths)
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"config.eval.trimap_widths must be positive whole pixels, got {widths}.")
    if not 0.0 < settings.boundary_dilation < 1.0:
        raise ValueError(
            "config.eval.boundary_dilation must be above 0 and below 1 (of the image's diagonal), "
            f"got {settings.boundary_dilation}."
        )


def _check_colors(config: Config) -> None:
    """Raises ValueError if colours are to change of images that have none."""
    if config.data.color_augmentation and not pixel_format(config).rgb_channels:
        raise ValueError(
            "config.data.color_augmentation changes red, green and blue, but none of the "
            f"{config.data.channels} channels is said to be these: state "
            "config.data.rgb_channels, or set config.data.color_augmentation = False."
        )


def _finder(config: Config) -> Callable[[str], SemanticSet | PreparedMaps]:
    """From "train" or "eval" to that split before its images are read: files as they came, or
    record files."""
    of_files = split_finder(config, LABEL_SETS) if config.data.source != "tfds" else None

    def find(split: str) -> SemanticSet | PreparedMaps:
        if of_files is None:
            dataset = open_maps(local_records(config), NAMES[split], pixel_format(config))
        else:
            dataset = of_files(split)
        check_classes(config, dataset.class_names)
        return dataset

    return find


def _prepared(config: Config, source: SemanticSet | PreparedMaps) -> PreparedMaps:
    if isinstance(source, PreparedMaps):
        return source
    return prepare_maps(source, cache_dir(config), pixel_format(config))
