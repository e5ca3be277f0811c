"""Sets of objects as record files that need nothing beside them: features, examples, and reading.

An example is an encoded image with everything that its annotation file says about it, so a host
that has the record files needs neither images nor annotations. Equal for every COCO-format set.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32, Num

from pointrend_jax.data.images import decode_image, decode_map
from pointrend_jax.data.records.broken import must_read
from pointrend_jax.data.records.layout import (
    ImageFacts,
    RecordSet,
    Split,
    check_same_classes,
    check_same_pixels,
    image_feature,
    open_split,
    pixels_metadata,
    text,
)
from pointrend_jax.data.records.manifest import FORMAT
from pointrend_jax.data.records.write import CACHED, write_if_absent
from pointrend_jax.data.sources.coco import print_findings
from pointrend_jax.data.sources.folders import StoredFile
from pointrend_jax.data.sources.object_set import CocoImage, CocoSet, FoundObjects
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.storage import content_key
from pointrend_jax.structures import FEDERATED_LISTS

KIND = "instances"


class PreparedSet(NamedTuple):
    """Random access to a set of objects; `source[i]` is the record of `images[i]`.

    Attributes:
      class_names, category_ids: by class index; the ids are those of the annotation file.
      frequencies: "r", "c" or "f" of each class in a federated set (LVIS); () in others.
      has_instance_ids: whether records hold Cityscapes' instance id maps.
      most_points: labelled points that an object has, at most; 0 if none has any.
      without_points: objects that have no labelled point, crowd regions left out.
      lacks_masks: whether some object has no mask.
      pixels: what the images are decoded to.
    """

    source: Sequence[Any]
    images: tuple[ImageFacts, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    frequencies: tuple[str, ...]
    has_instance_ids: bool
    most_points: int
    without_points: int
    lacks_masks: bool
    pixels: PixelFormat = PHOTO


def prepare_objects(
    found: FoundObjects, cache_dir: Path, pixels: PixelFormat = PHOTO
) -> PreparedSet:
    """The prepared set, made now if it is not there yet.

    Args:
      pixels: what the images must have.
    Raises: ValueError if images are damaged, of other pixels or of other sizes than their
      annotations say, or if the cache cannot be written.
    """
    print_findings(found)
    dataset = found.dataset
    content = object_records("coco_instances", {CACHED: found}, pixels)
    # What the keys of the shards say, but for the objects, which the annotation file stands for:
    # millions of coordinates would take long to write out.
    images = (f"{_image_key(image, found.instance_files)}\n" for image in dataset.images)
    meaning = json.dumps([FORMAT, content.metadata])
    # What was changed in reading is not in the file, and another version may change other things.
    if dataset.skipped:
        meaning += json.dumps(dataset.skipped, sort_keys=True)
    key = content_key([meaning, found.annotations.read_bytes(), *images])
    return open_objects(write_if_absent(content, cache_dir / key), CACHED, pixels)


def object_records(
    name: str, splits: Mapping[str, FoundObjects], pixels: PixelFormat = PHOTO
) -> RecordSet:
    """What becomes a folder of record files, of checked sets with the same classes.

    Args:
      pixels: what the images must have.
    Raises: ValueError if the sets differ in their classes.
    """
    sets = {split: found.dataset for split, found in splits.items()}
    check_same_classes({s: (d.category_ids, d.class_names) for s, d in sets.items()})
    one = next(iter(sets.values()))
    return RecordSet(
        name=name,
        features=_features(pixels),
        metadata={
            "kind": KIND,
            "class_names": list(one.class_names),
            "category_ids": list(one.category_ids),
            "frequencies": list(one.frequencies),
            "has_instance_ids": any(found.instance_files for found in splits.values()),
        }
        | _supervision(sets)
        | pixels_metadata(pixels),
        splits={split: _split(found, pixels) for split, found in splits.items()},
    )


def open_objects(folder: Path, split: str, pixels: PixelFormat = PHOTO) -> PreparedSet:
    """A split of the record files in `folder`.

    Raises: ValueError if they are of another kind, or their images of other pixels.
    """
    source, images, metadata = open_split(folder, split, KIND)
    check_same_pixels(folder, metadata, pixels)
    own = metadata.get("supervision", {}).get(split, {})
    return PreparedSet(
        source=source,
        images=images,
        class_names=tuple(metadata["class_names"]),
        category_ids=tuple(metadata["category_ids"]),
        frequencies=tuple(metadata["frequencies"]),
        has_instance_ids=metadata["has_instance_ids"],
        most_points=own.get("most_points", 0),
        without_points=own.get("without_points", 0),
        lacks_masks=own.get("lacks_masks", False),
        pixels=pixels,
    )


def image_reader(prepared: PreparedSet) -> Callable[[int], Num[np.ndarray, "H W C"]]:
    """From an image id to the image at its original size."""
    content = _by_id(prepared, "image")
    return lambda image_id: decode_image(*content(image_id), prepared.pixels)


def instance_ids(prepared: PreparedSet) -> Callable[[int], Int32[np.ndarray, "H W"]]:
    """From an image id to its map of Cityscapes' label ids and instance ids."""
    content = _by_id(prepared, "instance_ids")
    return lambda image_id: np.asarray(decode_map(*content(image_id)), np.int32)


def _by_id(prepared: PreparedSet, field: str) -> Callable[[int], tuple[bytes, str]]:
    """From an image id to a field of its record, encoded, and the name of the image."""
    records = {image.id: record for record, image in enumerate(prepared.images)}

    def of_image(image_id: int) -> tuple[bytes, str]:
        record = records[image_id]
        return prepared.source[record][field], prepared.images[record].name

    return of_image


