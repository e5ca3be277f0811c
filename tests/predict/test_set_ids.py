"""Ids of a data set: which image a path is, and files that do not say so."""

import json
from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.predict.set_ids import read_set_ids

_IMAGES = [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "sub/a.png"}]


def _file(folder: Path, **content: Any) -> Path:
    path = folder / "set.json"
    path.write_text(json.dumps({"images": _IMAGES} | content))
    return path


def test_a_path_is_the_image_whose_whole_name_it_ends_with(tmp_path: Path) -> None:
    ids = read_set_ids(_file(tmp_path, categories=[{"id": 9, "name": "cat"}]))
    names = ids.match([Path("/x/sub/a.png"), Path("/x/a.png")])
    assert [ids.images[name] for name in names] == [3, 7]
    assert ids.categories == {"cat": 9}


def test_a_name_may_be_written_otherwise_than_the_file_s(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "sub\\cafe\u0301.png"}, {"id": 3, "file_name": "a.png"}]
    ids = read_set_ids(_file(tmp_path, images=images))
    names = ids.match([Path("/x/sub/caf\u00e9.png"), Path("/x/a.png")])
    assert [ids.images[name] for name in names] == [7, 3]


def test_a_test_set_needs_neither_annotations_nor_categories(tmp_path: Path) -> None:
    assert read_set_ids(_file(tmp_path)).categories == {}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["b.png", "x/a.png"], r"1 of 2 images are not in .*b\.png"),
        (["a.png", "x/a.png"], "several"),
    ],
)
def test_images_of_no_or_one_entry_are_refused(
    paths: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_set_ids(_file(tmp_path)).match([Path(path) for path in paths])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, 'list of "images"'),
        ({"images": [{"id": 1.0, "file_name": "a"}]}, "integer"),
        ({"images": [{"id": True, "file_name": "a"}]}, "integer"),
        ({"images": [3]}, "integer"),
        ({"images": [_IMAGES[0], {"id": 7, "file_name": "b"}]}, '"id" of each'),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, '"name" of each'),
        ({"categories": {"id": 1}}, "integer"),
    ],
)
def test_files_that_do_not_say_the_ids_are_refused(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_set_ids(_file(tmp_path, **content))


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_files_that_are_no_json_of_a_set_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"set\.json"):
        read_set_ids(tmp_path / "set.json")
