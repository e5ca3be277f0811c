"""Predictions of image files: pictures for people, and files for programs."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from pointrend_jax.data.images import read_image
from pointrend_jax.data.npy_file import NpyImage, NpyLabels
from pointrend_jax.evaluation.rle import Rle
from pointrend_jax.instances import PredictedInstances
from pointrend_jax.label_maps import PredictedLabels
from pointrend_jax.predictor import Predictor
from pointrend_jax.semantic_predictor import SemanticPredictor
from pointrend_jax.storage import write_json
from pointrend_jax.structures import IGNORE_LABEL
from pointrend_jax.tiles import Tiling
from pointrend_jax.training.loop import check_workdir
from pointrend_jax.visualize import (
    explain_labels_picture,
    explain_picture,
    overlay_instances,
    overlay_labels,
)

# px; the picture of a tiled image is made of every nth pixel, so that its sides stay below this.
_OVERVIEW_SIDE = 4096
_ARRAY = ".npy"
# What is written for an image, behind its name.
_RESULT_ENDS = (".png", "_labels.png", "_labels.npy", "_explain.png")


class NamedFile(NamedTuple):
    """An image file, and what its results are called: its stem, unless two images share it."""

    name: str
    path: Path


def check_files(paths: Sequence[Path], output: Path) -> list[NamedFile]:
    """The files with the names of their results.

    All are decoded once, before anything slow happens.
    Raises: ValueError if an image cannot be read, names clash or `output` cannot be written.
    """
    names = _output_names(paths)
    check_workdir(output)
    _check_results(names, paths, output)
    problems = [problem for path in paths if (problem := _problem(path))]
    if problems:
        raise ValueError("no image was predicted:\n  " + "\n  ".join(problems))
    return [NamedFile(*each) for each in zip(names, paths, strict=True)]


def predict_instances(
    predictor: Predictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    score_threshold: float,
    num_explained: int,
) -> None:
    """Writes an overlay for each image, instances.json for all, and pictures of how masks arise.

    Args:
      num_explained: instances an image, best first, whose rendering is shown; 0 for none.
    """
    pictures, copies = itertools.tee(_read(path) for _, path in files)
    predicted = predictor.stream(copies, score_threshold=score_threshold)
    records, images = [], []
    rows = zip(tqdm(files, disable=None), pictures, predicted, strict=True)
    for image_id, ((name, path), image, instances) in enumerate(rows, 1):
        masks = instances.masks.rle()
        _save(output / f"{name}.png", _overlay(image, instances, masks))
        height, width = image.shape[:2]
        images.append({"id": image_id, "file_name": path.name, "height": height, "width": width})
        records += _records(image_id, instances, masks)
        print(f"{path}: {len(instances)} instances", flush=True)
        _explain(predictor, image, instances, num_explained, output / name)
    categories = [{"id": i, "name": name} for i, name in enumerate(predictor.class_names)]
    write_json(
        output / "instances.json",
        {"images": images, "annotations": records, "categories": categories},
    )


def predict_labels(
    predictor: SemanticPredictor, files: Sequence[NamedFile], output: Path, *, explained: bool
) -> None:
    """Writes for each image NAME.png with the classes in colour and NAME_labels.png with their
    indices, and classes.json for all.

    Args:
      explained: also NAME_explain.png, the points of each rendering step.
    Raises: ValueError, before anything is written, if `explained` of a model that renders nothing.
    """
    if explained:
        predictor.check_explains()
    pictures, copies = itertools.tee(_read(path) for _, path in files)
    rows = zip(tqdm(files, disable=None), pictures, predictor.stream(copies), strict=True)
    for (name, path), image, result in rows:
        _save(output / f"{name}.png", overlay_labels(image, result.labels, result.class_names))
        _save(output / f"{name}_labels.png", result.labels)
        print(f"{path}: {_shares(result)}", flush=True)
        if explained:
            how = predictor.explain(image)
            picture = explain_labels_picture(
                image, how.coarse_labels, how.steps, result.labels, result.class_names
            )
            _save(output / f"{name}_explain.png", picture)
    _write_classes(predictor, output)


def predict_labels_in_tiles(
    predictor: SemanticPredictor,
    files: Sequence[NamedFile],
    output: Path,
    *,
    tile: int,
    overlap: int,
) -> None:
    """As `predict_labels`, at the images' own size, tile by tile.

    Of a .npy file, which may be larger than the memory, the labels are a .npy file too, and the
    picture shows every nth pixel. Other files are decoded as a whole.
    Raises: ValueError, before anything is written, for impossible tiles.
    """
    Tiling.checked((tile, tile), overlap)
    for name, path in files:
        if path.suffix == _ARRAY:
            with NpyImage(path) as image:
                file = output / f"{name}_labels.npy"
                with NpyLabels(file, (image.shape[0], image.shape[1])) as labels:
                    predictor.predict_tiles(
                        image, tile=tile, overlap=overlap, out=labels, progress=True
                    )
                picture = _thinned(image, file, predictor.class_names)
        else:
            image = read_image(path)
            labels = np.empty(image.shape[:2], np.uint8)
            predictor.predict_tiles(image, tile=tile, overlap=overlap, out=labels, progress=True)
            _save(output / f"{name}_labels.png", labels)
            picture = overlay_labels(image, labels, predictor.class_names)
        _save(output / f"{name}.png", picture)
        print(f"{path}: {image.shape[0]} x {image.shape[1]} pixels", flush=True)
    _write_classes(predictor, output)


def _read(path: Path) -> np.ndarray:
    if path.suffix != _ARRAY:
        return read_image(path)
    with NpyImage(path) as image:
        return image[0 : image.shape[0], 0 : image.shape[1]]


def _output_names(paths: Sequence[Path]) -> list[str]:
    stems = [path.stem for path in paths]
    names = [p.name if stems.count(p.stem) > 1 else p.stem for p in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"several images are called {', '.join(twice)} and their results would overwrite each "
            "other; predict them with different --output folders."
        )
    return names


def _check_results(names: Sequence[str], paths: Sequence[Path], output: Path) -> None:
    """Raises ValueError if a result would overwrite an image, or another result."""
    results = [f"{name}{end}" for name in names for end in _RESULT_ENDS]
    twice = sorted({result for result in results if results.count(result) > 1})
    inputs = {path.resolve() for path in paths}
    over = [result for result in results if (output / result).resolve() in inputs]
    if twice or over:
        raise ValueError(
            f"the results {', '.join((over + twice)[:5])} would overwrite an image or each other; "
            "choose another --output folder, or predict the images one by one."
        )


def _problem(path: Path) -> str:
    try:
        if path.suffix == _ARRAY:
            NpyImage(path).close()
        else:
            read_image(path)
    except ValueError as error:
        return str(error)
    return ""


def _overlay(image: np.ndarray, instances: PredictedInstances, masks: Sequence[Rle]) -> np.ndarray:
    return overlay_instances(image, instances.boxes, masks, instances.class_names, instances.scores)


def _records(image_id: int, instances: PredictedInstances, masks: Sequence[Rle]) -> list[dict]:
    """COCO annotations with RLE masks; a category is a class index, as instances.json says."""
    rows = zip(instances.boxes, instances.scores, instances.classes, masks, strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
            "bbox": [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "segmentation": rle,
        }
        for box, score, label, rle in rows
    ]


def _explain(
    predictor: Predictor, image: np.ndarray, instances: PredictedInstances, number: int, stem: Path
) -> None:
    best = instances[:number]
    if not len(best):
        return
    explained = predictor.explain(image, best.boxes, best.classes)
    for i, (instance, how) in enumerate(zip(best, explained, strict=True), 1):
        label = f"{instance.class_names[0]} {instance.scores[0]:.2f}"
        picture = explain_picture(image, instance.boxes[0], how.coarse_probs, how.steps, label)
        _save(stem.with_name(f"{stem.name}_explain_{i}.png"), picture)


def _shares(result: PredictedLabels) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in result.shares().items())


def _thinned(image: NpyImage, labels_file: Path, class_names: Sequence[str]) -> np.ndarray:
    """The overlay of every nth row and column."""
    height, width = image.shape[:2]
    step = -(-max(height, width) // _OVERVIEW_SIDE)
    rows = range(0, height, step)
    pixels = np.concatenate([image[row : row + 1, 0:width][:, ::step] for row in rows])
    labels = np.load(labels_file, mmap_mode="r")[::step, ::step]
    return overlay_labels(pixels, np.asarray(labels), class_names)


def _write_classes(predictor: SemanticPredictor, output: Path) -> None:
    write_json(
        output / "classes.json",
        {
            "classes": [{"id": i, "name": name} for i, name in enumerate(predictor.class_names)],
            "void": IGNORE_LABEL,
        },
    )


def _save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path)
