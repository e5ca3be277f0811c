"""Preparing label images: once, whole or not at all, and with a word on what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.records import label_maps as semantic_builder
from pointrend_jax.data.records.label_maps import (
    EvalTruth,
    PreparedMaps,
    check_pixels,
    prepare_maps,
    read_image_and_labels,
)
from pointrend_jax.data.sources.camvid import read_camvid
from pointrend_jax.data.sources.cityscapes import read_cityscapes
from pointrend_jax.structures import IGNORE_LABEL
from tests.data.label_sets import blocks, painted, save_png, write_camvid, write_frame

_LABELS = tuple(blocks((10, 12), seed) for seed in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_camvid(tmp_path / "set", "train", _LABELS)
    return tmp_path / "set"


def _prepare(folder: Path) -> PreparedMaps:
    return prepare_maps(read_camvid(folder, "train"), folder.parent / "cache")


def test_records_hold_the_original_bytes_and_the_classes(folder: Path):
    # 11 is CamVid's void.
    labels = _LABELS[1].copy()
    labels[0, 0] = 11
    save_png(folder / "labels/train/1.png", labels)
    prepared = _prepare(folder)
    assert prepared.source[1]["image"] == (folder / "images/train/1.png").read_bytes()
    image, classes = read_image_and_labels(prepared, 1)
    np.testing.assert_array_equal(image, painted(_LABELS[1], blue=1))
    labels[0, 0] = IGNORE_LABEL
    np.testing.assert_array_equal(classes, labels)


def test_label_image_with_a_palette_is_its_indices(folder: Path):
    palette = Image.fromarray(_LABELS[0], "P")
    palette.putpalette([90, 90, 90, 7, 7, 7])
    palette.save(folder / "labels/train/0.png")
    np.testing.assert_array_equal(read_image_and_labels(_prepare(folder), 0)[1], _LABELS[0])


def test_label_image_of_one_bit_is_zero_and_one(folder: Path):
    Image.fromarray(_LABELS[0] * 255).convert("1").save(folder / "labels/train/0.png")
    np.testing.assert_array_equal(read_image_and_labels(_prepare(folder), 0)[1], _LABELS[0])


def _write_classes(folder: Path, void: int) -> None:
    classes = [{"id": 0, "name": "background"}, {"id": 1, "name": "lesion"}]
    (folder / "classes.json").write_text(json.dumps({"classes": classes, "void": void}))


def test_class_without_a_pixel_is_told(folder: Path, capsys: pytest.CaptureFixture[str]):
    # 255 is meant as the second class, and said to be void.
    for n, labels in enumerate(_LABELS):
        save_png(folder / f"labels/train/{n}.png", np.where(labels == 1, 255, 0).astype(np.uint8))
    _write_classes(folder, void=255)
    share = round(100 * np.mean([labels == 1 for labels in _LABELS]))
    check_pixels("training set", _prepare(folder))
    printed = capsys.readouterr().out
    assert printed.startswith("training set: 1 of 2 classes have no pixel: lesion; ")
    assert f"; {share} % of its pixels are void; if the value of void is meant as" in printed


def test_classes_with_pixels_are_not_told(folder: Path, capsys: pytest.CaptureFixture[str]):
    _write_classes(folder, void=255)
    # In the last image only.
    for n in range(2):
        save_png(folder / f"labels/train/{n}.png", np.zeros((10, 12), np.uint8))
    prepared = _prepare(folder)
    capsys.readouterr()
    check_pixels("training set", prepared)
    assert capsys.readouterr().out == ""


def test_set_of_void_alone_is_an_error(folder: Path):
    for n in range(3):
        save_png(folder / f"labels/train/{n}.png", np.full((10, 12), 255, np.uint8))
    _write_classes(folder, void=255)
    with pytest.raises(ValueError, match=r"set: .* labelled pixels, but 100 % of its .* are void"):
        check_pixels("training set", _prepare(folder))


def test_prepared_set_is_found_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    _prepare(folder)

    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    monkeypatch.setattr(semantic_builder, "decode_image", refuse)
    assert len(_prepare(folder).source) == 3


@pytest.mark.parametrize("changed", ["images", "labels"])
def test_changed_file_is_prepared_anew(changed: str, folder: Path):
    _prepare(folder)
    new = np.ones((10, 12), np.uint8)
    save_png(folder / changed / "train/2.png", new if changed == "labels" else painted(new))
    image, classes = read_image_and_labels(_prepare(folder), 2)
    expected = new if changed == "labels" else _LABELS[2]
    np.testing.assert_array_equal(classes, expected)
    assert (image == 255).any() == (changed == "images" or bool(_LABELS[2].any()))
    assert len(list((folder.parent / "cache").iterdir())) == 2


def test_labels_that_mean_something_else_are_prepared_anew(folder: Path):
    _prepare(folder)
    dataset = read_camvid(folder, "train")
    swapped = dataset._replace(label_values={0: 1, 1: 0})
    prepared = prepare_maps(swapped, folder.parent / "cache")
    np.testing.assert_array_equal(read_image_and_labels(prepared, 0)[1], 1 - _LABELS[0])


def test_all_that_is_wrong_is_named_and_leaves_no_half_set(folder: Path):
    unknown = _LABELS[0].copy()
    unknown[3, 4] = 99
    save_png(folder / "labels/train/0.png", unknown)
    save_png(folder / "labels/train/1.png", _LABELS[1].T)
    save_png(folder / "labels/train/2.png", painted(_LABELS[2]))
    with pytest.raises(ValueError, match="3 of 3 images cannot be used") as error:
        _prepare(folder)
    lines = str(error.value).splitlines()[1:]
    assert "labels/train/0.png has the unknown value(s) [99]" in lines[0]
    assert "labels/train/1.png has 12 x 10 pixels" in lines[1]
    assert "images/train/1.png has 10 x 12" in lines[1]
    assert "labels/train/2.png must have one channel of ids, got 3 (mode RGB)" in lines[2]
    # Once the files are restored, the set is prepared as if nothing had been.
    write_camvid(folder, "train", _LABELS)
    assert len(_prepare(folder).source) == 3


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_truncated_file_is_named(kind: str, folder: Path):
    path = folder / kind / "train/1.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=rf"{kind}/train/1\.png is truncated or damaged"):
        _prepare(folder)


def test_truth_has_labels_and_names_but_no_objects(folder: Path):
    truth = EvalTruth(_prepare(folder))
    assert len(truth) == 3
    for i, labels in enumerate(_LABELS):
        assert truth.name(i) == f"images/train/{i}.png"
        np.testing.assert_array_equal(truth.labels(i), labels)
        assert truth.instance_ids(i) is None


def _cityscapes(root: Path, instance_ids: np.ndarray) -> PreparedMaps:
    write_frame(root / "set", "val", "ulm_000000_000019", instance_ids)
    dataset = read_cityscapes(root / "set", "val")
    return prepare_maps(dataset, root / "cache")


def test_truth_of_cityscapes_has_instance_ids(tmp_path: Path):
    instance_ids = np.full((10, 12), 7, np.int32)
    # The largest value that an object can have, and one whose bytes are no text.
    instance_ids[2:4, 5], instance_ids[0, 0], instance_ids[1, 1] = 33_999, 24, 26_240
    truth = EvalTruth(_cityscapes(tmp_path, instance_ids))
    found = truth.instance_ids(0)
    assert found is not None
    np.testing.assert_array_equal(found, instance_ids)
    assert np.unique(truth.labels(0)).tolist() == [0, 11, 13, 18]


def test_instance_ids_of_another_size_are_named(tmp_path: Path):
    _cityscapes(tmp_path, np.full((10, 12), 7, np.int32))
    path = tmp_path / "set/gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png"
    save_png(path, np.full((5, 6), 7, np.uint16))
    dataset = read_cityscapes(tmp_path / "set", "val")
    with pytest.raises(ValueError, match=r"labelIds\.png has 10 x 12.*instanceIds\.png has 5 x 6"):
        prepare_maps(dataset, tmp_path / "cache")
