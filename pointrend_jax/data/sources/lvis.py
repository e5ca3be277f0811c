"""An LVIS annotation file, v0.5 or v1, over COCO's image folders.

LVIS is federated: an image is annotated for some of the categories only. Besides its objects it
lists categories known to be absent (negative), and those of which not every object is annotated
(not exhaustive); scoring needs both. A category is rare, common or frequent by the number of
training images that have it. Images without an annotation stay, as everywhere.

Source: Gupta et al., "LVIS" (2019); Detectron2 data/datasets/lvis.py for where the images lie.
"""

from functools import partial
from pathlib import Path
from typing import Any

from pointrend_jax.coco_file import check_federated, check_ids, load_coco_file
from pointrend_jax.data.sources.coco import check_coco, image_in_folder
from pointrend_jax.data.sources.object_set import CocoSet
from pointrend_jax.structures import FEDERATED_LISTS

# COCO 2014's names, as v0.5 has them: COCO_val2014_000000001268.jpg
_OLD_PREFIX, _NAME_LENGTH = "COCO_", len("000000001268.jpg")


def read_lvis(annotation_file: Path, root: Path, folder: str) -> CocoSet:
    """Reads and validates a set; every image file must exist, none is opened.

    Args:
      root: holds COCO's image folders (train2017, val2017).
      folder: of `root`, for images without "coco_url"; those that have one are looked for in the
        folder that it names, as the evaluation images of v1 lie in both.
    Raises: ValueError as `read_coco` and `load_lvis`.
    """
    return lvis_set(load_lvis(annotation_file, folder), annotation_file, root)


def load_lvis(annotation_file: Path, folder: str) -> dict[str, Any]:
    """The dictionary of an LVIS file, checked but for its image files and its objects' shapes.

    Every image has a "file_name" below the root of COCO's image folders.
    Raises: ValueError if the file is not LVIS; if ids repeat or point nowhere, in annotations or in
      the lists of an image; if a category that an image has is listed as absent from it.
    """
    data = load_coco_file(annotation_file)
    images = [image | {"file_name": _file_name(image, folder)} for image in data["images"]]
    # LVIS knows no crowd regions, and its scores do not look at the flag.
    annotations = [annotation | {"iscrowd": 0} for annotation in data["annotations"]]
    data = data | {"images": images, "annotations": annotations}
    check_ids(data, annotation_file)
    check_federated(data, annotation_file)
    return data


def lvis_set(data: dict[str, Any], annotation_file: Path, root: Path) -> CocoSet:
    """The set of a dictionary from `load_lvis`; raises as `read_coco`."""
    dataset = check_coco(data, annotation_file, partial(image_in_folder, Path(root)))
    entries = {image["id"]: image for image in data["images"]}
    images = (
        image._replace(**{name: tuple(entries[image.id][name]) for name in FEDERATED_LISTS})
        for image in dataset.images
    )
    frequencies = {category["id"]: category["frequency"] for category in data["categories"]}
    return dataset._replace(
        images=tuple(images), frequencies=tuple(frequencies[i] for i in dataset.category_ids)
    )


def _file_name(image: dict[str, Any], folder: str) -> str | None:
    """The path below the image folders; None, which `check_coco` reports, if the image has none."""
    url, name = image.get("coco_url"), image.get("file_name")
    if isinstance(url, str):
        parts = url.split("/")[-2:]
        known = len(parts) == 2 and all(part not in ("", ".", "..") for part in parts)
        return "/".join(parts) if known else None
    if not isinstance(name, str):
        return None
    return f"{folder}/{name[-_NAME_LENGTH:] if name.startswith(_OLD_PREFIX) else name}"
