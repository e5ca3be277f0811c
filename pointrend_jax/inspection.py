"""What a data set holds, before an hour is spent on it: numbers, and the truth of some images."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.config_rules import check_config
from pointrend_jax.console import tell
from pointrend_jax.data.channel_statistics import ChannelStatistics, channel_statistics, in_words
from pointrend_jax.data.sources.known import LABEL_SETS, OBJECT_SETS
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.data.splits import NAMES, split_finder
from pointrend_jax.masks.bits import unpack_masks
from pointrend_jax.messages import first
from pointrend_jax.pixel_format import PHOTO, PixelFormat, pixel_format
from pointrend_jax.storage import check_workdir
from pointrend_jax.structures import Config, ObjectBatch, SemanticBatch
from pointrend_jax.tasks.scoring import build_task_datasets
from pointrend_jax.visualize import (
    OverlayStyle,
    Rgb,
    overlay_labels,
    overlay_masks,
    save_picture,
    sheet,
)
from pointrend_jax.visualize.drawing import MOST_ENLARGED
from pointrend_jax.workers import in_order

PAGE = "training.png"
_PICTURES, _FIELD = 12, 400  # on the page, and the longer side of each, in px
# Images that statistics of channels are of, at most.
_MEASURED = 500
# Classes whose numbers are shown each.
_SHOWN = 30
# Square pixels. Source: COCO's evaluation, small below 32^2 and large from 96^2 on.
_AREAS = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}


def inspect(config: Config, output: Path) -> None:
    """Prints what the two splits of `config.data` hold, and draws the first training images.

    The set is prepared for it, as for a training: every image is decoded once.

    Args:
      output: gets `training.png`, a page of images as training sees them, resized, cropped and
        flipped, under their truth.
    Raises: ValueError for what a training would refuse, with all that is wrong, and for record
      files, which were checked when they were prepared.
    """
    config, has_range = _readable(config)
    check_config(config, to_train=True)
    if not has_range:
        # It would clip to a range that nobody stated.
        config.data.color_augmentation = False
    if config.task == "refine":
        raise ValueError(
            "a refiner learns from the masks of any set, as they are; look at the set by itself: "
            "pointrend_jax inspect --data FOLDER."
        )
    if config.data.source == "tfds":
        raise ValueError(
            "an inspection reads the files that a set is distributed as, not record files; set "
            "config.data.source and config.data.dir to those that they were prepared from."
        )
    check_workdir(output, "--output")
    described = _maps_in_words if config.task == "semantic" else _objects_in_words
    for lines in described(config):
        tell("\n".join(lines))
    datasets = build_task_datasets(config)
    pixels = pixel_format(config)
    if pixels != PHOTO:
        statistics = _statistics(datasets)
        tell("\n".join(in_words(statistics, datasets.num_train_images)))
        if any(statistics.missing):
            tell("what is missing (nodata, or a mask in a file) is black to a network")
        # Shown by what was measured, whatever was stated.
        if statistics.most[0] < statistics.most[1]:
            pixels = pixels._replace(value_range=statistics.most)
    pictures = _pictures(datasets.train_batches(0, 1), datasets.class_names, pixels)
    page = sheet(list(islice(pictures, _PICTURES)), columns=4, side=_FIELD)
    save_picture(output / PAGE, page)
    tell(f"the first training images under their truth: {output / PAGE}; look at it, then train")


def _maps_in_words(config: Config) -> Iterator[list[str]]:
    """Numbers of each split, a line each."""
    find = split_finder(config, LABEL_SETS)
    for split in NAMES:
        maps = find(split)
        sizes = [(image.height, image.width) for image in maps.images]
        yield [
            f"{split}: {len(sizes)} images, {len(maps.class_names)} classes",
            _sizes(sizes),
            f"  classes: {', '.join(maps.class_names)}",
        ]


def _objects_in_words(config: Config) -> Iterator[list[str]]:
    """Numbers of each split, a line each."""
    find = split_finder(config, OBJECT_SETS)
    for split in NAMES:
        found = find(split)
        images = found.dataset.images
        objects = [o for image in images for o in image.objects if not o.is_crowd]
        crowds = sum(o.is_crowd for image in images for o in image.objects)
        crowded = f" and {crowds} crowd regions" if crowds else ""
        yield [
            f"{split}: {len(images)} images, {len(objects)} objects{crowded}",
            _sizes([(image.height, image.width) for image in images]),
            *_of_objects(found),
        ]


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    heights, widths = np.asarray(sizes).T
    of_half = f"{int(np.median(heights))} x {int(np.median(widths))}"
    return (
        f"  sizes (height x width): {of_half} in the middle, {heights.min()} x {widths.min()} at "
        f"least, {heights.max()} x {widths.max()} at most"
    )


def _of_objects(found: FoundObjects) -> Iterator[str]:
    images, names = found.dataset.images, found.dataset.class_names
    numbers = [sum(not o.is_crowd for o in image.objects) for image in images]
    yield (
        f"  objects an image: {np.mean(numbers):.1f} on average, {max(numbers)} at most, "
        f"{numbers.count(0)} images have none"
    )
    objects = [o for image in images for o in image.objects if not o.is_crowd]
    areas = np.asarray([o.area for o in objects])
    of_size = (
        f"{np.mean((areas >= low) & (areas < high)):.0%} {name}"
        for name, (low, high) in _AREAS.items()
    )
    if objects:
        yield f"  by COCO's sizes: {', '.join(of_size)}"
    counts = Counter(o.label for o in objects)
    of_each = [f"{names[k]} {number}" for k, number in counts.most_common()]
    yield f"  objects of each class: {first(of_each, _SHOWN)}"


def _readable(config: Config) -> tuple[Config, bool]:
    """A config with all values that its images may have if it states no range; whether it does."""
    dtype, readable = config.data.get("dtype"), config.copy_and_resolve_references()
    has_range = bool(config.data.get("value_range")) or dtype not in ("uint16", "float32")
    if not has_range:
        readable.data.value_range = (0.0, 65535.0 if dtype == "uint16" else 1.0)
    return readable, has_range


def _statistics(datasets: Any) -> ChannelStatistics:
    """Of all training images, or of many that are evenly spaced among them."""
    total = datasets.num_train_images
    places = range(0, total, -(-total // _MEASURED))
    return channel_statistics(in_order(datasets.train_image, places))


def _pictures(batches: Iterator[Any], names: tuple[str, ...], pixels: PixelFormat) -> Iterator[Rgb]:
    """The images of batches under their truth, without what lies beyond them on the canvas."""
    for batch in batches:
        for i, (height, width) in enumerate(batch.image_hw.tolist()):
            image = pixels.shown(np.ascontiguousarray(batch.images[i, :height, :width]))
            if isinstance(batch, SemanticBatch):
                labels = batch.labels[i, :height, :width]
                yield overlay_labels(image, labels, names, scale=_scale(image))
            else:
                yield _objects_picture(image, batch, i, names)


def _objects_picture(image: Rgb, batch: ObjectBatch, i: int, names: tuple[str, ...]) -> Rgb:
    there = np.flatnonzero(batch.valid[i])
    image_hw = (image.shape[0], image.shape[1])
    if batch.mask_bits is None:
        masks = [
            _point_mask(batch.point_coords[i, k], batch.point_labels[i, k], image_hw) for k in there
        ]
    else:
        masks = list(unpack_masks(batch.mask_bits[i][there], image_hw))
    labels = [names[k] for k in batch.classes[i][there]]
    style = OverlayStyle(scale=_scale(image))
    return overlay_masks(image, batch.boxes[i][there], masks, labels, None, style=style)


def _scale(image: Rgb) -> float:
    """At which a picture has the size of its field on the page, with lines and names to match."""
    return min(_FIELD / max(image.shape[:2]), MOST_ENLARGED)


def _point_mask(coords: np.ndarray, labels: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """Squares of five pixels around the points that are on the object."""
    mask = np.zeros(image_hw, np.bool_)
    for x, y in coords[labels == 1].astype(int):
        mask[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = True
    return mask
