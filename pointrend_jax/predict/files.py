"""Predictions of image files: pictures for people, and files for programs."""

import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pointrend_jax.data.images import read_image
from pointrend_jax.data.sources.categories import are_made_up
from pointrend_jax.evaluation.predictions import (
    Annotation,
    Predictions,
    annotation,
)
from pointrend_jax.evaluation.set_ids import SetIds
from pointrend_jax.masks.rle import Rle
from pointrend_jax.predict.inputs import ARRAY, NamedFile, read_input
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.npy_file import NpyImage, NpyLabels
from pointrend_jax.predict.tiles import Tiling
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.storage import write_whole
from pointrend_jax.structures import IGNORE_LABEL
from pointrend_jax.visualize import (
    explain_labels_picture,
    explain_picture,
    overlay_instances,
    overlay_labels,
)

# px; the picture of a tiled image is made of every nth pixel, so that its sides stay below this.
_OVERVIEW_SIDE = 4096


def predict_instances(
    predictor: Predictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    score_threshold: float,
    num_explained: int,
    ids: SetIds | None = None,
    font: Path | None = None,
) -> None:
    """Writes an overlay for each image, pictures of how masks arise, and `evaluation.predictions`.

    Args:
      num_explained: instances an image, best first, whose rendering is shown; 0 for none.
      ids: of the data set that the images are of.
      font: of the labels, as `overlay_instances` takes it.
    Raises: ValueError, before anything is written, if the set has not the model's classes, or
      `output` holds predictions of other classes or with another threshold.
    """
    pictures, copies = itertools.tee(read_input(file.path) for file in files)
    predicted = predictor.stream(copies, score_threshold=score_threshold)
    category_ids = _category_ids(predictor, ids)
    categories = [
        {"id": i, "name": name, "supercategory": ""}
        for i, name in zip(category_ids, predictor.class_names, strict=True)
    ]
    settings = {"score_threshold": score_threshold, "ids_of": ids.source.name if ids else ""}
    rows = zip(tqdm(files, disable=None), pictures, predicted, strict=True)
    with Predictions(output, categories, settings) as predictions:
        for (name, path, file_name), image, instances in rows:
            masks = instances.masks.rle()
            _save(output / f"{name}.png", _overlay(image, instances, masks, font))
            _explain(predictor, image, instances, num_explained, output / name, font)
            # The last of an image, so that a stop leaves it out or has all of it.
            predictions.add(
                file_name,
                instances.image_hw,
                _records(instances, masks, category_ids),
                picture=name,
                image_id=ids.images[file_name] if ids else None,
            )
            print(f"{path}: {len(instances)} instances", flush=True)


def predict_labels(
    predictor: SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    explained: bool,
    font: Path | None = None,
) -> None:
    """Writes for each image NAME.png with the classes in colour and NAME_labels.png with their
    indices, and classes.json for all.

    Args:
      explained: also NAME_explain.png, the points of each rendering step.
      font: of the legend, as `overlay_labels` takes it.
    Raises: ValueError, before anything is written, if `explained` of a model that renders nothing.
    """
    if explained:
        predictor.check_explains()
    pictures, copies = itertools.tee(read_input(file.path) for file in files)
    rows = zip(tqdm(files, disable=None), pictures, predictor.stream(copies), strict=True)
    _write_classes(predictor, output)
    for (name, path, _), image, result in rows:
        overlay = overlay_labels(image, result.labels, result.class_names, font=font)
        _save(output / f"{name}.png", overlay)
        _save(output / f"{name}_labels.png", result.labels)
        print(f"{path}: {_shares(result)}", flush=True)
        if explained:
            how = predictor.explain(image)
            picture = explain_labels_picture(
                image, how.coarse_labels, how.steps, result.labels, result.class_names, font=font
            )
            _save(output / f"{name}_explain.png", picture)


def predict_labels_in_tiles(
    predictor: SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    tile: int,
    overlap: int,
    font: Path | None = None,
) -> None:
    """As `predict_labels`, at the images' own size, tile by tile.

    Of a .npy file, which may be larger than the memory, the labels are a .npy file too, and the
    picture shows every nth pixel. Other files are decoded as a whole.
    Raises: ValueError, before anything is written, for impossible tiles.
    """
    Tiling.checked((tile, tile), overlap)
    _write_classes(predictor, output)
    for name, path, _ in files:
        if path.suffix == ARRAY:
            image, file = NpyImage(path), output / f"{name}_labels.npy"
            with NpyLabels(file, (image.shape[0], image.shape[1])) as labels:
                predictor.predict_tiles(
                    image, tile=tile, overlap=overlap, out=labels, progress=True
                )
            picture = _thinned(image, file, predictor.class_names, font)
        else:
            image = read_image(path)
            labels = np.empty(image.shape[:2], np.uint8)
            predictor.predict_tiles(image, tile=tile, overlap=overlap, out=labels, progress=True)
            _save(output / f"{name}_labels.png", labels)
            picture = overlay_labels(image, labels, predictor.class_names, font=font)
        _save(output / f"{name}.png", picture)
        print(f"{path}: {image.shape[0]} x {image.shape[1]} pixels", flush=True)


