"""A drawn instance-segmentation data set in COCO format, which needs no download.

Shapes with demanding outlines (`embedded_shapes`) are painted onto photos, each in one colour with
the weakened light and shade of another photo; the photos are those inside the scikit-image package,
and none of them is in both splits. What is hard is the outline, not to tell object and background
apart, so that a short training learns it. The sets serve tests, demonstrations and short trainings;
results on them say nothing about COCO.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import skimage
from pycocotools import mask as coco_mask

from pointrend_jax.console import watched
from pointrend_jax.data.sources.embedded_shapes import (
    CATEGORIES,
    Outline,
    cover_pixels,
    draw_outline,
    place_outline,
)
from pointrend_jax.storage import locked

# Raise it whenever the same parameters give other images or annotations.
_FORMAT_VERSION = 3
_FINGERPRINT = "embedded.json"
_MIN_IMAGE_SIZE = 32

# Backgrounds and the light and shade of objects. scikit-image's documentation states of each that
# it is free (the table in docs/gallery.md); those that it states nothing of are left out. Those for
# evaluation are in the public domain or CC0 by their author's word, and may be shown anywhere.
TRAINING_PHOTOS = (
    *("astronaut.png", "brick.png", "camera.png", "coins.png", "grass.png", "gravel.png"),
    *("hubble_deep_field.jpg", "ihc.png", "retina.jpg"),
)
EVALUATION_PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg")
_SPLITS = {"train": TRAINING_PHOTOS, "eval": EVALUATION_PHOTOS}

_SIZE_RANGE = (0.35, 0.75)
_MIN_VISIBLE_FRACTION = 0.7
_MIN_VISIBLE_PIXELS = 60
_TRIES = 4
# Distance of the mean colours of object and background that suffices, of 442 at most: the outline
# is seen, but colour alone does not find the object.
_MIN_CONTRAST = 75.0
_MIN_POLYGON_IOU = 0.97


class DrawnObject(NamedTuple):
    """A placed object: what one sees of it, its whole area, and its rings in image pixels."""

    category_id: int
    visible: np.ndarray  # bool [S, S]
    full_area: int
    rings: Outline


def generate_embedded(
    directory: Path,
    *,
    image_size: int,
    num_train: int,
    num_eval: int,
    max_objects: int,
    seed: int,
) -> None:
    """Writes `train/`, `eval/` and `annotations/{train,eval}.json`, unless they are there already.

    Image i of a split depends on (seed, split, i) only, so a larger set begins with the smaller
    one. The folder appears whole or not at all; a set of other parameters is replaced.

    Args:
      image_size: side of the square images in pixels, at least 32.
      max_objects: each image has 1 to `max_objects` objects, fewer where they do not fit.
    Raises: ValueError if a parameter is out of range, or if `directory` can't be written or holds
      files that are not from here.
    """
    _check_at_least("image_size", image_size, _MIN_IMAGE_SIZE)
    _check_at_least("num_train", num_train, 1)
    _check_at_least("num_eval", num_eval, 1)
    _check_at_least("max_objects", max_objects, 1)
    _check_at_least("seed", seed, 0)
    fingerprint = {
        "format_version": _FORMAT_VERSION,
        "image_size": image_size,
        "num_train": num_train,
        "num_eval": num_eval,
        "max_objects": max_objects,
        "seed": seed,
    }
    directory = Path(directory)
    if _is_complete(directory, fingerprint):
        return
    # Threads gain nothing on images this small and break forked loader workers.
    cv2.setNumThreads(0)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = directory.with_name(f".{directory.name}.lock")
        with locked(lock), _scratch(directory) as root:
            if _is_complete(directory, fingerprint):
                return
            for number, (split, count) in enumerate((("train", num_train), ("eval", num_eval))):
                _write_split(root, split, count, image_size, max_objects, [seed, number])
            (root / _FINGERPRINT).write_text(json.dumps(fingerprint))
            if directory.exists():
                shutil.rmtree(directory)
            root.rename(directory)
    except OSError as error:
        raise ValueError(
            f"The directory of the data set must be writable, but {directory} is not "
            f"({error}); choose another one."
        ) from error


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A folder beside `directory`, on the same disk, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".embedded-") as scratch:
        yield Path(scratch) / "set"


def _check_at_least(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")


def _is_complete(directory: Path, fingerprint: dict[str, int]) -> bool:
    """Whether this very set is there; refuses a folder whose loss would hurt somebody."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(
            f"The directory of the data set must be a folder, but {directory} is a file; "
            "choose another path."
        )
    path = directory / _FINGERPRINT
    if path.is_file():
        return path.read_bytes() == json.dumps(fingerprint).encode()
    if directory.is_dir() and any(directory.iterdir()):
        raise ValueError(
            f"The directory of the data set must be new, empty or an earlier drawn set, but "
            f"{directory} holds other files; choose another one."
        )
    return False


