"""What a set of record files is made of, where it lies, and whether it is complete.

    FOLDER/<name>-<split>.array_record-00003-of-00231   examples, in order
    FOLDER/index-<split>.json                           size and classes of every image
    FOLDER/manifest.json                                number, size and checksum of every file
    FOLDER/features.json, metadata.json, dataset_info.json

`tfds.builder_from_directory` opens the folder. `write.py` writes it; `dataset_info.json`
comes last: without it the set is not complete. What opens a set compares the checksums of all files
but the shards, of which it compares the sizes: the reader checks every record that it reads.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from pointrend_jax.data.records.manifest import MANIFEST, Manifest, parse_manifest
from pointrend_jax.messages import first
from pointrend_jax.pixel_format import PixelFormat
from pointrend_jax.storage import AnyPath, content_key, sha256

VERSION = "1.0.0"
COMPLETE = "dataset_info.json"
# TFDS describes the records in these files beside it.
_DESCRIPTIONS = ("features.json", "metadata.json")
_FEATURES = "tensorflow_datasets.core.features."


class ImageFacts(NamedTuple):
    """What is known of an image without reading its record.

    Attributes:
      id: of the annotation file, or the position in the set.
      name: what people call the image.
      height, width: pixels of the original image.
      labels: class of each object that is no crowd region; () for label maps.
    """

    id: int
    name: str
    height: int
    width: int
    labels: tuple[int, ...]


class Split(NamedTuple):
    """What becomes one split of a set.

    Attributes:
      facts: of every image, in the order of the records.
      key: of image i, a text that changes with anything that its record is made of.
      check: of image i, its example, or in words what is wrong with it.
    """

    facts: Sequence[ImageFacts]
    key: Callable[[int], str]
    check: Callable[[int], dict[str, Any] | str]


class RecordSet(NamedTuple):
    """What becomes one folder of record files.

    Attributes:
      name: of the TFDS data set.
      features: of an example.
      metadata: fit for JSON; what the numbers of the examples mean.
    """

    name: str
    features: tfds.features.FeaturesDict
    metadata: dict[str, Any]
    splits: dict[str, Split]


class OpenedSplit(NamedTuple):
    """A split of a complete set: `source[i]` is the example of `images[i]`, its image as bytes.

    Attributes:
      metadata: as `RecordSet.metadata`.
    """

    source: Sequence[Any]
    images: tuple[ImageFacts, ...]
    metadata: dict[str, Any]


def is_complete(folder: AnyPath) -> bool:
    """Whether `folder` holds a whole set."""
    return (folder / COMPLETE).exists()


def read_manifest(folder: AnyPath) -> Manifest:
    """What the set in `folder` says of its files.

    Raises: ValueError if it is not complete, or its manifest damaged or of another format.
    """
    if not is_complete(folder):
        raise ValueError(
            f"{folder} holds no complete set; give the folder with {COMPLETE} that `prepare` "
            "wrote, or run it again: it goes on where it stopped."
        )
    try:
        return parse_manifest(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{folder / MANIFEST} cannot be used ({error}); restore it, or prepare the set again."
        ) from error


def check_same_classes(classes: Mapping[str, Any]) -> None:
    """Raises ValueError unless all splits have what the first has. Args: classes, by split."""
    (first_split, expected), *others = classes.items()
    for split, found in others:
        if found != expected:
            raise ValueError(
                f"the splits must have the same classes, {first_split} has {expected}, {split} has "
                f"{found}."
            )


def image_feature(pixels: PixelFormat) -> tfds.features.FeatureConnector:
    """Of the encoded image of an example: of photos one that other programs decode too."""
    if pixels.is_photo:
        return tfds.features.Image(shape=(None, None, 3))
    return tfds.features.Text()


def pixels_metadata(pixels: PixelFormat) -> dict[str, Any]:
    """What the metadata say of the pixels: nothing of photos."""
    if pixels.is_photo:
        return {}
    return {"pixels": {"channels": pixels.channels, "dtype": pixels.dtype}}


def check_same_pixels(folder: Path, metadata: Mapping[str, Any], pixels: PixelFormat) -> None:
    """Raises ValueError unless the records have the pixels that the config says."""
    found = metadata.get("pixels") or {"channels": 3, "dtype": "uint8"}
    if (found["channels"], found["dtype"]) != (pixels.channels, pixels.dtype):
        raise ValueError(
            f"{folder} has images of {found['channels']} channels of {found['dtype']}, but "
            f"config.data.channels is {pixels.channels} and config.data.dtype {pixels.dtype!r}; "
            "set them to those."
        )


def facts_digest(images: Sequence[ImageFacts]) -> str:
    """Another text when the images of a set, their sizes or the classes on them are others."""
    return content_key(f"{image}\n" for image in images)


def open_split(folder: Path, split: str, kind: str) -> OpenedSplit:
    """A split of the complete set in a folder of this machine.

    Args:
      kind: of what the set must be, in words: `metadata["kind"]`.
    Raises: ValueError if the set or the split is not there, not whole, of another format or kind.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest, f"index-{split}.json")
    builder = _open_builder(folder)
    if split not in builder.info.splits:
        known = ", ".join(repr(str(name)) for name in builder.info.splits)
        raise ValueError(f"{folder} has no split {split!r}; it has {known}.")
    if not {note.file for note in manifest.shards} >= set(builder.info.splits[split].filenames):
        raise ValueError(
            f"{folder / COMPLETE} names other record files than {MANIFEST}; prepare the set again."
        )
    images = _read_index(folder / f"index-{split}.json")
    images_as_bytes = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    source = builder.as_data_source(split=split, decoders=images_as_bytes)
    if len(source) != len(images):
        raise ValueError(
            f"{folder} has {len(source)} records of {split!r} and {len(images)} images in the "
            "index; prepare the set again."
        )
    metadata = dict(builder.info.metadata or {})
    if metadata.get("kind") != kind:
        raise ValueError(
            f"{folder} must hold {kind}, as config.task says, got {metadata.get('kind')!r}; give "
            "another config.data.dir, or prepare the set for this task."
        )
    return OpenedSplit(source, images, metadata)