def _overlay(
    image: np.ndarray, instances: PredictedInstances, masks: Sequence[Rle], font: Path | None
) -> np.ndarray:
    names = instances.class_names
    return overlay_instances(image, instances.boxes, masks, names, instances.scores, font=font)


def _category_ids(predictor: Predictor, ids: SetIds | None) -> tuple[int, ...]:
    """The category id of each class: the set's, else the checkpoint's, else its index, said so.

    Raises: ValueError if the set has categories, but not all of the model's.
    """
    if ids and ids.categories:
        by_id = sorted(ids.categories, key=ids.categories.__getitem__)
        if are_made_up(predictor.class_names) and len(by_id) == len(predictor.class_names):
            print(
                "the checkpoint has no class names; its classes are taken for the categories of "
                f"{ids.source} by ascending id: {', '.join(by_id[:8])}",
                flush=True,
            )
            return tuple(ids.categories[name] for name in by_id)
        unknown = [name for name in predictor.class_names if name not in ids.categories]
        if unknown:
            raise ValueError(
                f"{ids.source} must have the categories of the model, {len(unknown)} of its "
                f"{len(predictor.class_names)} classes are missing: {', '.join(unknown[:5])}."
            )
        return tuple(ids.categories[name] for name in predictor.class_names)
    if predictor.category_ids:
        return predictor.category_ids
    number = len(predictor.class_names)
    print(
        f"the checkpoint does not know the category ids of its data set: those written are class "
        f"indices, 0 to {number - 1}; --annotations takes them from an annotation file",
        flush=True,
    )
    return tuple(range(number))


def _records(
    instances: PredictedInstances, masks: Sequence[Rle], category_ids: Sequence[int]
) -> list[Annotation]:
    rows = zip(instances.boxes, instances.scores, instances.classes, masks, strict=True)
    return [annotation(box, score, category_ids[label], rle) for box, score, label, rle in rows]


def _explain(
    predictor: Predictor,
    image: np.ndarray,
    instances: PredictedInstances,
    number: int,
    stem: Path,
    font: Path | None,
) -> None:
    best = instances[:number]
    if not len(best):
        return
    explained = predictor.explain(image, best.boxes, best.classes)
    for i, (instance, how) in enumerate(zip(best, explained, strict=True), 1):
        label = f"{instance.class_names[0]} {instance.scores[0]:.2f}"
        picture = explain_picture(
            image, instance.boxes[0], how.coarse_probs, how.steps, label, font=font
        )
        _save(stem.with_name(f"{stem.name}_explain_{i}.png"), picture)


def _shares(result: PredictedLabels) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in result.shares().items())


def _thinned(
    image: NpyImage, labels_file: Path, class_names: Sequence[str], font: Path | None
) -> np.ndarray:
    """The overlay of every nth row and column."""
    height, width = image.shape[:2]
    step = -(-max(height, width) // _OVERVIEW_SIDE)
    rows = range(0, height, step)
    pixels = np.concatenate([image[row : row + 1, 0:width][:, ::step] for row in rows])
    labels = np.load(labels_file, mmap_mode="r")[::step, ::step]
    return overlay_labels(pixels, np.asarray(labels), class_names, font=font)


def _write_classes(predictor: SemanticPredictor, output: Path) -> None:
    """What the values of label maps mean. Raises ValueError if those there mean something else."""
    content = {
        "classes": [{"id": i, "name": name} for i, name in enumerate(predictor.class_names)],
        "void": IGNORE_LABEL,
    }
    path, text = output / "classes.json", (json.dumps(content, indent=2) + "\n").encode()
    if path.exists() and path.read_bytes() != text:
        raise ValueError(
            f"{path} has other classes than the model, so {output} holds label maps of another; "
            "choose another --output."
        )
    write_whole(path, text)


def _save(path: Path, picture: np.ndarray) -> None:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    write_whole(path, content.getvalue())
