"""A COCO file whose objects have labelled points instead of masks, made of one with masks.

Source: Detectron2 projects/PointSup, tools/prepare_coco_point_annotations_without_masks.py.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointrend_jax.coco_file import check_ids, load_coco_file
from pointrend_jax.data.sources.annotations import CocoObject, parse_annotation
from pointrend_jax.data.sources.labelled_points import draw_points
from pointrend_jax.masks.polygons import rasterize_polygons
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.storage import write_whole


class PointAnnotations(NamedTuple):
    """What was written.

    Attributes: objects, with points; share, of the points that are on their object; skipped, how
      many annotations were left out or changed, by reason.
    """

    objects: int
    share: float
    skipped: dict[str, int]


def write_point_annotations(
    annotations: Path, output: Path, *, number: int, seed: int
) -> PointAnnotations:
    """Writes the file; an object's points depend on the seed and its id alone.

    Crowd regions, which nothing is trained on, stay as they are.

    Raises: ValueError for what is no COCO file, for no object with a mask, a number below 1, a seed
      below 0, or an output that cannot be written or is the file itself.
    """
    if number < 1 or seed < 0:
        raise ValueError(f"--number must be at least 1 and --seed 0, got {number} and {seed}.")
    if output.resolve() == annotations.resolve():
        raise ValueError(f"--output must be another file than --annotations, got {output}.")
    content = load_coco_file(annotations)
    images, _ = check_ids(content, annotations)
    skipped: Counter = Counter()
    made, labels = [], []
    for annotation in content["annotations"]:
        image = images[annotation["image_id"]]
        hw = (image["height"], image["width"])
        found = parse_annotation(annotation, hw, 0, skipped)
        if found is None:
            continue
        if found.is_crowd:
            made.append(annotation)
            continue
        points = _points(found, hw, number, np.random.default_rng([seed, found.id % 2**64]))
        labels += points["point_labels"]
        without_mask = {k: v for k, v in annotation.items() if k != "segmentation"}
        made.append(without_mask | {"bbox": list(found.bbox), "area": found.area} | points)
    if not labels:
        raise ValueError(f"{annotations} must have an object with a mask that is no crowd region.")
    write_whole(output, json.dumps(content | {"annotations": made}).encode())
    return PointAnnotations(len(labels) // number, float(np.mean(labels)), dict(skipped))


def _points(
    found: CocoObject, hw: tuple[int, int], number: int, rng: np.random.Generator
) -> dict[str, Any]:
    if not found.segmentation:
        raise ValueError(
            f"annotation {found.id} has no mask to label points by; it has points already."
        )
    segmentation = found.segmentation
    if isinstance(segmentation, list):
        mask = rasterize_polygons(segmentation, hw)
    else:
        mask = decode_rle(segmentation)
    return draw_points(mask, found.box, number, rng)
