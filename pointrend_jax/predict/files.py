"""Predictions of images: pictures for people, and files for programs, image by image."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.console import tell, watched
from pointrend_jax.data.rasters import RasterImage
from pointrend_jax.data.sources.categories import are_made_up
from pointrend_jax.evaluation.ground_truth import load_ground_truth, true_mask
from pointrend_jax.masks.outlines import coco_polygons
from pointrend_jax.masks.runs import Rle
from pointrend_jax.messages import first
from pointrend_jax.predict.explainable import check_explains
from pointrend_jax.predict.formats import (
    CLASSES,
    YOLO_NAMES,
    check_same,
    write_masks,
    write_yolo,
    yolo_names,
)
from pointrend_jax.predict.inputs import NamedFile, is_read_in_parts, open_in_parts, read_inputs
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.npy_file import NpyImage, NpyLabels
from pointrend_jax.predict.raster_labels import RasterLabels, write_geojson
from pointrend_jax.predict.set_ids import SetIds
from pointrend_jax.predict.tiles import Tiling
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.results.predictions import Predictions
from pointrend_jax.storage import write_whole
from pointrend_jax.structures import IGNORE_LABEL
from pointrend_jax.visualize import (
    DEFAULT_STYLE,
    OverlayStyle,
    Rgb,
    explain_labels_picture,
    explain_picture,
    overlay_masks,
    save_label_map,
    save_picture,
)

# px; the picture of a tiled image is made of every nth pixel, so that its sides stay below this.
_OVERVIEW_SIDE = 4096


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
    pictures, copies = itertools.tee(read_inputs(files, pixels))
    predicted = predictor.stream(copies, score_threshold=score_threshold)
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
    rows = zip(watched(files, "predicting"), pictures, predicted, strict=True)
    with Predictions(output, categories, settings, formats) as predictions:
        if "yolo" in formats:
            write_whole(output / YOLO_NAMES, names)
        for (name, source, file_name), image, instances in rows:
            shown = pixels.shown(image)
            records = instances.to_coco(category_ids=category_ids)
            masks = [record["segmentation"] for record in records]
            if "overlay" in formats:
                overlay = overlay_masks(
                    shown, instances.boxes, masks, instances.class_names, instances.scores,
                    classes=instances.classes, style=style,
                )  # fmt: skip
                save_picture(output / f"{name}.png", overlay)
            for kind in {"svg", "pdf"} & set(formats):
                instances.save(output / f"{name}.{kind}", shown, style=style)
            if "png" in formats:
                write_masks(output, name, records, instances.class_names)
            if {"polygons", "yolo"} & set(formats):
                polygons = instances.masks.polygons()
                if "yolo" in formats:
                    write_yolo(output, name, instances.classes, polygons, instances.image_hw)
                if "polygons" in formats:
                    for record, parts in zip(records, polygons, strict=True):
                        record["polygons"] = coco_polygons(parts)
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


def predict_labels(
    predictor: SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    formats: Sequence[str],
    explained: bool,
    scale: float = 1.0,
    font: Path | None = None,
) -> None:
    """Writes for each image NAME.png with the classes in colour ("overlay") and NAME_labels.png
    with their indices ("png"), and classes.json for all.

    Args:
      formats: as `chosen_formats` gives them.
      explained: also NAME_explain.png, the points of each rendering step.
      scale, font: of the pictures, as `overlay_labels` takes them.
    Raises: ValueError, before anything is written, if `explained` of a model that renders nothing.
    """
    if explained:
        check_explains(predictor.config)
    pixels = predictor.pixel_format
    pictures, copies = itertools.tee(read_inputs(files, pixels))
    rows = zip(watched(files, "predicting"), pictures, predictor.stream(copies), strict=True)
    _write_classes(predictor, output)
    for (name, source, _), image, result in rows:
        shown = pixels.shown(image)
        for ending in _pictures(formats):
            result.save(output / f"{name}{ending}", shown, scale=scale, font=font)
        if "png" in formats:
            result.save_labels(output / f"{name}_labels.png")
        tell(f"{source}: {_shares(result)}")
        if explained:
            how = predictor.explain(image)
            picture = explain_labels_picture(
                shown, how.coarse_labels, how.steps, result.labels, result.class_names, font=font
            )
            save_picture(output / f"{name}_explain.png", picture)


def predict_labels_in_tiles(
    predictor: SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    formats: Sequence[str],
    tile: int,
    overlap: int,
    scale: float = 1.0,
    font: Path | None = None,
) -> None:
    """As `predict_labels`, at the images' own size, tile by tile.

    The labels of a .npy file, which may be larger than the memory, are a .npy file too, whatever
    the formats, and those of a TIFF file that is no photo or lies on the earth a GeoTIFF; their
    pictures show every nth pixel. Other files are decoded as a whole.
    Raises: ValueError, before anything is written, for impossible tiles.
    """
    Tiling.checked((tile, tile), overlap)
    _write_classes(predictor, output)
    names, endings = predictor.class_names, _pictures(formats)
    pixels = predictor.pixel_format

    def draw(name: str, labels: np.ndarray, shown: Rgb) -> None:
        result = PredictedLabels(labels, labels, names)
        for ending in endings:
            result.save(output / f"{name}{ending}", shown, scale=scale, font=font)

    in_parts = [is_read_in_parts(file.source.path, pixels) for file in files]
    images = read_inputs([f for f, parts in zip(files, in_parts, strict=True) if not parts], pixels)
    for (name, source, _), parts in zip(files, in_parts, strict=True):
        if parts:
            path = output / f"{name}_labels"
            image_hw, labels, shown = _predict_in_parts(
                predictor, source.path, path, tile=tile, overlap=overlap, pictured=bool(endings)
            )
            if "geojson" in formats:
                write_geojson(output / f"{name}_labels.tif", output / f"{name}.geojson", names)
            if endings:
                draw(name, labels, shown)
        else:
            image = next(images)
            image_hw = image.shape[:2]
            labels = np.empty(image_hw, np.uint8)
            predictor.predict_tiles(image, tile=tile, overlap=overlap, out=labels, progress=True)
            if "png" in formats:
                save_label_map(output / f"{name}_labels.png", labels, names)
            if endings:
                draw(name, labels, pixels.shown(image))
        tell(f"{source}: {image_hw[0]} x {image_hw[1]} pixels")


def _predict_in_parts(
    predictor: SemanticPredictor,
    path: Path,
    labels_path: Path,
    *,
    tile: int,
    overlap: int,
    pictured: bool,
) -> tuple[tuple[int, ...], np.ndarray, Rgb]:
    """The file of labels; (height, width) of the image, and every nth label and pixel as shown.

    In the end the files are closed, and with them goes what GDAL keeps of their blocks, before
    anything is drawn.

    Args:
      labels_path: without its ending.
      pictured: whether a picture is wanted; else nth is only the first.
    """
    image = open_in_parts(path, predictor.pixel_format)
    with _labels_of(image, labels_path) as labels:
        predictor.predict_tiles(image, tile=tile, overlap=overlap, out=labels, progress=True)
    longest = max(image.shape[:2])
    step = -(-longest // _OVERVIEW_SIDE) if pictured else longest
    return image.shape[:2], labels.thinned(step), predictor.pixel_format.shown(image.thinned(step))


def _pictures(formats: Sequence[str]) -> list[str]:
    """How the files of pictures end that the formats ask for."""
    endings = {"overlay": ".png", "svg": ".svg", "pdf": ".pdf"}
    return [ending for kind, ending in endings.items() if kind in formats]


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


def _shares(result: PredictedLabels) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in result.shares().items())


def _labels_of(image: NpyImage | RasterImage, path: Path) -> NpyLabels | RasterLabels:
    """The file of labels of an image that is read in parts. Args: path, without its ending."""
    if isinstance(image, RasterImage):
        return RasterLabels(path.with_name(f"{path.name}.tif"), image)
    return NpyLabels(path.with_name(f"{path.name}.npy"), (image.shape[0], image.shape[1]))


def _write_classes(predictor: SemanticPredictor, output: Path) -> None:
    """What the values of label maps mean. Raises ValueError if those there mean something else."""
    content = {
        "classes": [{"id": i, "name": name} for i, name in enumerate(predictor.class_names)],
        "void": IGNORE_LABEL,
    }
    text = (json.dumps(content, indent=2) + "\n").encode()
    check_same(output / CLASSES, text)
    write_whole(output / CLASSES, text)


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