def _check_files(folder: Path, manifest: Manifest, index: str) -> None:
    files = manifest.all_files()
    wrong = [
        name
        for name, note in files.items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != note.bytes
    ]
    if wrong:
        raise ValueError(
            f"{len(wrong)} files of {folder} are missing or cut short: {first(wrong)}; restore "
            "them, or remove the folder and let it be made again."
        )
    damaged = [n for n, note in manifest.files.items() if sha256(folder / n) != note.sha256]
    if damaged:
        raise ValueError(
            f"{len(damaged)} files of {folder} have another checksum than was written: "
            f"{first(damaged)}; restore them, or remove the folder and let it be made again."
        )
    # Another message tells of a split that is not there.
    unknown = [n for n in _DESCRIPTIONS if n not in files]
    if unknown or ((folder / index).exists() and index not in files):
        raise ValueError(
            f"{folder / MANIFEST} vouches for no {first([*unknown, index])}; prepare the set again."
        )


def _open_builder(folder: Path) -> Any:
    """TFDS's view of a folder. Raises ValueError if its descriptions are none."""
    try:
        # TFDS imports the module of every feature that it does not know.
        _check_features(json.loads((folder / "features.json").read_text()))
        return tfds.builder_from_directory(str(folder))
    # What TFDS and the parser of its descriptions raise for contents of any kind.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ParseError) as error:
        raise ValueError(
            f"the descriptions in {folder} cannot be read ({error}); prepare the set again."
        ) from error


def _check_features(content: Any) -> None:
    """Raises ValueError for a class that is none of TFDS's own."""
    if isinstance(content, dict):
        name = content.get("pythonClassName", _FEATURES)
        if not isinstance(name, str) or not name.startswith(_FEATURES):
            raise ValueError(f"features.json names the class {ascii(name)[:80]}")
    for child in content.values() if isinstance(content, dict) else ():
        _check_features(child)


def _read_index(file: Path) -> tuple[ImageFacts, ...]:
    try:
        columns = json.loads(file.read_text())
        rows = zip(*(columns[name] for name in ImageFacts._fields), strict=True)
        return tuple(ImageFacts(i, name, h, w, tuple(k)) for i, name, h, w, k in rows)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}); prepare the set again.") from error


def text(value: Any) -> str:
    """A Text feature as it comes out of a record."""
    return value.decode() if isinstance(value, bytes) else str(value)
