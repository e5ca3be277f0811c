"""Cityscapes' fine annotations, from the official folders or the official zip files.

    leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png    leftImg8bit_trainvaltest.zip
    gtFine/<split>/<city>/<frame>_gtFine_labelIds.png     gtFine_trainvaltest.zip
    gtFine/<split>/<city>/<frame>_gtFine_instanceIds.png

A frame is called <city>_<sequence>_<number>. A folder is taken where it exists, else the zip file.
Splits are train and val; the labels of test are not public. Objects: `cityscapes_instances.py`.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.cityscapes_labels import CLASSES, EVALUATED, INSTANCES, LABEL_IDS
from pointrend_jax.data.images import encoded_hw
from pointrend_jax.data.sources.folders import Files, StoredFile, folder_files, zip_files
from pointrend_jax.data.sources.label_set import SemanticImage, SemanticSet
from pointrend_jax.messages import first
from pointrend_jax.structures import IGNORE_LABEL

_SPLITS = ("train", "val")
_IMAGES, _ANNOTATIONS = "leftImg8bit", "gtFine"
_IMAGE_END = "_leftImg8bit.png"
_LABELS_END = "_gtFine_labelIds.png"
_INSTANCES_END = "_gtFine_instanceIds.png"
_TRAIN_IDS_END = "_gtFine_labelTrainIds.png"


class Frame(NamedTuple):
    """An image with what is known of it.

    Attributes:
      name: <city>_<sequence>_<number>; unique.
      path: of the image, from the top of the data set.
    """

    name: str
    path: str
    image: StoredFile
    labels: StoredFile
    instance_ids: StoredFile


def read_cityscapes(root: Path, split: str) -> SemanticSet:
    """The 19 evaluated classes by train id; all else is `IGNORE_LABEL`.

    Args:
      root: has the folders or zip files above.
      split: "train" or "val".
    Raises: ValueError as `find_frames`, or for a label image that cannot be opened.
    """
    label_values = dict.fromkeys(LABEL_IDS, IGNORE_LABEL)
    label_values |= {label: k for k, label in enumerate(EVALUATED)}
    images = tuple(_image(frame) for frame in find_frames(root, split))
    instance_classes = tuple(label_values[label] for label in INSTANCES)
    return SemanticSet(images, CLASSES, label_values, instance_classes)


def find_frames(root: Path, split: str) -> tuple[Frame, ...]:
    """All frames of a split, by name; no file of them is opened.

    Raises: ValueError for an unknown split, missing or damaged folders and zip files, images beside
      the folders of their cities, and images without annotations or the other way round.
    """
    if split not in _SPLITS:
        raise ValueError(f"The split of Cityscapes must be 'train' or 'val', got {split!r}.")
    images = _by_stem(_files(root, _IMAGES, split), _IMAGE_END)
    if not images:
        raise ValueError(
            f"{root} has no images {_IMAGES}/{split}/CITY/*{_IMAGE_END}; complete the folder or "
            "the zip file."
        )
    _check_names(images, split)
    annotations = _files(root, _ANNOTATIONS, split)
    labels = _annotations_of(images, annotations, _LABELS_END)
    instance_ids = _annotations_of(images, annotations, _INSTANCES_END)
    frames = [
        Frame(
            stem.rsplit("/", 1)[-1],
            f"{_IMAGES}/{stem}{_IMAGE_END}",
            images[stem],
            labels[stem],
            instance_ids[stem],
        )
        for stem in images
    ]
    return tuple(sorted(frames))


def _files(root: Path, folder: str, split: str) -> Files:
    """The files of a split by path from the top of the data set."""
    archive = root / f"{folder}_trainvaltest.zip"
    if (root / folder).is_dir():
        return folder_files(root, f"{folder}/{split}")
    if archive.is_file():
        start = f"{folder}/{split}/"
        return {name: f for name, f in zip_files(archive).items() if name.startswith(start)}
    raise ValueError(
        f"config.data.dir {root} must have the folder {folder} or the zip file {archive.name}; it "
        "has neither. Set --config.data.dir to the folder they lie in."
    )


def _by_stem(files: Files, end: str) -> Files:
    """Files of one kind by split/city/frame; hidden ones, such as those of macOS, are left out."""
    return {
        path.split("/", 1)[1].removesuffix(end): file
        for path, file in files.items()
        if path.endswith(end) and not file.name.startswith(".")
    }


def _check_names(images: Files, split: str) -> None:
    wrong = [str(file) for stem, file in images.items() if stem.count("/") != 2]
    if wrong:
        raise ValueError(
            f"Images must lie in the folder of their city, {_IMAGES}/{split}/CITY; {len(wrong)} do "
            f"not: {first(wrong)}."
        )
    counts = Counter(stem.rsplit("/", 1)[-1] for stem in images)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"Frames must be in one city only; in several: {first(repeated)}.")


def _annotations_of(images: Files, files: Files, end: str) -> Files:
    """The files that end in `end`, one for each image."""
    found = _by_stem(files, end)
    missing = [f"{stem}{end}" for stem in images if stem not in found]
    if missing:
        advice = "complete them from the official zip file"
        if _by_stem(files, _TRAIN_IDS_END):
            advice += f"; train ids (*{_TRAIN_IDS_END}) cannot stand in for them"
        raise ValueError(
            f"{len(missing)} of {len(images)} images have no file *{end} in {_ANNOTATIONS}: "
            f"{first(missing)}; {advice}."
        )
    lonely = [str(file) for stem, file in found.items() if stem not in images]
    if lonely:
        raise ValueError(
            f"{len(lonely)} of {len(found)} files *{end} have no image in {_IMAGES}: "
            f"{first(lonely)}; complete the images or remove them."
        )
    return found


def _image(frame: Frame) -> SemanticImage:
    height, width = encoded_hw(frame.labels.read_bytes(), str(frame.labels))
    return SemanticImage(frame.name, frame.image, frame.labels, frame.instance_ids, height, width)
