"""Cityscapes' objects: exactly those of the instance id maps, in COCO's form."""

import os
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.cityscapes_labels import INSTANCE_CLASSES
from pointrend_jax.data.records.objects import instance_ids, prepare_objects
from pointrend_jax.data.sources import cityscapes_instances
from pointrend_jax.data.sources.cityscapes_instances import objects_of, read_cityscapes_objects
from pointrend_jax.masks.runs import decode_rle
from tests.data.label_sets import save_png, write_frame
from tests.shared import shared_path

_NAME = "ulm_000000_000019"


def _map() -> np.ndarray:
    """A car in two parts, another one, a group of persons, a caravan, on a road."""
    ids = np.full((10, 12), 7, np.int32)
    ids[1:3, 1:5] = 26000
    ids[5:7, 3:4] = 26000
    ids[8, 11] = 26001
    ids[0, 0] = 24
    ids[9, 0:3] = 29000
    return ids


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    write_frame(root, "train", "bonn_000000_000019", np.full((10, 12), 7, np.int32))
    write_frame(root, "train", _NAME, _map())
    return root


def test_objects_are_the_pixels_of_their_ids():
    objects = objects_of(_map())
    assert [(o["category_id"], o["iscrowd"]) for o in objects] == [(24, 1), (26, 0), (26, 0)]
    for found, value in zip(objects, (24, 26000, 26001), strict=True):
        np.testing.assert_array_equal(decode_rle(found["segmentation"]), _map() == value)
    assert [o["bbox"] for o in objects] == [[0, 0, 1, 1], [1, 1, 4, 6], [11, 8, 1, 1]]
    assert [o["area"] for o in objects] == [1, 10, 1]


def test_set_has_the_objects_and_classes_of_the_maps(root: Path, tmp_path: Path):
    dataset = read_cityscapes_objects(root, "train", tmp_path / "cache").dataset
    assert dataset.class_names == INSTANCE_CLASSES
    assert dataset.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    assert [i.file.name for i in dataset.images] == [
        "bonn_000000_000019_leftImg8bit.png",
        f"{_NAME}_leftImg8bit.png",
    ]
    assert [(i.id, i.height, i.width) for i in dataset.images] == [(1, 10, 12), (2, 10, 12)]
    # An image without objects stays: evaluation sees it.
    assert dataset.images[0].objects == ()
    objects = dataset.images[1].objects
    assert [(INSTANCE_CLASSES[o.label], o.is_crowd) for o in objects] == [
        ("person", True),
        ("car", False),
        ("car", False),
    ]
    assert dataset.skipped == {}


def test_instance_ids_travel_with_the_records(root: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    found = read_cityscapes_objects(root, "train", cache)
    assert not prepare_objects(found._replace(instance_files=None), cache).has_instance_ids
    prepared = prepare_objects(found, tmp_path / "other")
    assert prepared.has_instance_ids
    np.testing.assert_array_equal(instance_ids(prepared)(2), _map())
    assert np.unique(instance_ids(prepared)(1)).tolist() == [7]


def test_annotations_are_made_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = read_cityscapes_objects(root, "train", tmp_path / "cache")

    def refuse(_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(cityscapes_instances, "objects_of", refuse)
    again = read_cityscapes_objects(root, "train", tmp_path / "cache")
    assert again.dataset == first.dataset
    assert os.listdir(tmp_path / "cache") == [first.annotations.name]


def test_changed_map_makes_the_annotations_anew(root: Path, tmp_path: Path):
    before = read_cityscapes_objects(root, "train", tmp_path / "cache").dataset
    changed = _map()
    changed[4, 4] = 33000
    write_frame(root, "train", _NAME, changed)
    after = read_cityscapes_objects(root, "train", tmp_path / "cache").dataset
    assert len(after.images[1].objects) == len(before.images[1].objects) + 1


# Beyond the labels, an object of no label, and a map of train ids.
@pytest.mark.parametrize("value", [34, 999, 34_000, 255])
def test_unknown_instance_id_is_named(value: int, root: Path, tmp_path: Path):
    ids = _map()
    ids[4, 4] = value
    path = root / "gtFine" / "train" / "ulm" / f"{_NAME}_gtFine_instanceIds.png"
    save_png(path, ids.astype(np.uint16))
    with pytest.raises(ValueError, match=rf"{_NAME}_gtFine_instanceIds.* \[{value}\]"):
        read_cityscapes_objects(root, "train", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_cache_that_cannot_be_written_is_an_error(root: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot be written.*config\.data\.cache_dir"):
        read_cityscapes_objects(root, "train", tmp_path / "file" / "cache")


def test_objects_of_the_synthetic_set(tmp_path: Path):
    """The numbers are those of the description of the set."""
    dataset = read_cityscapes_objects(
        shared_path("data/cityscapes-fake"), "val", tmp_path / "cache"
    ).dataset
    objects = [o for image in dataset.images for o in image.objects if not o.is_crowd]
    counts = {name: sum(o.label == k for o in objects) for k, name in enumerate(INSTANCE_CLASSES)}
    assert counts == dict(zip(INSTANCE_CLASSES, (12, 3, 11, 2, 3, 4, 3, 5), strict=True))
