"""The drawn data set: reproducible, whole on disk, and with annotations that say what is seen."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pointrend_jax.data.sources import embedded
from pointrend_jax.data.sources.coco import read_coco
from pointrend_jax.data.sources.embedded import generate_embedded
from pointrend_jax.data.sources.embedded_shapes import CATEGORIES, cover_pixels, draw_outline

# pycocotools hands its decoded masks over in a way that numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_SMALL = {"image_size": 64, "num_train": 6, "num_eval": 2, "max_objects": 3, "seed": 5}


@pytest.fixture(scope="module")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 training images of 160 px, shared by the tests that only read."""
    directory = tmp_path_factory.mktemp("drawn") / "set"
    generate_embedded(directory, image_size=160, num_train=48, num_eval=6, max_objects=3, seed=0)
    return directory


def _annotations(directory: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((directory / "annotations" / f"{split}.json").read_text())


def _contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def _decode(annotation: dict[str, Any], size: int) -> np.ndarray:
    segmentation: Any = annotation["segmentation"]
    if isinstance(segmentation, list):
        segmentation = coco_mask.frPyObjects(segmentation, size, size)[0]
    return np.asarray(coco_mask.decode(segmentation)) > 0


def _scenes(image_size: int, count: int) -> list[Any]:
    photos = embedded.TRAINING_PHOTOS
    scenes = [
        embedded.draw_scene(np.random.default_rng(i), image_size, 3, i % 6, photos=photos)
        for i in range(count)
    ]
    return [item for _, objects in scenes for item in objects]


def test_set_is_decided_by_seed(tmp_path: Path):
    generate_embedded(tmp_path / "a", **_SMALL)
    generate_embedded(tmp_path / "b", **_SMALL)
    generate_embedded(tmp_path / "c", **_SMALL | {"seed": 6})
    first, second, other = (_contents(tmp_path / name) for name in "abc")
    assert first == second
    assert first["train/000000.jpg"] != other["train/000000.jpg"]
    assert first["train/000000.jpg"] != first["eval/000000.jpg"]


def test_splits_have_no_photo_in_common(tmp_path: Path):
    of = {"train": embedded.TRAINING_PHOTOS, "eval": embedded.EVALUATION_PHOTOS}
    assert not set(of["train"]) & set(of["eval"])
    generate_embedded(tmp_path / "set", **_SMALL)
    for number, split in enumerate(of):
        for i in range(2):
            written: Any = cv2.imread(str(tmp_path / f"set/{split}/{i:06d}.jpg"))
            errors = {}
            for name, photos in of.items():
                rng = np.random.default_rng(np.random.SeedSequence([5, number, i]))
                pixels, _ = embedded.draw_scene(rng, 64, 3, i, photos=photos)
                errors[name] = np.abs(pixels.astype(float) - written).mean()
            # JPEG changes grey levels by a few; another photo by tens.
            assert errors.pop(split) < 10
            assert min(errors.values()) > 30


@pytest.mark.parametrize("seed", range(4))
def test_background_and_objects_have_the_given_photos_alone(seed: int):
    """One of the two is the background, so the other one is the first object's."""
    with pytest.raises(ValueError, match=r"missing\.png is not"):
        embedded.draw_scene(
            np.random.default_rng(seed), 96, 1, 0, photos=("chelsea.png", "missing.png")
        )


def test_photos_do_not_decide_what_is_drawn_first():
    for i in range(6):
        first, second = (
            embedded.draw_scene(np.random.default_rng(i), 96, 3, i, photos=photos)[1][0]
            for photos in (embedded.TRAINING_PHOTOS, embedded.EVALUATION_PHOTOS)
        )
        for one, other in zip(first.rings, second.rings, strict=True):
            np.testing.assert_array_equal(one, other)


def test_larger_set_begins_with_smaller(tmp_path: Path):
    generate_embedded(tmp_path / "small", **_SMALL)
    generate_embedded(tmp_path / "large", **_SMALL | {"num_train": 9, "num_eval": 3})
    small, large = _contents(tmp_path / "small"), _contents(tmp_path / "large")
    for name in (name for name in small if name.endswith(".jpg")):
        assert small[name] == large[name]
    for key in ("images", "annotations"):
        few = _annotations(tmp_path / "small")[key]
        assert few == _annotations(tmp_path / "large")[key][: len(few)]


def test_polygons_agree_with_drawn_masks():
    polygons = 0
    for item in _scenes(160, 30):
        annotation = embedded._annotation(item)
        decoded = _decode(annotation, 160)
        iou = (decoded & item.visible).sum() / (decoded | item.visible).sum()
        if isinstance(annotation["segmentation"], list):
            polygons += 1
            assert iou > 0.97
        else:
            assert iou == 1
    assert polygons >= 10


def test_coverage_has_the_area_of_the_outline():
    square = np.array([[10.25, 8.5], [30.75, 8.5], [30.75, 20.0], [10.25, 20.0]])
    hole = np.array([[14.0, 10.0], [18.0, 10.0], [18.0, 14.0], [14.0, 14.0]])
    alpha, full_area = cover_pixels([square, hole], 40)
    # 20.5 x 11.5 less 4 x 4; at most a few of the 16 samples of a pixel go astray.
    assert alpha.sum() == pytest.approx(20.5 * 11.5 - 16, abs=0.5)
    assert alpha[15, 20] == 1
    assert alpha[12, 16] == 0
    assert alpha[8, 20] == pytest.approx(0.5, abs=0.13)
    assert full_area == (alpha >= 0.5).sum()


def test_holes_survive_in_ring_masks(drawn_set: Path):
    rings = [a for a in _annotations(drawn_set)["annotations"] if a["category_id"] == 5]
    assert rings
    for annotation in rings:
        # Holes are at least 0.35 of the ring's radius across even where the ring is cut.
        mask = _decode(annotation, 160).astype(np.uint8)
        hull = cv2.convexHull(np.argwhere(mask)[:, ::-1].astype(np.int32))
        assert mask.sum() < 0.9 * cv2.contourArea(hull)


def test_every_category_appears(drawn_set: Path):
    for split in ("train", "eval"):
        found = {a["category_id"] for a in _annotations(drawn_set, split)["annotations"]}
        assert found == {1, 2, 3, 4, 5, 6}
    categories = _annotations(drawn_set)["categories"]
    assert [(c["id"], c["name"]) for c in categories] == list(enumerate(CATEGORIES, start=1))


def test_set_is_read_without_skipping_anything(drawn_set: Path):
    dataset = read_coco(drawn_set / "annotations" / "train.json", drawn_set / "train")
    assert dataset.class_names == CATEGORIES
    assert not any(dataset.skipped.values())
    found = sum(len(image.objects) for image in dataset.images)
    assert found == len(_annotations(drawn_set)["annotations"])


def test_annotations_fit_their_masks(drawn_set: Path):
    coco = _annotations(drawn_set)
    assert [a["id"] for a in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
    for annotation in coco["annotations"]:
        mask = _decode(annotation, 160)
        rows, columns = np.nonzero(mask)
        x, y, w, h = annotation["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == mask.sum()


def test_objects_show_enough_and_do_not_overlap():
    for i in range(30):
        _, objects = embedded.draw_scene(
            np.random.default_rng(i), 128, 6, i % 6, photos=embedded.EVALUATION_PHOTOS
        )
        assert np.sum([item.visible for item in objects], axis=0).max() == 1
        for item in objects:
            assert item.visible.sum() >= max(60, 0.3 * item.full_area)


@pytest.mark.parametrize("category", CATEGORIES)
def test_outline_is_centred_with_unit_longer_side(category: str):
    for seed in range(8):
        outer = draw_outline(category, np.random.default_rng(seed))[0]
        low, high = outer.min(axis=0), outer.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        assert (high - low).max() == pytest.approx(1)


@pytest.mark.parametrize("image_size", [32, 1024])
def test_image_sizes_give_images_of_that_size(tmp_path: Path, image_size: int):
    generate_embedded(tmp_path / "set", **_SMALL | {"image_size": image_size, "num_train": 2})
    image = cv2.imread(str(tmp_path / "set/train/000001.jpg"))
    assert image is not None
    assert image.shape == (image_size, image_size, 3)
    assert _annotations(tmp_path / "set")["images"][1]["height"] == image_size
    assert _annotations(tmp_path / "set")["annotations"]


def test_second_call_writes_nothing_and_other_parameters_replace(tmp_path: Path):
    directory = tmp_path / "set"
    generate_embedded(directory, **_SMALL)
    before = (directory / "train/000000.jpg").stat().st_mtime_ns
    generate_embedded(directory, **_SMALL)
    assert (directory / "train/000000.jpg").stat().st_mtime_ns == before
    generate_embedded(directory, **_SMALL | {"num_train": 1})
    assert len(list((directory / "train").iterdir())) == 1


def test_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_annotation", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate_embedded(tmp_path / "set", **_SMALL)
    # But for the empty file that keeps two processes from drawing at once.
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_size", 31), ("num_train", 0), ("num_eval", 0), ("max_objects", 0), ("seed", -1)],
)
def test_bad_parameter_is_named(tmp_path: Path, name: str, value: int):
    with pytest.raises(ValueError, match=f"{name} must be at least .* got {value}"):
        generate_embedded(tmp_path / "set", **_SMALL | {name: value})
    # But for the empty file that keeps two processes from drawing at once.
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_folder_with_other_files_is_refused(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"):
        generate_embedded(tmp_path, **_SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_target_below_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be writable"):
        generate_embedded(tmp_path / "file" / "set", **_SMALL)
    with pytest.raises(ValueError, match="is a file"):
        generate_embedded(tmp_path / "file", **_SMALL)
