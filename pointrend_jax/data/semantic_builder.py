"""Prepared record files of a set with a class for every pixel: a TFDS builder of our own.

Every image and label image is decoded once while the files are written (`records.py`); labels are
stored as classes, instance ids as they are. The prepared set is keyed by the sizes and times of all
files and by what their values mean.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32, UInt8
from PIL import Image

from pointrend_jax.data.images import decode_image, decode_map
from pointrend_jax.data.records import SPLIT, checked, content_key, write_records
from pointrend_jax.data.semantic_set import SemanticImage, SemanticSet, to_classes

# Part of the key: raise it when the records change.
_FORMAT = 1


class PreparedMaps(NamedTuple):
    """Random access to a prepared set; record i belongs to `dataset.images[i]`."""

    source: Sequence[Any]
    dataset: SemanticSet


class SemanticMaps(tfds.core.GeneratorBasedBuilder):
    """Encoded images with their classes as PNG, and instance ids as 16-bit PNG or empty."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, dataset: SemanticSet, data_dir: Path) -> None:
        self._dataset = dataset
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "labels": tfds.features.Image(shape=(None, None, 1)),
                    # Bytes and no Image, which cannot be absent.
                    "instance_ids": tfds.features.Text(),
                    "name": tfds.features.Text(),
                    "index": np.int64,
                }
            ),
            # Record i is image i; shuffling is the pipeline's work.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
        label_values = self._dataset.label_values

        def check(image: SemanticImage) -> dict[str, Any] | str:
            return _checked_record(image, label_values)

        for index, record in checked(self._dataset.images, check):
            yield index, record | {"index": index}


def prepare_maps(dataset: SemanticSet, name: str, cache_dir: Path) -> PreparedMaps:
    """The prepared set, made now if it is not there yet.

    Args:
      name: what errors call the set.
    Raises: ValueError if images or label images are damaged, of unlike sizes or have unknown
      values, or if the cache cannot be written.
    """
    source = write_records(
        lambda folder: SemanticMaps(dataset, folder),
        _key(dataset),
        cache_dir,
        name,
        {"image": tfds.decode.SkipDecoding(), "labels": tfds.decode.SkipDecoding()},
    )
    return PreparedMaps(source, dataset)


def read_image_and_labels(
    prepared: PreparedMaps, record: int
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
    """An image with its classes (0..K-1 or `IGNORE_LABEL`), both at original size."""
    content = prepared.source[record]
    image = prepared.dataset.images[record]
    return (
        decode_image(content["image"], str(image.image)),
        np.asarray(decode_map(content["labels"], str(image.labels)), np.uint8),
    )


class EvalTruth:
    """The ground truth of a prepared set, image by image, at original size."""

    def __init__(self, prepared: PreparedMaps) -> None:
        self._prepared = prepared

    def __len__(self) -> int:
        return len(self._prepared.dataset.images)

    def name(self, image_id: int) -> str:
        return self._prepared.dataset.images[image_id].name

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


def _key(dataset: SemanticSet) -> str:
    parts = [str(_FORMAT), str(sorted(dataset.label_values.items()))]
    for image in dataset.images:
        files = (image.image, image.labels, image.instance_ids)
        parts += [f"{file.fingerprint() if file else None}\n" for file in files]
    return content_key(parts)


def _checked_record(image: SemanticImage, label_values: Any) -> dict[str, Any] | str:
    """The record of an image but for its index, or what is wrong with it."""
    try:
        encoded = image.image.read_bytes()
        pixels_hw = decode_image(encoded, str(image.image)).shape[:2]
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
    }


def _times(hw: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in hw)


def _png(classes: UInt8[np.ndarray, "H W"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(classes).save(buffer, "PNG")
    return buffer.getvalue()