def _write_split(
    root: Path, split: str, count: int, image_size: int, max_objects: int, seed: list[int]
) -> None:
    folder = root / split
    folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in watched(range(count), f"drawing {split}"):
        rng = np.random.default_rng(np.random.SeedSequence([*seed, i]))
        # The first object's category goes round, so that six images show all six.
        pixels, objects = draw_scene(
            rng, image_size, max_objects, i % len(CATEGORIES), photos=_SPLITS[split]
        )
        name = f"{i:06d}.jpg"
        if not cv2.imwrite(str(folder / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95]):
            raise OSError(f"{name} could not be encoded or written")
        size = {"height": image_size, "width": image_size}
        images.append({"id": i + 1, "file_name": name, **size})
        for item in objects:
            ids = {"id": len(annotations) + 1, "image_id": i + 1}
            annotations.append(ids | _annotation(item))
    coco = {
        "info": {"description": "pointrend_jax drawn shapes", "version": str(_FORMAT_VERSION)},
        "licenses": [],
        "categories": [
            {"id": k, "name": name, "supercategory": "shape"}
            for k, name in enumerate(CATEGORIES, start=1)
        ],
        "images": images,
        "annotations": annotations,
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{split}.json").write_text(json.dumps(coco))


def draw_scene(
    rng: np.random.Generator,
    image_size: int,
    max_objects: int,
    first_category: int,
    *,
    photos: Sequence[str],
) -> tuple[np.ndarray, list[DrawnObject]]:
    """One image of the set: uint8 [S, S, 3] in OpenCV's BGR, and its objects from back to front.

    Args:
      photos: files of scikit-image, at least two: one is the background, others the objects.
    """
    background = int(rng.integers(len(photos)))
    pixels = _photo_crop(rng, photos[background], image_size, image_size, (0.4, 1.0))
    pixels = np.clip(pixels.astype(np.float32) * rng.uniform(0.75, 1.2), 0, 255)
    objects: list[DrawnObject] = []
    for k in range(int(rng.integers(1, max_objects + 1))):
        category = first_category if k == 0 else int(rng.integers(len(CATEGORIES)))
        for attempt in range(_TRIES):
            # What was too small or in the way gets another shape, size and place.
            low = _SIZE_RANGE[0] + attempt / _TRIES * (_SIZE_RANGE[1] - _SIZE_RANGE[0])
            size = image_size * rng.uniform(low, _SIZE_RANGE[1])
            rings = [r * size for r in draw_outline(CATEGORIES[category], rng)]
            rings = place_outline(rng, rings, image_size)
            alpha, full_area = cover_pixels(rings, image_size)
            placed = _add_object(objects, category + 1, rings, alpha, full_area)
            if placed is not None:
                objects = placed
                other = (background + int(rng.integers(1, len(photos)))) % len(photos)
                _paint(rng, pixels, alpha, photos[other])
                break
    return np.round(pixels).astype(np.uint8), objects


def _add_object(
    objects: list[DrawnObject], category_id: int, rings: Outline, alpha: np.ndarray, full_area: int
) -> list[DrawnObject] | None:
    """Lays an object over the others; None if it or one below would show too little."""
    mask = alpha >= 0.5
    covered = [item._replace(visible=item.visible & ~mask) for item in objects]
    result = [*covered, DrawnObject(category_id, mask, full_area, rings)]
    for item in result:
        needed = max(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_FRACTION * item.full_area)
        if item.visible.sum() < needed:
            return None
    return result


def _paint(rng: np.random.Generator, pixels: np.ndarray, alpha: np.ndarray, photo: str) -> None:
    """Blends a photo's crop in one colour into `pixels`, in place, where `alpha` says so."""
    x, y, w, h = cv2.boundingRect((alpha > 0).astype(np.uint8))
    region, cover = pixels[y : y + h, x : x + w], alpha[y : y + h, x : x + w, None]
    crop = _photo_crop(rng, photo, h, w, (0.3, 0.7))
    behind = region.reshape(-1, 3).mean(axis=0)
    best, best_contrast = crop.astype(np.float32), -1.0
    for _ in range(6):
        texture = _in_one_colour(rng, crop)
        contrast = float(np.linalg.norm(texture.reshape(-1, 3).mean(axis=0) - behind))
        if contrast > best_contrast:
            best, best_contrast = texture, contrast
        if contrast >= _MIN_CONTRAST:
            break
    region[...] = region * (1 - cover) + best * cover


def _in_one_colour(rng: np.random.Generator, crop: np.ndarray) -> np.ndarray:
    """A random hue and saturation with the crop's weakened light and shade; float32 BGR, 0..255."""
    light = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
    contrast, brightness = rng.uniform(0.15, 0.45), rng.uniform(70, 215)
    hsv = np.empty_like(crop)
    hsv[..., :2] = int(rng.integers(180)), int(rng.integers(60, 220))
    hsv[..., 2] = np.clip((light - light.mean()) * contrast + brightness, 0, 255)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR).astype(np.float32)


