"""A small LVIS set, and imperfect detections of any such set.

Numpy and pycocotools only, because the generator of the official numbers (`make_lvis_expected`)
runs this in an environment of its own. Everything follows from `Generator.random`, whose numbers
are the same in the versions of numpy on both sides; `digest` tells if they ever are not.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask

_HEIGHT, _WIDTH = 120, 160
# The stubs of pycocotools want records of exact types, which JSON does not give.
_mask: Any = mask


def synthetic_set() -> dict[str, Any]:
    """Ellipses of nine categories, three of each frequency, on twelve images.

    Category 9 has no object and is absent from every image but the first, which does not mention
    it; category 8 has objects but is exhaustive nowhere. The last image has no object.
    """
    rng = np.random.default_rng(7)
    categories = [
        {
            "id": 3 * i + 2,
            "name": f"category {i}",
            "synset": f"a.n.{i:02d}",
            "frequency": "rcf"[i % 3],
        }
        for i in range(9)
    ]
    ids = [category["id"] for category in categories]
    images, annotations = [], []
    for number in range(12):
        image_id = 100 - number
        present = set()
        for _ in range(0 if number == 11 else 1 + _below(rng, 7)):
            category_id = ids[_below(rng, 8)]
            binary = _ellipse(rng)
            if not binary.any():
                continue
            present.add(category_id)
            rle = _encode(binary)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": rle,
                    "bbox": _mask.toBbox(rle).tolist(),
                    "area": float(_mask.area(rle)),
                }
            )
        absent = [i for i in ids if i not in present]
        negative = [i for i in absent if i == ids[8] or rng.random() < 0.6]
        not_exhaustive = [i for i in present if i == ids[7] or rng.random() < 0.25]
        images.append(
            {
                "id": image_id,
                "height": _HEIGHT,
                "width": _WIDTH,
                "neg_category_ids": negative if number else [],
                "not_exhaustive_category_ids": sorted(not_exhaustive),
            }
        )
    return {"images": images, "annotations": annotations, "categories": categories}


def detections(truth: Mapping[str, Any], crowded_image: int) -> list[dict[str, Any]]:
    """Detections in COCO's result format, with boxes and masks; scores have ties.

    Each object has up to three moved copies, some of another category. There are false ones of any
    category, empty masks, and more than 300 on `crowded_image`. Their order is random.
    """
    rng = np.random.default_rng(11)
    category_ids = sorted(category["id"] for category in truth["categories"])
    images = {image["id"]: image for image in truth["images"]}
    found = []
    for annotation in truth["annotations"]:
        image = images[annotation["image_id"]]
        binary = _decode(annotation["segmentation"], image["height"], image["width"])
        for _ in range(1 + _below(rng, 3)):
            changed = rng.random() < 0.15
            category = annotation["category_id"]
            label = category_ids[_below(rng, len(category_ids))] if changed else category
            found.append(_detection(rng, image["id"], label, _moved(rng, binary)))
    for image in truth["images"]:
        number = 360 if image["id"] == crowded_image else 12
        for _ in range(number):
            label = category_ids[_below(rng, len(category_ids))]
            binary = _rectangle(rng, image["height"], image["width"])
            found.append(_detection(rng, image["id"], label, binary))
    order = np.argsort([rng.random() for _ in found], kind="stable")
    return [found[i] for i in order]


def digest(found: Sequence[Mapping[str, Any]]) -> str:
    """Changes whenever a detection does."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def without(found: Sequence[Mapping[str, Any]], field: str) -> list[dict[str, Any]]:
    """The detections without "bbox" or "segmentation": by which an object is small or large."""
    return [{k: v for k, v in detection.items() if k != field} for detection in found]


def _detection(
    rng: np.random.Generator, image_id: int, category_id: int, binary: np.ndarray
) -> dict[str, Any]:
    rle = _encode(binary)
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": round(float(rng.random()), 2),
        "bbox": _mask.toBbox(rle).tolist(),
        "segmentation": rle,
    }


def _moved(rng: np.random.Generator, binary: np.ndarray) -> np.ndarray:
    """Moved by up to a tenth of its size, or by up to six pixels."""
    rows, columns = np.flatnonzero(binary.any(1)), np.flatnonzero(binary.any(0))
    result = np.zeros_like(binary)
    if not rows.size:
        return result
    reach = 1 + min(6, (rows[-1] - rows[0] + columns[-1] - columns[0]) // 10)
    down, right = (_below(rng, 2 * int(reach) + 1) - int(reach) for _ in range(2))
    ys, xs = np.nonzero(binary)
    ys, xs = ys + down, xs + right
    inside = (ys >= 0) & (ys < binary.shape[0]) & (xs >= 0) & (xs < binary.shape[1])
    result[ys[inside], xs[inside]] = True
    return result


def _rectangle(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    result = np.zeros((height, width), np.bool_)
    y, x = _below(rng, height), _below(rng, width)
    # A side of 0 gives an empty mask.
    result[y : y + _below(rng, 40), x : x + _below(rng, 40)] = True
    return result


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    y, x = rng.random() * _HEIGHT, rng.random() * _WIDTH
    high, wide = (2 + (4 + 50 * rng.random()) * rng.random() for _ in range(2))
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH]
    return ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 < 1


def _below(rng: np.random.Generator, bound: int) -> int:
    return int(rng.random() * bound)


def _encode(binary: np.ndarray) -> dict[str, Any]:
    rle = _mask.encode(np.asfortranarray(binary, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    rle = segmentation
    if isinstance(segmentation, list):
        rle = _mask.merge(_mask.frPyObjects(segmentation, height, width))
    # pycocotools' own decode raises a deprecation warning of NumPy.
    counts = rle["counts"]
    text = counts if isinstance(counts, str) else counts.decode()
    runs = list(_runs(text))
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return bits.reshape(width, height).T


def _runs(counts: str) -> Iterator[int]:
    """The run lengths of compressed counts: five bits a character, from the fourth differences."""
    before = [0, 0]
    value = shift = number = 0
    for character in counts:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        value += before[0] if number > 2 else 0
        yield value
        before = [before[1], value]
        number, value, shift = number + 1, 0, 0
