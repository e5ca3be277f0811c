"""Predicted instances: pictures for people, and files for programs, image by image."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.console import tell, watched
from pointrend_jax.data.sources.categories import are_made_up
from pointrend_jax.evaluation.ground_truth import load_ground_truth, true_mask
from pointrend_jax.masks.outlines import coco_polygons
from pointrend_jax.masks.runs import Rle
from pointrend_jax.messages import first
from pointrend_jax.predict.explainable import check_explains
from pointrend_jax.predict.formats import (
    YOLO_NAMES,
    check_same,
    write_masks,
    write_yolo,
    yolo_names,
)
from pointrend_jax.predict.inputs import FILES_AHEAD, NamedFile, beside_predictions, read_inputs
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.set_ids import SetIds
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.predictions import Predictions
from pointrend_jax.storage import write_whole
from pointrend_jax.visualize import (
    DEFAULT_STYLE,
    OverlayStyle,
    explain_picture,
    overlay_masks,
    save_picture,
)
from pointrend_jax.workers import in_order

# A file, and its image with what was predicted of it.
_Row = tuple[NamedFile, tuple[np.ndarray, PredictedInstances]]


def predict_instances(
    predictor: Predictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    formats: Sequence[str],
    score_threshold: float,
    num_explained: int,
    ids: SetIds | None = None,
    style: OverlayStyle = DEFAULT_STYLE,
) -> None:
    """Writes what the formats ask for, pictures of how masks arise, and `results.predictions`.

    Args:
      formats: as `chosen_formats` gives them.
      num_explained: instances an image, best first, whose rendering is shown; 0 for none.
      ids: of the data set that the images are of.
      style: of the pictures, as `overlay_masks` takes it.
    Raises: ValueError, before anything is written, if the set has not the model's classes, `output`
      holds predictions of other classes, with another threshold or in other formats, or the model
      renders nothing that could be explained.
    """
    if num_explained:
        check_explains(predictor.config)
    pixels = predictor.pixel_format
    stream = partial(predictor.stream, score_threshold=score_threshold)
    images = read_inputs(files, pixels)
    category_ids = _category_ids(predictor, ids)
    categories = [
        {"id": i, "name": name, "supercategory": ""}
        for i, name in zip(category_ids, predictor.class_names, strict=True)
    ]
    settings = {"score_threshold": score_threshold, "ids_of": ids.source.name if ids else ""}
    names = yolo_names(predictor.class_names)
    if "yolo" in formats:
        check_same(output / YOLO_NAMES, names)
    truth = _truth(ids, files) if ids and ids.annotated and num_explained else None
    rows = zip(files, beside_predictions(images, stream), strict=True)

    def write(row: _Row) -> tuple[_Row, list[dict[str, Any]]]:
        """What several threads can do, each of another image."""
        (name, _, _), (image, instances) = row
        records = instances.to_coco(category_ids=category_ids)
        if "overlay" in formats:
            masks = [record["segmentation"] for record in records]
            overlay = overlay_masks(
                pixels.shown(image), instances.boxes, masks, instances.class_names,
                instances.scores, classes=instances.classes, style=style,
            )  # fmt: skip
            save_picture(output / f"{name}.png", overlay)
        if "png" in formats:
            write_masks(output, name, records, instances.class_names)
        if {"polygons", "yolo"} & set(formats):
            polygons = instances.masks.polygons()
            if "yolo" in formats:
                write_yolo(output, name, instances.classes, polygons, instances.image_hw)
            if "polygons" in formats:
                for record, parts in zip(records, polygons, strict=True):
                    record["polygons"] = coco_polygons(parts)
        return row, records

    with Predictions(output, categories, settings, formats) as predictions:
        if "yolo" in formats:
            write_whole(output / YOLO_NAMES, names)
        written = in_order(write, rows, number=FILES_AHEAD)
        for row, records in watched(written, "predicting", total=len(files)):
            (name, source, file_name), (image, instances) = row
            # Matplotlib is for one thread.
            for kind in {"svg", "pdf"} & set(formats):
                instances.save(output / f"{name}.{kind}", pixels.shown(image), style=style)
            image_id = ids.images[file_name] if ids else None
            truths = [
                true_mask(truth, image_id, record) if truth and image_id is not None else None
                for record in records[:num_explained]
            ]
            _explain(predictor, image, instances, truths, output / name, style.font)
            # The last of an image, so that a stop leaves it out or has all of it.
            predictions.add(
                file_name,
                instances.image_hw,
                records,
                picture=name,
                image_id=image_id,
            )
            tell(f"{source}: {len(instances)} instances")


def _category_ids(predictor: Predictor, ids: SetIds | None) -> tuple[int, ...]:
    """The category id of each class: the set's, else the checkpoint's, else its index, said so.

    Raises: ValueError if the set has categories, but not all of the model's.
    """
    if ids and ids.categories:
        by_id = sorted(ids.categories, key=ids.categories.__getitem__)
        if are_made_up(predictor.class_names) and len(by_id) == len(predictor.class_names):
            tell(
                "the checkpoint has no class names; its classes are taken for the categories of "
                f"{ids.source} by ascending id: {first(by_id, 8)}"
            )
            return tuple(ids.categories[name] for name in by_id)
        unknown = [name for name in predictor.class_names if name not in ids.categories]
        if unknown:
            raise ValueError(
                f"{ids.source} must have the categories of the model, {len(unknown)} of its "
                f"{len(predictor.class_names)} classes are missing: {first(unknown)}."
            )
        return tuple(ids.categories[name] for name in predictor.class_names)
    if predictor.category_ids:
        return predictor.category_ids
    number = len(predictor.class_names)
    tell(
        f"the checkpoint does not know the category ids of its data set: those written are class "
        f"indices, 0 to {number - 1}; --annotations takes them from an annotation file"
    )
    return tuple(range(number))


def _explain(
    predictor: Predictor,
    image: np.ndarray,
    instances: PredictedInstances,
    truths: Sequence[Rle | None],
    stem: Path,
    font: Path | None,
) -> None:
    """How the first instances are rendered, as many as `truths`: true masks, None if not known."""
    shown = predictor.pixel_format.shown(image)
    for i, (instance, truth) in enumerate(zip(instances, truths, strict=False), 1):
        (how,) = predictor.explain(image, instance.boxes, instance.classes)
        label = f"{instance.class_names[0]} {instance.scores[0]:.2f}"
        picture = explain_picture(
            shown, instance.boxes[0], how.coarse_probs, how.steps, label, truth=truth, font=font
        )
        save_picture(stem.with_name(f"{stem.name}_explain_{i}.png"), picture)


def _truth(ids: SetIds, files: Sequence[NamedFile]) -> Any:
    """The true masks of the images, None if they are no use; pictures alone want them."""
    content = json.loads(ids.source.read_bytes())
    shown = {ids.images[file.file_name] for file in files}
    try:
        content["annotations"] = [
            a for a in content["annotations"] if a["image_id"] in shown and a.get("segmentation")
        ]
        return load_ground_truth(content)
    except (ValueError, KeyError, TypeError) as error:
        tell(f"pictures of rendering have no truth beside them: {error}")
        return None
