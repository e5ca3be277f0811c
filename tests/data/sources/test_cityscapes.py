"""Cityscapes' folders and zip files, and every way in which they are incomplete."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.cityscapes_labels import CLASSES, INSTANCE_CLASSES
from pointrend_jax.data.sources.cityscapes import read_cityscapes
from pointrend_jax.structures import IGNORE_LABEL
from tests.data.label_sets import write_frame, zip_folder
from tests.shared import shared_path

# Paths sort "aachen" first, texts and therefore zip files "aachen-west".
_NAMES = ("aachen-west_000001_000019", "aachen_000000_000019", "aachen_000002_000019")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for n, name in enumerate(_NAMES):
        write_frame(root, "train", name, np.full((10, 12 + n), 7, np.int32))
    write_frame(root, "val", "ulm_000000_000019", np.full((10, 12), 7, np.int32))
    return root


def _labels(root: Path, name: str, kind: str = "labelIds") -> Path:
    return root / "gtFine" / "train" / name.split("_")[0] / f"{name}_gtFine_{kind}.png"


def _image(root: Path, name: str) -> Path:
    return root / "leftImg8bit" / "train" / name.split("_")[0] / f"{name}_leftImg8bit.png"


def test_frames_come_by_name_with_their_files(root: Path):
    dataset = read_cityscapes(root, "train")
    assert [image.name for image in dataset.images] == sorted(_NAMES)
    for image in dataset.images:
        assert image.image.path == _image(root, image.name)
        assert image.labels.path == _labels(root, image.name)
        assert image.instance_ids is not None
        assert image.instance_ids.path == _labels(root, image.name, "instanceIds")
    assert {(i.name, i.height, i.width) for i in dataset.images} == {
        (name, 10, 12 + n) for n, name in enumerate(_NAMES)
    }
    assert len(read_cityscapes(root, "val").images) == 1


def test_label_ids_become_train_ids(root: Path):
    dataset = read_cityscapes(root, "train")
    assert dataset.class_names == CLASSES
    values = dataset.label_values
    # A few by hand (cityscapesscripts, helpers/labels.py), and of the others the number.
    by_hand = {"road": 7, "wall": 12, "pole": 17, "traffic light": 19, "sky": 23, "train": 31}
    assert {name: dataset.class_names[values[i]] for name, i in by_hand.items()} == {
        name: name for name in by_hand
    }
    assert sorted(values) == list(range(34))
    assert sorted(k for k in values.values() if k != IGNORE_LABEL) == list(range(19))
    # Caravan and trailer have instances, but are not evaluated.
    assert values[29] == values[30] == values[0] == IGNORE_LABEL
    assert tuple(dataset.class_names[k] for k in dataset.instance_classes) == INSTANCE_CLASSES


def test_the_classes_whose_objects_are_told_apart_are_the_eight_of_the_benchmark() -> None:
    eight = "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"
    assert eight == INSTANCE_CLASSES
    # They are the last of the nineteen.
    assert len(CLASSES) == 19
    assert CLASSES[11:] == eight


@pytest.mark.parametrize("zipped", [("leftImg8bit", "gtFine"), ("gtFine",)])
def test_zip_files_are_the_same_as_the_folders(zipped: tuple[str, ...], root: Path):
    expected = read_cityscapes(root, "train")
    for folder in zipped:
        zip_folder(root / folder, root / f"{folder}_trainvaltest.zip")
        (root / folder).rename(root / f"other_{folder}")
    found = read_cityscapes(root, "train")
    assert [i.name for i in found.images] == [i.name for i in expected.images]
    for one in found.images:
        moved = Path(str(_labels(root, one.name)).replace("/gtFine/", "/other_gtFine/"))
        assert one.labels.member
        assert one.labels.read_bytes() == moved.read_bytes()


def test_hidden_files_are_no_images(root: Path):
    (_image(root, _NAMES[0]).parent / f"._{_NAMES[0]}_leftImg8bit.png").write_bytes(b"macOS")
    assert len(read_cityscapes(root, "train").images) == 3


def _only_train_ids(root: Path) -> None:
    for name in _NAMES:
        _labels(root, name).rename(_labels(root, name, "labelTrainIds"))


def _no_city(root: Path) -> None:
    _image(root, _NAMES[0]).rename(root / "leftImg8bit" / "train" / "x_leftImg8bit.png")


def _two_cities(root: Path) -> None:
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "train" / "bonn").mkdir()
        for path in (root / folder / "train" / "aachen-west").iterdir():
            (root / folder / "train" / "bonn" / path.name).write_bytes(path.read_bytes())


def _no_images(root: Path) -> None:
    for name in _NAMES:
        _image(root, name).unlink()


_ERRORS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no image folder", lambda r: (r / "leftImg8bit").rename(r / "x"), "leftImg8bit_trainvaltest"),
    ("no annotations", lambda r: (r / "gtFine").rename(r / "x"), "gtFine_trainvaltest.*neither"),
    ("no images", _no_images, r"has no images leftImg8bit/train/CITY/\*_leftImg8bit\.png"),
    ("image without a city", _no_city, r"leftImg8bit/train/CITY; 1 do.*x_leftImg8bit\.png"),
    ("frame in two cities", _two_cities, "in several: aachen-west_000001_000019"),
    (
        "image without labels",
        lambda r: _labels(r, _NAMES[0]).unlink(),
        r"1 of 3 images have no file \*_gtFine_labelIds.*aachen-west_000001_000019_gtFine_labelIds",
    ),
    (
        "image without instance ids",
        lambda r: _labels(r, _NAMES[0], "instanceIds").unlink(),
        r"1 of 3 images have no file \*_gtFine_instanceIds",
    ),
    ("labels without image", lambda r: _image(r, _NAMES[0]).unlink(), "1 of 3 .*have no image"),
    ("train ids", _only_train_ids, r"3 of 3 .*\(\*_gtFine_labelTrainIds\.png\) cannot stand in"),
    (
        "labels no image file",
        lambda r: _labels(r, _NAMES[0]).write_bytes(b"x"),
        r"aachen-west_000001_000019_gtFine_labelIds\.png is not an image",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_incomplete_set_is_an_error(change: Callable[[Path], object], message: str, root: Path):
    change(root)
    with pytest.raises(ValueError, match=message):
        read_cityscapes(root, "train")


def test_test_split_is_an_error(root: Path):
    with pytest.raises(ValueError, match="must be 'train' or 'val', got 'test'"):
        read_cityscapes(root, "test")


def test_damaged_zip_is_an_error(root: Path):
    (root / "gtFine").rename(root / "x")
    (root / "gtFine_trainvaltest.zip").write_bytes(b"half a download")
    with pytest.raises(ValueError, match=r"gtFine_trainvaltest\.zip cannot be read"):
        read_cityscapes(root, "train")


def test_the_synthetic_set():
    root = shared_path("data/cityscapes-fake")
    train, val = read_cityscapes(root, "train"), read_cityscapes(root, "val")
    assert [len(train.images), len(val.images)] == [6, 4]
    assert {(i.height, i.width) for i in train.images + val.images} == {(256, 512)}
