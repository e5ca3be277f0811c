"""Sets with a class for every pixel as record files: features, examples, and reading.

Every image and label image is decoded once while the files are written; labels are stored as
classes, instance ids as they are.
"""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32, Int64, Num, UInt8
from PIL import Image

from pointrend_jax.console import tell
from pointrend_jax.data.images import decode_image, decode_map
from pointrend_jax.data.records.broken import READ_ERRORS
from pointrend_jax.data.records.layout import (
    ImageFacts,
    RecordSet,
    Split,
    check_same_classes,
    check_same_pixels,
    image_feature,
    open_split,
    pixels_metadata,
)
from pointrend_jax.data.records.manifest import FORMAT
from pointrend_jax.data.records.write import CACHED, write_if_absent
from pointrend_jax.data.sources.label_set import SemanticImage, SemanticSet, to_classes
from pointrend_jax.messages import first
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.storage import content_key
from pointrend_jax.structures import IGNORE_LABEL
from pointrend_jax.workers import in_order

KIND = "label maps"


class PreparedMaps(NamedTuple):
    """Random access to a set of label maps; `source[i]` is the record of `images[i]`.

    Attributes:
      instance_classes: classes whose objects `instance_ids` of a record tells apart, ascending.
      pixels: what the images are decoded to.
    """

    source: Sequence[Any]
    images: tuple[ImageFacts, ...]
    class_names: tuple[str, ...]
    instance_classes: tuple[int, ...]
    pixels: PixelFormat = PHOTO


def prepare_maps(
    dataset: SemanticSet, cache_dir: Path, pixels: PixelFormat = PHOTO
) -> PreparedMaps:
    """The prepared set, made now if it is not there yet.

    Args:
      pixels: what the images must have.
    Raises: ValueError if images or label images are damaged, of unlike sizes, of other pixels or
      of unknown values, or if the cache cannot be written.
    """
    content = map_records("label_maps", {CACHED: dataset}, pixels)
    key = content.splits[CACHED].key
    parts = [str([FORMAT, content.metadata]), *(f"{key(i)}\n" for i in range(len(dataset.images)))]
    folder = write_if_absent(content, cache_dir / content_key(parts))
    return open_maps(folder, CACHED, pixels)


def map_records(
    name: str, splits: Mapping[str, SemanticSet], pixels: PixelFormat = PHOTO
) -> RecordSet:
    """What becomes a folder of record files, of checked sets with the same classes.

    Args:
      pixels: what the images must have.
    Raises: ValueError if the sets differ in their classes.
    """
    check_same_classes({s: (d.class_names, d.instance_classes) for s, d in splits.items()})
    one = next(iter(splits.values()))
    return RecordSet(
        name=name,
        features=_features(pixels),
        metadata={
            "kind": KIND,
            "class_names": list(one.class_names),
            "instance_classes": list(one.instance_classes),
        }
        | pixels_metadata(pixels),
        splits={split: _split(dataset, pixels) for split, dataset in splits.items()},
    )


def open_maps(folder: Path, split: str, pixels: PixelFormat = PHOTO) -> PreparedMaps:
    """A split of the record files in `folder`.

    Raises: ValueError if they are of another kind, or their images of other pixels.
    """
    source, images, metadata = open_split(folder, split, KIND)
    check_same_pixels(folder, metadata, pixels)
    names, instance_classes = metadata["class_names"], metadata["instance_classes"]
    return PreparedMaps(source, images, tuple(names), tuple(instance_classes), pixels)


def read_image_and_labels(
    prepared: PreparedMaps, record: int
) -> tuple[Num[np.ndarray, "H W C"], UInt8[np.ndarray, "H W"]]:
    """An image with its classes (0..K-1 or `IGNORE_LABEL`), both at original size."""
    content = prepared.source[record]
    name = prepared.images[record].name
    return (
        decode_image(content["image"], name, prepared.pixels),
        np.asarray(decode_map(content["labels"], name), np.uint8),
    )


def check_pixels(which: str, prepared: PreparedMaps) -> None:
    """Prints the classes that have no pixel in a set. Reads it until every class has been seen.

    Args:
      which: what the message calls the set.
    Raises: ValueError if all pixels are void.
    """
    absent, void, total = set(range(len(prepared.class_names))), 0, 0
    for counts in in_order(partial(_count_pixels, prepared), range(len(prepared.images))):
        if isinstance(counts, str):
            # Whoever reads the whole record tells of it, and in training it may be broken.
            continue
        absent -= set(np.flatnonzero(counts).tolist())
        void, total = void + int(counts[IGNORE_LABEL]), total + int(counts.sum())
        if not absent:
            return
    if total == 0:
        return
    share = f"{100 * void / total:.0f} % of its pixels are void"
    if void == total:
        raise ValueError(
            f"{which}: a set must have labelled pixels, but {share}; give the classes the values "
            "that the label images have (classes.json), and void another one."
        )
    names = [prepared.class_names[k] for k in sorted(absent)]
    text = f"{which}: {len(names)} of {len(prepared.class_names)} classes have no pixel"
    advice = "; if the value of void is meant as a class, correct classes.json" if void else ""
    tell(f"{text}: {first(names)}; {share}{advice}")


