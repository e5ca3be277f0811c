"""Two images in COCO's format, with annotations that tests change."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]


def an_object(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": 1,
        "category_id": 7,
        "bbox": [2, 2, 4, 4],
        "area": 16.0,
        "iscrowd": 0,
        "segmentation": [SQUARE],
    } | changes


def two_images(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [
            {"id": 2, "file_name": "b.png", "height": 8, "width": 10},
            {"id": 1, "file_name": "a.png", "height": 8, "width": 10},
        ],
        "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
        "annotations": list(annotations),
    }


def written(folder: Path, content: Any) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (10, 8)).save(folder / name)
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
