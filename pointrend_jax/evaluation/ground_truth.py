"""The annotations of a COCO file as pycocotools wants them: every object an RLE, ids of our own.

Nothing is skipped here: what the data side leaves out, the caller leaves out too.
"""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from pointrend_jax.coco_file import check_ids, check_lists, load_coco_file
from pointrend_jax.masks.rle import encode_polygons, rle_area, rle_box, rle_iou
from pointrend_jax.masks.runs import Rle, encode_runs, run_lengths
from pointrend_jax.structures import FEDERATED_LISTS

_KEPT = ("id", "height", "width", *FEDERATED_LISTS)


def load_ground_truth(source: Mapping[str, Any] | Path | str) -> COCO:
    """The annotations as a pycocotools index.

    Args:
      source: the content or the path of a COCO annotation file.

    Raises: ValueError if it is not in COCO format, ids repeat or point nowhere, or a segmentation
      can't be rasterised.
    """
    if isinstance(source, Mapping):
        content, name = source, "the ground truth"
        check_lists(content, name)
    else:
        content, name = load_coco_file(Path(source)), str(source)
    images, _ = check_ids(content, name)
    index: Any = COCO()
    index.dataset = {
        "info": {},
        "images": [{k: v for k, v in image.items() if k in _KEPT} for image in images.values()],
        "categories": [dict(category) for category in content["categories"]],
        # Numbered from 1: pycocotools takes a match with annotation 0 for no match at all.
        "annotations": [
            _annotation(number, annotation, images[annotation["image_id"]])
            for number, annotation in enumerate(content["annotations"], 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def true_mask(truth: COCO, image_id: int, record: Mapping[str, Any]) -> Rle | None:
    """The object of its class that an instance overlaps most; None if none by half (IoU).

    Args:
      truth: of `load_ground_truth`.
      record: of an instance, with `category_id` and `segmentation`.
    """
    index: Any = truth
    numbers = index.getAnnIds(image_id, record["category_id"], iscrowd=False)
    predicted, objects = record["segmentation"], index.loadAnns(numbers)
    masks = [o["segmentation"] for o in objects]
    masks = [mask for mask in masks if list(mask["size"]) == list(predicted["size"])]
    if not masks:
        return None
    overlaps = rle_iou([predicted], masks, [0] * len(masks))[0]
    best = int(overlaps.argmax())
    return masks[best] if overlaps[best] >= 0.5 else None


def _annotation(
    number: int, annotation: Mapping[str, Any], image: Mapping[str, Any]
) -> dict[str, Any]:
    rle = _rle(annotation, (image["height"], image["width"]))
    area = annotation.get("area")
    return {
        "id": number,
        "image_id": image["id"],
        "category_id": annotation["category_id"],
        "bbox": annotation.get("bbox") or rle_box(rle),
        "area": rle_area(rle) if area is None else area,
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "segmentation": rle,
    }


def _rle(annotation: Mapping[str, Any], image_hw: tuple[int, int]) -> Rle:
    match annotation.get("segmentation"):
        case [[*_], *_] as polygons if all(len(p) >= 6 and len(p) % 2 == 0 for p in polygons):
            return encode_polygons(polygons, image_hw)
        case {"size": [h, w], "counts": counts} if (h, w) == image_hw:
            runs = run_lengths(counts)
            if runs is not None and sum(runs) == h * w:
                return encode_runs(runs, image_hw)
    raise ValueError(
        f"Annotation {annotation['id']} must have polygons of at least three points or an RLE of "
        f"size {list(image_hw)}, whose counts fill it, as its segmentation. Remove or repair it."
    )
