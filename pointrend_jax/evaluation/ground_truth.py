"""COCO annotations in the form that the evaluation needs: checked, as RLE, with ids of our own.

Nothing is skipped here: what the data side leaves out, the caller leaves out here too.
"""

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from pointrend_jax.masks.rle import (
    Rle,
    decode_runs,
    encode_polygons,
    encode_runs,
    rle_area,
    rle_box,
)
from pointrend_jax.structures import FEDERATED_LISTS


def load_ground_truth(source: Mapping[str, Any] | Path | str) -> COCO:
    """The annotations as a pycocotools index.

    Args:
      source: the content or the path of a COCO annotation file.

    Raises: ValueError if it is not in COCO format, an image's id repeats, an annotation names an
      unknown image or category, or a segmentation can't be rasterised.
    """
    content = source if isinstance(source, Mapping) else _read_json(Path(source))
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise ValueError(f"COCO annotations must have a list {key!r}, got {sorted(content)}.")
    images = _images_by_id(content["images"])
    categories = {category["id"] for category in content["categories"]}
    index: Any = COCO()
    index.dataset = {
        "info": {},
        "images": list(images.values()),
        "categories": [dict(category) for category in content["categories"]],
        # Numbered from 1: pycocotools takes a match with annotation 0 for no match at all, and of
        # annotations with one id it keeps one.
        "annotations": [
            _annotation(i + 1, annotation, images, categories)
            for i, annotation in enumerate(content["annotations"])
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"Cannot read the annotations {path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"COCO annotations must be a JSON object, {path} is none.")
    return content


def _images_by_id(images: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    by_id: dict[Any, dict[str, Any]] = {}
    for image in images:
        missing = [key for key in ("id", "height", "width") if key not in image]
        if missing:
            raise ValueError(f"An image of the annotations lacks {missing}: {image}.")
        if image["id"] in by_id:
            raise ValueError(f"The image id {image['id']} occurs more than once.")
        kept = ("id", "height", "width", *FEDERATED_LISTS)
        by_id[image["id"]] = {key: image[key] for key in kept if key in image}
    return by_id


def _annotation(
    number: int,
    annotation: dict[str, Any],
    images: dict[Any, dict[str, Any]],
    categories: set[Any],
) -> dict[str, Any]:
    name = f"Annotation {annotation.get('id')}"
    image = images.get(annotation.get("image_id"))
    if image is None or annotation.get("category_id") not in categories:
        raise ValueError(
            f"{name} names image {annotation.get('image_id')} and category "
            f"{annotation.get('category_id')}; both must be in the file. Remove it."
        )
    rle = _rle(name, annotation.get("segmentation"), (image["height"], image["width"]))
    area = annotation.get("area")
    return {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "bbox": annotation.get("bbox") or rle_box(rle),
        "area": rle_area(rle) if area is None else area,
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "segmentation": rle,
    }


def _rle(name: str, segmentation: Any, image_hw: tuple[int, int]) -> Rle:
    match segmentation:
        case [[*_], *_] if all(len(p) >= 6 and len(p) % 2 == 0 for p in segmentation):
            return encode_polygons(segmentation, image_hw)
        case {"size": [h, w], "counts": str() | list() as counts} if (h, w) == image_hw:
            runs = counts if isinstance(counts, list) else _runs(name, counts)
            if sum(runs) == h * w and min(runs) >= 0:
                return encode_runs(runs, image_hw)
    raise ValueError(
        f"{name} must have polygons of at least three points or an RLE of size {list(image_hw)} as "
        "its segmentation. Remove or repair it."
    )


def _runs(name: str, counts: str) -> list[int]:
    try:
        return decode_runs(counts)
    except ValueError as error:
        raise ValueError(f"{name}: {error} Remove or repair it.") from error
