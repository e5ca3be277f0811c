"""Small ground truths and detections drawn here, in COCO's formats."""

from typing import Any

import cv2
import numpy as np

from pointrend_jax.masks.rle import encode_mask, rle_area, rle_box

HEIGHT, WIDTH = 60, 80
CATEGORIES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "box"}]


def ellipse(centre: tuple[float, float], axes: tuple[float, float], angle: float = 0) -> np.ndarray:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(canvas, (centre, (2 * axes[0], 2 * axes[1]), angle), 1, -1)
    return canvas.astype(np.bool_)


def annotation(number: int, image_id: int, category_id: int, mask: np.ndarray, **more: Any) -> dict:
    rle = encode_mask(mask)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle,
        "bbox": rle_box(rle),
        "area": rle_area(rle),
        "iscrowd": 0,
        **more,
    }


def ground_truth(annotations: list[dict], num_images: int) -> dict[str, Any]:
    images = [
        {"id": i + 1, "file_name": f"{i + 1}.jpg", "height": HEIGHT, "width": WIDTH}
        for i in range(num_images)
    ]
    # Copies: what a test adds to them is its own.
    categories = [dict(category) for category in CATEGORIES]
    return {"images": images, "annotations": annotations, "categories": categories}


def detection(image_id: int, category_id: int, mask: np.ndarray, score: float) -> dict[str, Any]:
    rle = encode_mask(mask)
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": rle_box(rle),
        "score": score,
        "segmentation": rle,
    }


def noisy_scene(num_images: int, noise: float, seed: int) -> tuple[dict[str, Any], list[dict]]:
    """Ellipses, and detections of them that are off by about `noise` pixels, with false ones.

    The ground truth is the same for every `noise`; one object is a crowd. Scores have ties.
    """
    layout, jitter = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    annotations, detections = [], []
    for image_id in range(1, num_images + 1):
        for _ in range(int(layout.integers(0, 4))):
            centre = layout.uniform((10, 10), (WIDTH - 10, HEIGHT - 10))
            axes = layout.uniform(4, 18, 2)
            angle, category_id = float(layout.uniform(0, 180)), int(layout.choice([3, 7]))
            mask = ellipse(tuple(centre), tuple(axes), angle)
            crowd = int(len(annotations) == 5)
            annotations.append(
                annotation(len(annotations), image_id, category_id, mask, iscrowd=crowd)
            )
            moved = ellipse(
                tuple(centre + jitter.normal(0, noise, 2)),
                tuple(np.maximum(axes + jitter.normal(0, noise, 2), 1)),
                angle,
            )
            score = round(float(jitter.uniform(0.3, 1)), 1)
            detections.append(detection(image_id, category_id, moved, score))
        if jitter.uniform() < 0.5:
            false = ellipse(tuple(jitter.uniform(10, 50, 2)), (6, 6))
            detections.append(detection(image_id, 3, false, round(float(jitter.uniform()), 1)))
    return ground_truth(annotations, num_images), detections
