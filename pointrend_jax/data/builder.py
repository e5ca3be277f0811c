"""Prepared record files: a TFDS builder of our own over a checked COCO-format set.

Every image is decoded once while the files are written (`records.py`). The prepared set is keyed by
the content of the annotation file and by the sizes and times of the image files.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from pointrend_jax.data.coco import CocoImage, CocoSet, print_skipped, read_coco
from pointrend_jax.data.images import decode_image
from pointrend_jax.data.records import SPLIT, checked, content_key, write_records

# Part of the key: raise it when the records change.
_FORMAT = 1


class PreparedSet(NamedTuple):
    """Random access to a prepared set; record i belongs to `dataset.images[i]`."""

    source: Sequence[Any]
    dataset: CocoSet


class CocoInstances(tfds.core.GeneratorBasedBuilder):
    """Encoded images with their objects; segmentations travel as JSON text."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, dataset: CocoSet, data_dir: Path) -> None:
        self._dataset = dataset
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        objects = {
            "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float64),
            "label": np.int64,
            "is_crowd": np.bool_,
            "segmentation": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "index": np.int64,
                    "objects": tfds.features.Sequence(objects),
                }
            ),
            # Record i is image i; shuffling is the pipeline's work.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
        images = self._dataset.images
        for index, encoded in checked(images, _checked_bytes):
            yield index, _record(index, images[index], encoded)


def prepare(annotations: Path, image_dir: Path, cache_dir: Path) -> PreparedSet:
    """The prepared set of an annotation file, made now if it is not there yet.

    Raises: ValueError for a wrong set (see `read_coco`) or a cache that cannot be written.
    """
    return prepare_set(read_coco(annotations, image_dir), annotations, cache_dir)


def prepare_set(dataset: CocoSet, annotations: Path, cache_dir: Path) -> PreparedSet:
    """As `prepare`, of the checked set of `annotations`."""
    print_skipped(dataset.skipped, annotations)
    source = write_records(
        lambda folder: CocoInstances(dataset, folder),
        _key(annotations, dataset),
        cache_dir,
        str(annotations),
        {"image": tfds.decode.SkipDecoding()},
    )
    return PreparedSet(source, dataset)


def _key(annotations: Path, dataset: CocoSet) -> str:
    files = (f"{image.file.fingerprint()}\n" for image in dataset.images)
    return content_key([annotations.read_bytes(), str(_FORMAT), *files])


def _checked_bytes(image: CocoImage) -> bytes | str:
    """The encoded image, or what is wrong with it."""
    try:
        encoded = image.file.read_bytes()
        height, width, _ = decode_image(encoded, str(image.file)).shape
    except ValueError as error:
        return str(error)
    if (height, width) != (image.height, image.width):
        return (
            f"{image.file} has {height} x {width} pixels (height x width, after the rotation that "
            f"its EXIF data may ask for), its annotation says {image.height} x {image.width}"
        )
    return encoded


def _record(index: int, image: CocoImage, encoded: bytes) -> dict[str, Any]:
    return {
        "image": encoded,
        "index": index,
        "objects": [
            {
                "bbox": np.asarray(o.box, np.float64),
                "label": o.label,
                "is_crowd": o.is_crowd,
                "segmentation": json.dumps(o.segmentation),
            }
            for o in image.objects
        ],
    }
