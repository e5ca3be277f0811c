"""A COCO-format annotation file and its image folder, read and validated before any long work.

What makes the file unusable is a ValueError here (not COCO, duplicate or unknown ids, missing or
damaged images, no usable annotation); what makes one annotation unusable is counted and reported
(`annotations.py`). Images are only looked for here; preparing the set decodes each once.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pointrend_jax.console import tell
from pointrend_jax.data.images import MAX_PIXELS
from pointrend_jax.data.sources.annotations import CocoObject, parse_annotation
from pointrend_jax.data.sources.findings import crowd_remarks, name_remarks
from pointrend_jax.data.sources.folders import StoredFile, find_below, first, is_text
from pointrend_jax.data.sources.object_set import CocoImage, CocoSet, FoundObjects
from pointrend_jax.masks.polygons import outline_box

# Objects that are written as shares of an image's side may reach out of it, up to this share.
_LARGEST_SHARE = 1.5


def read_coco(
    annotation_file: Path, image_dir: Path, *, may_lack_annotations: bool = False
) -> CocoSet:
    """Reads and validates a set; every image file must exist, none is opened.

    Args:
      may_lack_annotations: the file need not have any, as those of test sets.
    Raises: ValueError if the file is missing or not COCO, if ids repeat or point nowhere, if image
      files are missing or listed twice, if coordinates are no pixels, or if no annotation is
      usable.
    """
    data = load_coco_json(annotation_file, may_lack_annotations=may_lack_annotations)
    return check_coco(
        data,
        annotation_file,
        partial(image_in_folder, Path(image_dir)),
        may_lack_annotations=may_lack_annotations,
    )


def check_coco(
    data: dict[str, Any],
    annotation_file: Path,
    find_image: Callable[[str], StoredFile],
    *,
    may_lack_annotations: bool = False,
) -> CocoSet:
    """The set of a dictionary that has COCO's three lists of objects; raises as `read_coco`.

    Args:
      annotation_file: what errors call the dictionary.
      find_image: from an image's "file_name" to its file, which must exist.
    """
    images, category_names = check_ids(data, annotation_file)
    category_ids = tuple(sorted(category_names))
    files = _image_files(images, find_image)
    report: Counter = Counter()
    labels = {category_id: k for k, category_id in enumerate(category_ids)}
    objects: dict[int, list[CocoObject]] = {image_id: [] for image_id in images}
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        hw = (image["height"], image["width"])
        parsed = parse_annotation(annotation, hw, labels[annotation["category_id"]], report)
        if parsed is not None:
            objects[image["id"]].append(parsed)
    unlabelled = may_lack_annotations and not data["annotations"]
    if not unlabelled and all(o.is_crowd for found in objects.values() for o in found):
        raise ValueError(
            f"{annotation_file} must have at least one usable annotation that is no crowd region; "
            f"it has {len(data['annotations'])} annotations. {_format(report)}".rstrip()
        )
    _check_pixels(images, objects, annotation_file)
    checked = tuple(
        CocoImage(i, files[i], images[i]["height"], images[i]["width"], tuple(objects[i]))
        for i in sorted(images)
    )
    names = tuple(category_names[i] for i in category_ids)
    remarks = (*crowd_remarks(objects.values()), *name_remarks(category_names))
    return CocoSet(checked, category_ids, names, dict(report), remarks=remarks)


def check_ids(
    data: dict[str, Any], annotation_file: Path
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The images and the category names of a dictionary by id.

    Raises: ValueError if an image or a category is none, or ids repeat or point nowhere.
    """
    images, category_names = _images_by_id(data, annotation_file), _categories(data)
    _check_references(data["annotations"], images, category_names, annotation_file)
    return images, category_names


def load_coco_json(annotation_file: Path, *, may_lack_annotations: bool = False) -> dict[str, Any]:
    """The parsed file; raises ValueError unless it is JSON with COCO's three lists of objects."""
    try:
        data = json.loads(Path(annotation_file).read_bytes())
    except OSError as error:
        raise ValueError(
            f"The annotation file {annotation_file} cannot be read ({error.strerror}); check "
            "config.data.dir and the annotation path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{annotation_file} is not valid JSON ({error}).") from error
    if may_lack_annotations and isinstance(data, dict):
        data.setdefault("annotations", [])
    for key in ("images", "categories", "annotations"):
        entries = data.get(key) if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ValueError(
                f"{annotation_file} is not in COCO format: it must be an object with the lists "
                f'"images", "annotations" and "categories"; "{key}" is missing or no such list.'
            )
    for key in ("images", "categories"):
        if not data[key]:
            raise ValueError(f'{annotation_file} must have at least one entry in "{key}".')
    return data


def image_in_folder(image_dir: Path, file_name: str) -> StoredFile:
    """Raises: ValueError if there is no such folder; the file itself is not looked for."""
    if not image_dir.is_dir():
        raise ValueError(f"The image folder {image_dir} does not exist; check config.data.dir.")
    return find_below(image_dir, file_name)


def print_findings(found: FoundObjects) -> None:
    """Prints the counted skips and the remarks of a set; nothing if there are none."""
    for finding in (_format(found.dataset.skipped), *found.dataset.remarks):
        if finding:
            tell(f"{found.annotations}: {finding}")


