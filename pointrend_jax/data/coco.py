"""A COCO-format annotation file and its image folder, read and validated before any long work.

What makes the file unusable is a ValueError here (not COCO, duplicate or unknown ids, missing or
damaged images, no usable annotation); what makes one annotation unusable is counted and reported
(`annotations.py`). Images are only looked for here; preparing the set decodes each once.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pointrend_jax.console import tell
from pointrend_jax.data.annotations import CocoObject, parse_annotation
from pointrend_jax.data.folders import StoredFile, first
from pointrend_jax.data.images import MAX_PIXELS


class CocoImage(NamedTuple):
    """An image with its objects, crowd regions included; sizes in pixels.

    Attributes:
      neg_category_ids, not_exhaustive_category_ids: of a federated set (`lvis.py`): the categories
        known to be absent, and those of which not every object is annotated.
    """

    id: int
    file: StoredFile
    height: int
    width: int
    objects: tuple[CocoObject, ...]
    neg_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()


class CocoSet(NamedTuple):
    """A validated set.

    Attributes:
      images: by ascending id.
      category_ids: of the file, ascending; class k is `category_ids[k]`.
      class_names: in the same order.
      skipped: how many annotations were skipped or changed, by reason.
      frequencies: of a federated set, by class: "r"are, "c"ommon or "f"requent; else empty.
    """

    images: tuple[CocoImage, ...]
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    skipped: dict[str, int]
    frequencies: tuple[str, ...] = ()


def read_coco(annotation_file: Path, image_dir: Path) -> CocoSet:
    """Reads and validates a set; every image file must exist, none is opened.

    Raises: ValueError if the file is missing or not COCO, if ids repeat or point nowhere, if image
      files are missing, or if no annotation is usable.
    """
    data = load_coco_json(annotation_file)
    return check_coco(data, annotation_file, partial(image_in_folder, Path(image_dir)))


def check_coco(
    data: dict[str, Any], annotation_file: Path, find_image: Callable[[str], StoredFile]
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
    if all(o.is_crowd for found in objects.values() for o in found):
        raise ValueError(
            f"{annotation_file} must have at least one usable annotation that is no crowd region; "
            f"it has {len(data['annotations'])} annotations. {_format(report)}".rstrip()
        )
    checked = tuple(
        CocoImage(i, files[i], images[i]["height"], images[i]["width"], tuple(objects[i]))
        for i in sorted(images)
    )
    names = tuple(category_names[i] for i in category_ids)
    return CocoSet(checked, category_ids, names, dict(report))


def check_ids(
    data: dict[str, Any], annotation_file: Path
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The images and the category names of a dictionary by id.

    Raises: ValueError if an image or a category is none, or ids repeat or point nowhere.
    """
    images, category_names = _images_by_id(data, annotation_file), _categories(data)
    _check_references(data["annotations"], images, category_names, annotation_file)
    return images, category_names


def load_coco_json(annotation_file: Path) -> dict[str, Any]:
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
    return StoredFile(image_dir / file_name)


def print_skipped(skipped: dict[str, int], annotation_file: Path) -> None:
    """Prints the counted skips of a set; nothing if there are none."""
    if skipped:
        tell(f"{annotation_file}: {_format(skipped)}")


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
                f'{annotation_file}: every image must have an integer "id", a "file_name" and a '
                f'positive integer "height" and "width", of at most {MAX_PIXELS} pixels in all, '
                f"got {str(image)[:200]}."
            )
    _check_unique((i["id"] for i in data["images"]), f"image ids of {annotation_file}")
    return {image["id"]: image for image in data["images"]}


def _categories(data: dict[str, Any]) -> dict[int, str]:
    for category in data["categories"]:
        if not _is_id(category.get("id")) or not isinstance(category.get("name"), str):
            raise ValueError(
                f'Every category must have an integer "id" and a "name", got {str(category)[:200]}.'
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
            f'{annotation_file}: every annotation must have an integer "id", got '
            f"{str(missing_id[0])[:200]}."
        )
    _check_unique((a["id"] for a in annotations), f"annotation ids of {annotation_file}")
    for key, known in (("image_id", images), ("category_id", categories)):
        # A list or an object as id must reach the message, and cannot be looked up.
        unknown = [a for a in annotations if not _is_id(a.get(key)) or a[key] not in known]
        if unknown:
            listed = first([f"annotation {a['id']}: {a.get(key)!r}" for a in unknown])
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
    return files


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