def ground_truth(prepared: PreparedSet) -> dict[str, Any]:
    """The COCO dictionary to evaluate against: the file's, less what was skipped.

    Reads every record. That of a federated set has LVIS's lists and frequencies too.
    """
    images, annotations = [], []
    for record, facts in enumerate(prepared.images):
        content = must_read(facts, partial(prepared.source.__getitem__, record))
        image: dict[str, Any] = {"id": facts.id, "file_name": facts.name}
        image |= {"height": facts.height, "width": facts.width}
        if prepared.frequencies:
            for name in FEDERATED_LISTS:
                image[name] = [int(i) for i in content[name]]
        images.append(image)
        annotations += _annotations(content["objects"], facts.id, prepared.category_ids)
    categories: list[dict[str, Any]] = [
        {"id": i, "name": name}
        for i, name in zip(prepared.category_ids, prepared.class_names, strict=True)
    ]
    for category, frequency in zip(categories, prepared.frequencies, strict=False):
        category["frequency"] = frequency
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _annotations(
    objects: Mapping[str, Any], image_id: int, category_ids: tuple[int, ...]
) -> list[dict[str, Any]]:
    found = []
    for i, annotation in enumerate(objects["annotation"]):
        exact = json.loads(text(annotation))
        entry = {"id": int(objects["id"][i]), "image_id": image_id}
        entry |= {"category_id": category_ids[int(objects["label"][i])]}
        entry |= {name: exact[name] for name in ("bbox", "area", "segmentation")}
        found.append(entry | {"iscrowd": int(objects["is_crowd"][i])})
    return found


def _supervision(sets: Mapping[str, CocoSet]) -> dict[str, Any]:
    """What the metadata say of each split's labelled points: nothing if no set has any."""
    found = {}
    for split, one in sets.items():
        objects = [o for image in one.images for o in image.objects]
        found[split] = {
            "most_points": max((len(o.points) for o in objects), default=0),
            "without_points": sum(not (o.points or o.is_crowd) for o in objects),
            "lacks_masks": not all(o.segmentation for o in objects),
        }
    return {"supervision": found} if any(own["most_points"] for own in found.values()) else {}


def _features(pixels: PixelFormat) -> tfds.features.FeaturesDict:
    objects = {
        "id": np.int64,
        # x, y, width, height; for other programs, as records round numbers to 32 bits.
        "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        # 0..K-1; no ClassLabel, as names of a file need not be unique.
        "label": np.int64,
        "is_crowd": np.bool_,
        # JSON, exact: "bbox" and "area" as the file has them, "box" (xyxy, inside the image),
        # "segmentation" (polygons or compressed RLE), and [x, y, label] of labelled "points" where
        # an object has some.
        "annotation": tfds.features.Text(),
    }
    return tfds.features.FeaturesDict(
        {
            "image": image_feature(pixels),
            "image_id": np.int64,
            "file_name": tfds.features.Text(),
            "height": np.int64,
            "width": np.int64,
            "objects": tfds.features.Sequence(objects),
            **{name: tfds.features.Sequence(np.int64) for name in FEDERATED_LISTS},
            # Bytes and no Image, which cannot be absent.
            "instance_ids": tfds.features.Text(),
        }
    )


def _split(found: FoundObjects, pixels: PixelFormat) -> Split:
    images, instance_files = found.dataset.images, found.instance_files

    def key(index: int) -> str:
        return f"{_image_key(images[index], instance_files)} {images[index].objects}"

    def check(index: int) -> dict[str, Any] | str:
        image = images[index]
        try:
            ids = instance_files(image.id).read_bytes() if instance_files else b""
            return _example(image, _encoded(image, pixels), ids)
        except ValueError as error:
            return str(error)

    return Split(tuple(_facts(image) for image in images), key, check)


def _image_key(image: CocoImage, instance_files: Callable[[int], StoredFile] | None) -> str:
    ids = instance_files(image.id).fingerprint() if instance_files else ""
    lists = [getattr(image, name) for name in FEDERATED_LISTS]
    return f"{image.id} {image.file.fingerprint()} {image.height} {image.width} {lists} {ids}"


def _facts(image: CocoImage) -> ImageFacts:
    labels = tuple(o.label for o in image.objects if not o.is_crowd)
    return ImageFacts(image.id, image.file.name, image.height, image.width, labels)


def _encoded(image: CocoImage, pixels: PixelFormat) -> bytes:
    """Raises ValueError if the image is damaged, of other pixels or of another size than said."""
    encoded = image.file.read_bytes()
    height, width, _ = decode_image(encoded, str(image.file), pixels).shape
    if (height, width) != (image.height, image.width):
        raise ValueError(
            f"{image.file} has {height} x {width} pixels (height x width, after the rotation that "
            f"its EXIF data may ask for), its annotation says {image.height} x {image.width}"
        )
    return encoded


def _example(image: CocoImage, encoded: bytes, ids: bytes) -> dict[str, Any]:
    return {
        "image": encoded,
        "image_id": image.id,
        "file_name": image.file.name,
        "height": image.height,
        "width": image.width,
        "objects": [
            {
                "id": o.id,
                "bbox": np.asarray(o.bbox, np.float32),
                "label": o.label,
                "is_crowd": o.is_crowd,
                "annotation": json.dumps(
                    {"bbox": o.bbox, "area": o.area, "box": o.box, "segmentation": o.segmentation}
                    | ({"points": o.points} if o.points else {})
                ),
            }
            for o in image.objects
        ],
        "instance_ids": ids,
    } | {name: list(getattr(image, name)) for name in FEDERATED_LISTS}