def _photo_crop(
    rng: np.random.Generator, photo: str, height: int, width: int, share: tuple[float, float]
) -> np.ndarray:
    """A random, perhaps mirrored crop of a photo, resized; uint8 BGR [height, width, 3].

    Args:
      share: range of the crop's longer side, relative to the shorter side of the photo.
    """
    source = _photo(photo)
    scale = min(source.shape[:2]) * rng.uniform(*share) / max(height, width)
    crop_h, crop_w = max(1, int(height * scale)), max(1, int(width * scale))
    y = int(rng.integers(source.shape[0] - crop_h + 1))
    x = int(rng.integers(source.shape[1] - crop_w + 1))
    crop = source[y : y + crop_h, x : x + crop_w]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    resized = cv2.resize(crop, (width, height), interpolation=method)
    return cv2.flip(resized, 1) if rng.random() < 0.5 else resized


@lru_cache(maxsize=len(TRAINING_PHOTOS + EVALUATION_PHOTOS))
def _photo(name: str) -> np.ndarray:
    path = Path(skimage.__file__).parent / "data" / name
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise ValueError(
            f"The photos of scikit-image must be readable, but {path} is not; "
            "reinstall scikit-image."
        )
    return photo


def _annotation(item: DrawnObject) -> dict[str, Any]:
    """The COCO fields of one object: its own outline if nothing cuts it, else the visible mask."""
    mask: Any = coco_mask.encode(np.asfortranarray(item.visible.astype(np.uint8)))
    polygon = _polygon(item, mask)
    shape = mask if polygon is None else _rasterise(polygon, item.visible.shape[0])
    counts = mask["counts"].decode("ascii")
    return {
        "category_id": item.category_id,
        "bbox": [float(v) for v in coco_mask.toBbox(shape)],
        "area": float(coco_mask.area(shape)),
        "iscrowd": 0,
        "segmentation": {"size": mask["size"], "counts": counts} if polygon is None else [polygon],
    }


def _polygon(item: DrawnObject, mask: Any) -> list[float] | None:
    """The outline as x, y, x, y, ...; None where one polygon can't say what is visible."""
    size = item.visible.shape[0]
    outline = item.rings[0]
    inside = outline.min() >= 0 and outline.max() <= size
    if len(item.rings) > 1 or not inside or item.visible.sum() != item.full_area:
        return None
    polygon = np.round(outline, 2).ravel().tolist()
    # Limbs of a pixel or two are rasterised differently by every library.
    overlap = np.asarray(coco_mask.iou([_rasterise(polygon, size)], [mask], [0]))[0, 0]
    return polygon if overlap > _MIN_POLYGON_IOU else None


def _rasterise(polygon: list[float], size: int) -> Any:
    # Any on both sides: the stubs of pycocotools know neither polygons nor the bytes of an RLE.
    outlines: Any = [polygon]
    return coco_mask.frPyObjects(outlines, size, size)[0]