def _format(skipped: Mapping[str, int]) -> str:
    if not skipped:
        return ""
    lines = [f"  {count:>6} {reason}" for reason, count in sorted(skipped.items())]
    return "annotations that were skipped or changed:\n" + "\n".join(lines)


def _images_by_id(data: dict[str, Any], annotation_file: Path) -> dict[int, dict[str, Any]]:
    for image in data["images"]:
        sides = (image.get("height"), image.get("width"))
        if (
            not _is_id(image.get("id"))
            or not isinstance(image.get("file_name"), str)
            or not all(_is_id(side) and side > 0 for side in sides)
            or image["height"] * image["width"] > MAX_PIXELS
        ):
            raise ValueError(
                f'{annotation_file}: every image must have an integer "id" of at most 64 bits, a '
                '"file_name" and a positive integer "height" and "width", of at most '
                f"{MAX_PIXELS} pixels in all, got {str(image)[:200]}."
            )
    _check_unique((i["id"] for i in data["images"]), f"image ids of {annotation_file}")
    return {image["id"]: image for image in data["images"]}


def _categories(data: dict[str, Any]) -> dict[int, str]:
    for category in data["categories"]:
        if not _is_id(category.get("id")) or not is_text(category.get("name")):
            raise ValueError(
                'Every category must have an integer "id" of at most 64 bits and a "name", got '
                f"{str(category)[:200]}."
            )
    _check_unique((c["id"] for c in data["categories"]), "category ids")
    return {c["id"]: c["name"] for c in data["categories"]}


def _check_references(
    annotations: list[dict[str, Any]],
    images: dict[int, dict[str, Any]],
    categories: dict[int, str],
    annotation_file: Path,
) -> None:
    missing_id = [a for a in annotations if not _is_id(a.get("id"))]
    if missing_id:
        raise ValueError(
            f'{annotation_file}: every annotation must have an integer "id" of at most 64 bits; '
            f"number them 1, 2, 3, ..., got {str(missing_id[0])[:200]}."
        )
    _check_unique((a["id"] for a in annotations), f"annotation ids of {annotation_file}")
    for key, known in (("image_id", images), ("category_id", categories)):
        # A list or an object as id must reach the message, and cannot be looked up.
        wrong = [a for a in annotations if not _is_id(a.get(key))]
        if wrong:
            listed = first([f"annotation {a['id']}: {str(a.get(key))[:50]!r}" for a in wrong])
            kinds = ", ".join(sorted({type(a.get(key)).__name__ for a in wrong}))
            raise ValueError(
                f"{annotation_file}: {len(wrong)} annotation(s) have an unknown {key}, which must "
                f"be an integer of at most 64 bits ({listed}; of type {kinds}); correct them."
            )
        unknown = [a for a in annotations if a[key] not in known]
        if unknown:
            listed = first([f"annotation {a['id']}: {a[key]}" for a in unknown])
            raise ValueError(
                f"{annotation_file}: {len(unknown)} annotation(s) have an unknown {key} ({listed});"
                " correct or remove them."
            )


def _check_unique(ids: Iterable[int], what: str) -> None:
    repeated = sorted(i for i, count in Counter(ids).items() if count > 1)
    if repeated:
        raise ValueError(
            f"The {what} must be unique; repeated: {first([str(i) for i in repeated])}."
        )


def _image_files(
    images: dict[int, dict[str, Any]], find_image: Callable[[str], StoredFile]
) -> dict[int, StoredFile]:
    files = {i: find_image(image["file_name"]) for i, image in images.items()}
    missing = [str(file) for file in files.values() if not file.exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(files)} image files are missing: {first(missing)}; complete "
            "the folder or remove them from the annotation file."
        )
    _check_one_id_each(files)
    return files


def _check_one_id_each(files: dict[int, StoredFile]) -> None:
    """One image under two ids would be two images that each miss the objects of the other."""
    ids: dict[StoredFile, list[int]] = {}
    for image_id, file in files.items():
        # Links too lead to one file. Its text for messages leaves out parts of long names.
        real = file._replace(path=Path(os.path.realpath(file.path)))
        ids.setdefault(real, []).append(image_id)
    repeated = [f"{file} ({', '.join(map(str, i))})" for file, i in ids.items() if len(i) > 1]
    if repeated:
        raise ValueError(
            f"An image file must be listed under one id; {len(repeated)} have several: "
            f"{first(repeated)}. Give the annotations one of them, and remove the other entries."
        )


def _check_pixels(
    images: dict[int, dict[str, Any]],
    objects: dict[int, list[CocoObject]],
    annotation_file: Path,
) -> None:
    """Raises ValueError if all coordinates are shares of the image instead of pixels."""
    found = [o.segmentation for of_image in objects.values() for o in of_image]
    if all(isinstance(s, list) and max(outline_box(s)) <= _LARGEST_SHARE for s in found) and any(
        max(images[i]["height"], images[i]["width"]) > _LARGEST_SHARE
        for i, o in objects.items()
        if o
    ):
        raise ValueError(
            f"{annotation_file}: coordinates must be pixels, but those of all {len(found)} objects "
            f"are between 0 and {_LARGEST_SHARE}; multiply x by the width and y by the height of "
            "the image."
        )


def _is_id(value: Any) -> bool:
    # Record files and most other programs have 64 bits for it.
    return type(value) is int and -(2**63) <= value < 2**63
