"""The content of an annotation file in COCO's format, or in LVIS's: what makes it one.

Whoever reads such a file, and whoever scores against one, asks here. Neither the image files nor
the shapes of objects are looked at.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pointrend_jax.storage import readable
from pointrend_jax.structures import FEDERATED_LISTS

# LVIS has a category in below 10, in below 100, or in 100 and more of its training images.
FREQUENCIES = {"rare": "r", "common": "c", "frequent": "f"}

Entry = dict[str, Any]


def load_coco_file(path: Path, *, may_lack_annotations: bool = False) -> dict[str, Any]:
    """The parsed file; raises ValueError unless it is JSON with COCO's three lists of objects."""
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(
            f"The annotation file {path} cannot be read ({error.strerror}); check config.data.dir "
            "and the annotation path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}).") from error
    if may_lack_annotations and isinstance(content, dict):
        content.setdefault("annotations", [])
    check_lists(content, path)
    return content


def check_lists(content: Any, source: Path | str) -> None:
    """Raises ValueError unless `content` has COCO's lists of objects, with images and categories.

    Args:
      source: what errors call it.
    """
    for key in ("images", "categories", "annotations"):
        entries = content.get(key) if isinstance(content, Mapping) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ValueError(
                f"{source} is not in COCO format: it must be an object with the lists "
                f'"images", "annotations" and "categories"; "{key}" is missing or no such list.'
            )
    for key in ("images", "categories"):
        if not content[key]:
            raise ValueError(f'{source} must have at least one entry in "{key}".')


def check_ids(
    content: Mapping[str, Any], source: Path | str
) -> tuple[dict[int, Entry], dict[int, str]]:
    """The images and the category names by id, of a content with COCO's lists.

    Raises: ValueError if an image or a category is none, or ids repeat or point nowhere.
    """
    images = _images_by_id(content["images"], source)
    category_names = _category_names(content["categories"], source)
    _check_references(content["annotations"], images, category_names, source)
    return images, category_names


def check_federated(content: Mapping[str, Any], source: Path | str) -> None:
    """Raises ValueError unless a content with checked ids says what LVIS's scores need.

    Every category has a frequency; every image lists categories that it lacks, and those of which
    not every object is annotated; none that it lacks is annotated.
    """
    unknown = [c for c in content["categories"] if c.get("frequency") not in FREQUENCIES.values()]
    if unknown:
        raise ValueError(
            f'{source}: every category of an LVIS file must have the "frequency" "r", "c" or "f"; '
            f"{len(unknown)} have another or none, the first is category {unknown[0]['id']}: "
            f"{unknown[0].get('frequency')!r}. For a file in COCO's format set config.data.source "
            "to 'coco'."
        )
    known = {category["id"] for category in content["categories"]}
    for name in FEDERATED_LISTS:
        _check_list(content["images"], name, known, source)
    present = {(a["image_id"], a["category_id"]) for a in content["annotations"]}
    both = [
        (image["id"], category)
        for image in content["images"]
        for category in image["neg_category_ids"]
        if (image["id"], category) in present
    ]
    if both:
        image_id, category = both[0]
        raise ValueError(
            f"{source}: {len(both)} categories are annotated on an image whose "
            f'"neg_category_ids" say that it has none, the first is image {image_id}: {category}; '
            "remove one of the two."
        )


def _check_list(images: list[Entry], name: str, known: set[int], source: Path | str) -> None:
    missing = [image["id"] for image in images if not isinstance(image.get(name), list)]
    if missing:
        raise ValueError(
            f'{source}: every image of an LVIS file must have the list "{name}"; {len(missing)} '
            f"have none, the first is image {missing[0]}. Files of test images have no annotations "
            "and cannot be used."
        )
    unknown = [
        (image["id"], category)
        for image in images
        for category in image[name]
        if type(category) is not int or category not in known
    ]
    if unknown:
        image_id, category = unknown[0]
        raise ValueError(
            f'{source}: {len(unknown)} entries of "{name}" are no category of the file, the first '
            f"is image {image_id}: {category!r}; correct or remove them."
        )


def _images_by_id(images: list[Entry], source: Path | str) -> dict[int, Entry]:
    for image in images:
        sides: list[Any] = [image.get("height"), image.get("width")]
        if not _is_id(image.get("id")) or not all(_is_id(side) and side > 0 for side in sides):
            raise ValueError(
                f'{source}: every image must have an integer "id" of at most 64 bits and a '
                f'positive integer "height" and "width", got {str(image)[:200]}.'
            )
    _check_unique((image["id"] for image in images), f"image ids of {source}")
    return {image["id"]: image for image in images}


def _category_names(categories: list[Entry], source: Path | str) -> dict[int, str]:
    for category in categories:
        name = category.get("name")
        # Records hold no text with halves of characters, as JSON can.
        if not _is_id(category.get("id")) or not isinstance(name, str) or readable(name) != name:
            raise ValueError(
                f'{source}: every category must have an integer "id" of at most 64 bits and a '
                f'"name", got {str(category)[:200]}.'
            )
    _check_unique((category["id"] for category in categories), f"category ids of {source}")
    return {category["id"]: category["name"] for category in categories}


def _check_references(
    annotations: list[Entry],
    images: Mapping[int, Entry],
    category_names: Mapping[int, str],
    source: Path | str,
) -> None:
    missing_id = [a for a in annotations if not _is_id(a.get("id"))]
    if missing_id:
        raise ValueError(
            f'{source}: every annotation must have an integer "id" of at most 64 bits; number them '
            f"1, 2, 3, ..., got {str(missing_id[0])[:200]}."
        )
    _check_unique((a["id"] for a in annotations), f"annotation ids of {source}")
    for key, known in (("image_id", images), ("category_id", category_names)):
        # A list or an object as id must reach the message, and cannot be looked up.
        unknown = [a for a in annotations if not _is_id(a.get(key)) or a[key] not in known]
        if unknown:
            value = unknown[0].get(key)
            raise ValueError(
                f"{source}: {len(unknown)} annotation(s) have an unknown {key}, which must be an "
                f"integer of at most 64 bits that the file lists; the first is annotation "
                f"{unknown[0]['id']}: {str(value)[:50]!r}, of type {type(value).__name__}. Correct "
                "or remove them."
            )


def _check_unique(ids: Iterable[int], what: str) -> None:
    repeated = sorted(i for i, count in Counter(ids).items() if count > 1)
    if repeated:
        raise ValueError(
            f"The {what} must be unique; {len(repeated)} repeat, the first is {repeated[0]}."
        )


def _is_id(value: Any) -> bool:
    # Record files and most other programs have 64 bits for it.
    return type(value) is int and -(2**63) <= value < 2**63
