"""What pycocotools does with run-length masks, with our types."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask

from pointrend_jax.masks.runs import Rle

# The stubs of pycocotools want records of exact types, which JSON does not give.
coco_mask: Any = mask


def encode_mask(binary_mask: Bool[np.ndarray, "H W"]) -> Rle:
    """A mask in any order of memory; one that lies column by column is not copied."""
    return _with_text(coco_mask.encode(np.asfortranarray(binary_mask.view(np.uint8))))


def encode_polygons(polygons: Sequence[Sequence[float]], image_hw: tuple[int, int]) -> Rle:
    """The union of polygons [x0, y0, x1, y1, ...] in pixels."""
    return _with_text(coco_mask.merge(coco_mask.frPyObjects(polygons, *image_hw)))


def rle_area(rle: Mapping[str, Any]) -> float:
    """The number of the mask's pixels."""
    return float(coco_mask.area(dict(rle)))


def rle_box(rle: Mapping[str, Any]) -> list[float]:
    """xywh of the mask's bounding box, zeros if it is empty."""
    return coco_mask.toBbox(dict(rle)).tolist()


def rle_iou(
    detections: Sequence[Mapping[str, Any]],
    truths: Sequence[Mapping[str, Any]],
    is_crowd: Sequence[int],
) -> Float[np.ndarray, "D G"]:
    """Intersection over union; over the detection's own area where the truth is a crowd."""
    if not detections or not truths:
        return np.zeros((len(detections), len(truths)))
    return coco_mask.iou([dict(d) for d in detections], [dict(t) for t in truths], list(is_crowd))


def _with_text(rle: Mapping[str, Any]) -> Rle:
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