def _count_pixels(prepared: PreparedMaps, record: int) -> Int64[np.ndarray, "256"] | str:
    """The pixels of each class, or why a record cannot be read."""
    try:
        encoded = prepared.source[record]["labels"]
        labels = decode_map(encoded, prepared.images[record].name)
    except READ_ERRORS as error:
        return str(error)
    return np.bincount(labels.ravel(), minlength=256)


class EvalTruth:
    """The images and ground truth of a prepared set, one by one, at original size."""

    def __init__(self, prepared: PreparedMaps) -> None:
        self._prepared = prepared

    def __len__(self) -> int:
        return len(self._prepared.images)

    def name(self, image_id: int) -> str:
        return self._prepared.images[image_id].name

    @property
    def pixels(self) -> PixelFormat:
        return self._prepared.pixels

    def image(self, image_id: int) -> Num[np.ndarray, "H W C"]:
        content = self._prepared.source[image_id]
        return decode_image(content["image"], self.name(image_id), self.pixels)

    def labels(self, image_id: int) -> UInt8[np.ndarray, "H W"]:
        """0..K-1 or `IGNORE_LABEL`."""
        content = self._prepared.source[image_id]
        return np.asarray(decode_map(content["labels"], self.name(image_id)), np.uint8)

    def instance_ids(self, image_id: int) -> Int32[np.ndarray, "H W"] | None:
        """Cityscapes' map of label ids and instance ids; None where objects are not told apart."""
        encoded = self._prepared.source[image_id]["instance_ids"]
        if not encoded:
            return None
        return np.asarray(decode_map(encoded, self.name(image_id)), np.int32)


def _features(pixels: PixelFormat) -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
            "image": image_feature(pixels),
            "labels": tfds.features.Image(shape=(None, None, 1)),
            # Bytes and no Image, which cannot be absent.
            "instance_ids": tfds.features.Text(),
            "name": tfds.features.Text(),
            "height": np.int64,
            "width": np.int64,
        }
    )


def _split(dataset: SemanticSet, pixels: PixelFormat) -> Split:
    images = dataset.images
    meaning = str(sorted(dataset.label_values.items()))

    def key(index: int) -> str:
        image = images[index]
        files = (image.image, image.labels, image.instance_ids)
        return " ".join([image.name, meaning, *(f.fingerprint() if f else "" for f in files)])

    facts = (ImageFacts(i, x.name, x.height, x.width, ()) for i, x in enumerate(images))
    return Split(
        tuple(facts),
        key,
        lambda index: _checked_record(images[index], dataset.label_values, pixels),
    )


def _checked_record(
    image: SemanticImage, label_values: Any, pixels: PixelFormat
) -> dict[str, Any] | str:
    """The example of an image, or what is wrong with it."""
    try:
        encoded = image.image.read_bytes()
        pixels_hw = decode_image(encoded, str(image.image), pixels).shape[:2]
        values = decode_map(image.labels.read_bytes(), str(image.labels))
        classes = to_classes(values, label_values, str(image.labels))
        instance_ids = image.instance_ids.read_bytes() if image.instance_ids else b""
        instances_hw = pixels_hw
        if image.instance_ids:
            instances_hw = decode_map(instance_ids, str(image.instance_ids)).shape
    except ValueError as error:
        return str(error)
    if not pixels_hw == classes.shape == instances_hw:
        other = image.instance_ids if pixels_hw == classes.shape else image.image
        other_hw = instances_hw if pixels_hw == classes.shape else pixels_hw
        return (
            f"{image.labels} has {_times(classes.shape)} pixels (height x width), {other} has "
            f"{_times(other_hw)}; they must be equal"
        )
    return {
        "image": encoded,
        "labels": _png(classes),
        "instance_ids": instance_ids,
        "name": image.name,
        "height": image.height,
        "width": image.width,
    }


def _times(hw: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in hw)


def _png(classes: UInt8[np.ndarray, "H W"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(classes).save(buffer, "PNG")
    return buffer.getvalue()
