"""Small scenes in Cityscapes' encoding, and imperfect predictions of any such scene.

Numpy and Pillow only, because the generator of the official numbers (`make_cityscapes_expected`)
runs this in an environment of its own. Everything follows from `Generator.random`, whose numbers
are the same in the versions of numpy on both sides; `digest` tells if they ever are not.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

# The 19 evaluated classes, by train id.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CLASS_NAMES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)
# Fences are invented nowhere and drawn in no synthetic scene: a class without a score.
_FENCE = 13
OBJECT_LABELS = (24, 25, 26, 27, 28, 31, 32, 33)
HEIGHT, WIDTH = 128, 256


class Scene(NamedTuple):
    """Ground truth of an image: the arrays of *_labelIds.png and *_instanceIds.png."""

    label_ids: np.ndarray
    instance_ids: np.ndarray


class Detection(NamedTuple):
    """A predicted object: its mask before and after some rendering, its label id and score."""

    rendered: np.ndarray
    coarse: np.ndarray
    label_id: int
    score: float


class Prediction(NamedTuple):
    """Label maps, in label ids of the evaluated classes, and objects."""

    rendered: np.ndarray
    coarse: np.ndarray
    detections: tuple[Detection, ...]


def synthetic_scenes() -> tuple[Scene, ...]:
    street = (_synthetic_scene(np.random.default_rng([1, i])) for i in range(3))
    return (*street, _table_of_labels())


def truth_paths(data: Path) -> list[Path]:
    """The label maps of the validation images of a folder in Cityscapes' layout."""
    return sorted((data / "gtFine" / "val").glob("*/*_gtFine_labelIds.png"))


def read_scene(label_path: Path) -> Scene:
    instance_path = label_path.with_name(label_path.name.replace("labelIds", "instanceIds"))
    with Image.open(label_path) as labels, Image.open(instance_path) as ids:
        return Scene(np.asarray(labels), np.asarray(ids).astype(np.int32))


def predict_scene(index: int, scene: Scene) -> Prediction:
    """An imperfect prediction of scene number `index`: shifted, with objects lost and invented."""
    rng = np.random.default_rng([2, index])
    labels = _shift(scene.label_ids, _integers(rng, 2, -2, 3))
    invented = [label for label in LABEL_IDS if label != _FENCE]
    for instance_id in np.unique(scene.instance_ids[scene.instance_ids > 1000]):
        if rng.random() < 0.2:
            labels[scene.instance_ids == instance_id] = invented[_integer(rng, 0, 18)]
    for _ in range(6):
        labels[_blob(rng, labels.shape)] = invented[_integer(rng, 0, 18)]
    # A network predicts an evaluated class on void, too.
    labels = np.where(np.isin(labels, LABEL_IDS), labels, 7).astype(np.uint8)
    return Prediction(labels, _blocks(labels, 4), tuple(_detections(rng, scene)))


