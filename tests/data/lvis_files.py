"""Small LVIS files for tests, v1 unless said otherwise."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

_SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]
HEIGHT, WIDTH = 8, 10


def annotation(number: int, image_id: int, category_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [2, 2, 4, 4],
        "area": 16.0,
        "segmentation": [_SQUARE],
    } | changes


def image(number: int, path: str, **changes: Any) -> dict[str, Any]:
    """Args: path, below the image folders."""
    return {
        "id": number,
        "coco_url": f"http://images.cocodataset.org/{path}",
        "height": HEIGHT,
        "width": WIDTH,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
    } | changes


def category(number: int, synset: str, frequency: str) -> dict[str, Any]:
    name = f"{synset.split('.')[0]} of LVIS"
    return {"id": number, "name": name, "synset": synset, "frequency": frequency}


def content(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Cows and persons, which COCO has, and acorns; the third image has no annotation."""
    return {
        "images": [
            image(30, "val2017/000000000030.jpg"),
            image(10, "train2017/000000000010.jpg", not_exhaustive_category_ids=[2]),
            image(20, "val2017/000000000020.jpg", neg_category_ids=[1, 3]),
        ],
        "categories": [
            category(3, "person.n.01", "f"),
            category(1, "acorn.n.01", "r"),
            category(2, "beef.n.01", "c"),
        ],
        "annotations": list(annotations)
        or [annotation(7, 10, 2), annotation(5, 10, 1), annotation(9, 20, 2)],
    } | changes


def write(root: Path, data: Any, name: str = "lvis.json") -> Path:
    """The file with its images, empty ones, in COCO's folders below `root`."""
    for folder, number in (("train2017", 10), ("val2017", 20), ("val2017", 30)):
        path = root / folder / f"{number:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(path)
    annotations = root / name
    annotations.write_text(json.dumps(data))
    return annotations
