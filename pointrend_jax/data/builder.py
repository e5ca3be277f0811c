"""Prepared record files: a TFDS builder of our own over a checked COCO-format set.

Every image is decoded once while the files are written, so a damaged one stops the preparation and
not the training. The prepared set is keyed by the content of the annotation file and by the sizes
and times of the image files; TFDS writes it under a temporary name and renames it, so an
interrupted preparation leaves nothing half-made.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from pointrend_jax.data.coco import CocoImage, CocoSet, print_skipped, read_coco
from pointrend_jax.data.images import decode_image

# Part of the key: raise it when the records change.
_FORMAT = 1
_SPLIT = "images"
# Images decoded ahead of the writer: all at once, a large set would pile up in memory.
_AHEAD = 64
# An error lists this many images.
_LISTED = 20


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
        return {_SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
        images = self._dataset.images
        problems: list[str] = []
        checked = tqdm(
            _checked(images), total=len(images), desc="preparing images", leave=False, disable=None
        )
        for index, result in enumerate(checked):
            if isinstance(result, str):
                problems.append(result)
            elif not problems:
                yield index, _record(index, images[index], result)
        if problems:
            more = len(problems) - _LISTED
            listed = problems[:_LISTED] + ([f"and {more} more"] if more > 0 else [])
            raise ValueError(
                f"{len(problems)} of {len(images)} images cannot be used:\n  " + "\n  ".join(listed)
            )


def prepare(annotations: Path, image_dir: Path, cache_dir: Path) -> PreparedSet:
    """The prepared set of an annotation file, made now if it is not there yet.

    Raises: ValueError for a wrong set (see `read_coco`) or a cache that cannot be written.
    """
    dataset = read_coco(annotations, image_dir)
    print_skipped(dataset.skipped, annotations)
    key = _key(annotations, dataset)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        # Any: pyright sees the methods of TFDS through decorators that hide their parameters.
        builder: Any = CocoInstances(dataset, cache_dir / key)
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    # The writer of the records reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The record files of {annotations} cannot be written to {cache_dir} ({error}); free "
            "some space or set config.data.cache_dir."
        ) from error
    source = builder.as_data_source(split=_SPLIT, decoders={"image": tfds.decode.SkipDecoding()})
    return PreparedSet(source, dataset)


def default_cache_dir() -> Path:
    """$POINTREND_JAX_CACHE, or .cache/pointrend_jax of the home directory."""
    chosen = os.environ.get("POINTREND_JAX_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "pointrend_jax"


def _key(annotations: Path, dataset: CocoSet) -> str:
    digest = hashlib.sha256(annotations.read_bytes())
    digest.update(str(_FORMAT).encode())
    for image in dataset.images:
        stat = image.path.stat()
        digest.update(f"{image.path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _checked(images: Sequence[CocoImage]) -> Iterator[bytes | str]:
    with ThreadPoolExecutor(2) as pool:
        for first in range(0, len(images), _AHEAD):
            yield from pool.map(_checked_bytes, images[first : first + _AHEAD])


def _checked_bytes(image: CocoImage) -> bytes | str:
    """The encoded image, or what is wrong with it."""
    try:
        encoded = image.path.read_bytes()
        height, width, _ = decode_image(encoded, str(image.path)).shape
    except (ValueError, OSError) as error:
        return str(error)
    if (height, width) != (image.height, image.width):
        return (
            f"{image.path} has {height} x {width} pixels (height x width, after the rotation that "
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