def train_ids(label_ids: np.ndarray) -> np.ndarray:
    """Classes 0..18 of label ids, 255 for those that are not evaluated."""
    table = np.full(256, 255, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    return table[label_ids]


def digest(predictions: Iterable[Prediction]) -> str:
    """Changes whenever a prediction does."""
    sha = hashlib.sha256()
    for prediction in predictions:
        sha.update(prediction.rendered.tobytes() + prediction.coarse.tobytes())
        for found in prediction.detections:
            sha.update(np.packbits(found.rendered).tobytes() + np.packbits(found.coarse).tobytes())
            sha.update(f"{found.label_id} {found.score}".encode())
    return sha.hexdigest()


def _detections(rng: np.random.Generator, scene: Scene) -> Iterator[Detection]:
    for instance_id in np.unique(scene.instance_ids):
        mask = scene.instance_ids == instance_id
        label = int(instance_id) // 1000 or int(instance_id)
        if label not in (*OBJECT_LABELS, 29):
            # A class without objects, or void, is found exactly, as a car.
            yield _detection(mask, 26, 0.3, rng)
            continue
        # A caravan, which is not evaluated, is often found as a car.
        label = 26 if label == 29 and rng.random() < 0.7 else label
        fate = rng.random()
        if fate > 0.15:
            yield _detection(_shift(mask, _integers(rng, 2, -2, 3)), label, 1.0, rng)
        if fate > 0.6:
            yield _detection(_shift(mask, _integers(rng, 2, -1, 2)), label, 1.0, rng)
            yield _detection(mask, OBJECT_LABELS[_integer(rng, 0, 8)], 0.5, rng)
        for part in (2, 3):
            yield _detection(_piece(mask, part), label, 0.7, rng)
        elsewhere = scene.instance_ids == 23
        # Less than half of it lies on the object, more than half if that were counted twice.
        yield _detection(_piece(mask, 3) | _piece(elsewhere, 2, mask.sum()), label, 0.7, rng)
    for _ in range(6):
        blob = _blob(rng, scene.instance_ids.shape)
        yield _detection(blob, OBJECT_LABELS[_integer(rng, 0, 8)], 0.7, rng)
    yield _detection(np.isin(scene.instance_ids // 1000, 26), 26, 0.7, rng)  # all cars as one
    yield _detection(np.zeros(scene.instance_ids.shape, np.bool_), 26, 1.0, rng)


def _detection(
    mask: np.ndarray, label_id: int, best_score: float, rng: np.random.Generator
) -> Detection:
    # Few different scores, so that there are ties.
    return Detection(mask, _blocks(mask, 4), label_id, round(best_score * float(rng.random()), 1))


def _piece(mask: np.ndarray, part: int, pixels: int | None = None) -> np.ndarray:
    """The first 1/part of the pixels of a mask, or of a number of pixels."""
    count = int(mask.sum() if pixels is None else pixels) // part
    piece = np.zeros_like(mask)
    piece.flat[np.flatnonzero(mask)[:count]] = True
    return piece


def _synthetic_scene(rng: np.random.Generator) -> Scene:
    labels = np.full((HEIGHT, WIDTH), 23, np.int64)
    columns = np.arange(WIDTH)
    for label, height in ((11, 40), (21, 55), (8, 75), (7, 90)):
        outline = height + 6 * np.sin(columns / _integer(rng, 8, 40)) + 10 * rng.random()
        labels[np.arange(HEIGHT)[:, None] > outline] = label
    ids = labels.copy()
    for _ in range(8):
        where, label = _blob(rng, labels.shape, 2.0), (17, 20, 4, 9)[_integer(rng, 0, 4)]
        labels[where] = ids[where] = label
    # No train anywhere; the first is a group of cars.
    for number, label in enumerate((26, 24, 24, 24, 25, 26, 26, 27, 28, 32, 33, 33, 29, 26)):
        where = _blob(rng, labels.shape)
        labels[where] = label
        ids[where] = label if number == 0 else label * 1000 + number
    labels[-8:] = ids[-8:] = 1  # ego vehicle
    return Scene(labels.astype(np.uint8), ids.astype(np.int32))


def _table_of_labels() -> Scene:
    """Every label as a stripe of its own, groups below 100 pixels, and small objects."""
    ids = np.full((HEIGHT, WIDTH), 23, np.int64)
    for label in range(34):
        if label not in (*OBJECT_LABELS, _FENCE):
            ids[70:110, 7 * label : 7 * label + 6] = label
    for i, label in enumerate(OBJECT_LABELS):
        ids[4:12, 20 * i : 20 * i + 8] = label
        if label == 31:
            continue  # trains come in groups only
        for number, side in enumerate((9, 10, 11, 20)):
            top = 16 + 13 * number
            ids[top : top + side, 30 * i : 30 * i + side] = label * 1000 + number
    labels = np.where(ids > 1000, ids // 1000, ids)
    return Scene(labels.astype(np.uint8), ids.astype(np.int32))


def _blob(rng: np.random.Generator, shape: tuple[int, ...], radius: float = 4.0) -> np.ndarray:
    """A slanted ellipse; some are below 100 pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y - shape[0] * rng.random(), x - shape[1] * rng.random()
    slant = rng.random() - 0.5
    a, b = radius + 16 * rng.random(), radius + 12 * rng.random()
    return ((x + slant * y) / a) ** 2 + ((y - slant * x) / b) ** 2 <= 1


def _shift(array: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    return np.roll(array, offset, (0, 1))


def _blocks(array: np.ndarray, side: int) -> np.ndarray:
    """What is left of a map at a lower resolution."""
    coarse = array[side // 2 :: side, side // 2 :: side]
    repeated = np.repeat(np.repeat(coarse, side, 0), side, 1)
    return repeated[: array.shape[0], : array.shape[1]]


def _integer(rng: np.random.Generator, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low))


def _integers(rng: np.random.Generator, count: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(_integer(rng, low, high) for _ in range(count))
