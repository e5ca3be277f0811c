"""Predicted label maps: pictures for people, and files for programs, image by image."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pointrend_jax.console import tell, watched
from pointrend_jax.data.rasters import RasterImage
from pointrend_jax.predict.explainable import check_explains
from pointrend_jax.predict.formats import CLASSES, check_same
from pointrend_jax.predict.inputs import (
    FILES_AHEAD,
    NamedFile,
    beside_predictions,
    is_read_in_parts,
    open_in_parts,
    read_inputs,
)
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.npy_file import NpyImage, NpyLabels
from pointrend_jax.predict.raster_labels import RasterLabels, write_geojson
from pointrend_jax.predict.tiles import Tiling
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.storage import write_whole
from pointrend_jax.structures import IGNORE_LABEL
from pointrend_jax.visualize import Rgb, explain_labels_picture, save_label_map, save_picture
from pointrend_jax.workers import in_order

# A file, and its image with what was predicted of it.
_Row = tuple[NamedFile, tuple[np.ndarray, PredictedLabels]]

# px; the picture of a tiled image is made of every nth pixel, so that its sides stay below this.
_OVERVIEW_SIDE = 4096


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
    images = beside_predictions(read_inputs(files, pixels), predictor.stream)
    rows = zip(files, images, strict=True)
    _write_classes(predictor, output)

    def explain() -> Iterator[_Row]:
        """The rows, each after the picture of it, by which no run knows that it is done."""
        for row in rows:
            (name, _, _), (image, result) = row
            if explained:
                how = predictor.explain(image)
                picture = explain_labels_picture(
                    pixels.shown(image), how.coarse_labels, how.steps, result.labels,
                    result.class_names, font=font,
                )  # fmt: skip
                save_picture(output / f"{name}_explain.png", picture)
            yield row

    def write(row: _Row) -> _Row:
        """What several threads can do, each of another image."""
        (name, _, _), (image, result) = row
        if "overlay" in formats:
            result.save(output / f"{name}.png", pixels.shown(image), scale=scale, font=font)
        if "png" in formats:
            result.save_labels(output / f"{name}_labels.png")
        return row

    written = in_order(write, explain(), number=FILES_AHEAD)
    for row in watched(written, "predicting", total=len(files)):
        (name, source, _), (image, result) = row
        # Matplotlib is for one thread.
        for kind in {"svg", "pdf"} & set(formats):
            shown = pixels.shown(image)
            result.save(output / f"{name}.{kind}", shown, scale=scale, font=font)
        tell(f"{source}: {_shares(result)}")


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
    whole = [f for f, parts in zip(files, in_parts, strict=True) if not parts]
    # They are large: none is read ahead.
    images = read_inputs(whole, pixels, number=0)
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
