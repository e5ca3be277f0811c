"""What a manifest may say: anything else is one sentence, and nothing leads out of the folder."""

import copy
from typing import Any

import pytest

from pointrend_jax.data.records.manifest import FORMAT, parse_manifest
from pointrend_jax.storage import is_file_name

_SHA = "0" * 64
_CONTENT: dict[str, Any] = {
    "format": FORMAT,
    "shards": [
        {"file": "set-train.array_record-00000-of-00001", "key": "a", "records": 3}
        | {"example_bytes": 9, "file_bytes": 20, "sha256": _SHA}
    ],
    "files": {"index-train.json": {"bytes": 7, "sha256": _SHA}},
}
# Of every kind that JSON has.
_VALUES = (None, True, 3, -1, 0.5, "", "x", [], [1], {}, {"a": 1}, float("nan"), 10**30, "\udc00")
_ELSEWHERE = (
    "../../evil.txt",
    "/etc/passwd",
    "..",
    ".",
    "a/b",
    "a\\b",
    ".lock",
    "C:x",
    "a\0",
    "\n",
)


def test_a_manifest_comes_back() -> None:
    manifest = parse_manifest(_CONTENT)
    assert manifest.as_json() == _CONTENT
    assert manifest.all_files() == {
        "set-train.array_record-00000-of-00001": (20, _SHA),
        "index-train.json": (7, _SHA),
    }


@pytest.mark.parametrize("value", _VALUES, ids=ascii)
def test_a_value_of_another_kind_anywhere_is_one_sentence(value: Any) -> None:
    places: list[tuple[Any, ...]] = [(), ("format",), ("shards",), ("shards", 0), ("files",)]
    places += [("shards", 0, field) for field in _CONTENT["shards"][0]]
    places += [("files", "index-train.json"), ("files", "index-train.json", "bytes")]
    places += [("files", "index-train.json", "sha256")]
    for place in places:
        content = _with(place, value)
        # A text or a number where any is right, or nothing at all in a list.
        if _is_right(place, value):
            assert parse_manifest(content).as_json() == content
            continue
        with pytest.raises(ValueError, match=r"^.{,199}$"):
            parse_manifest(content)


def _with(place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    content = copy.deepcopy(_CONTENT)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


def _is_right(place: tuple[Any, ...], value: Any) -> bool:
    match place:
        case ("format",):
            return value == FORMAT
        case ("shards",) | ("files",):
            return value == ([] if place == ("shards",) else {})
        case (*_, "key"):
            return isinstance(value, str)
        case (*_, "file"):
            return value == "x"
        case (*_, "records" | "example_bytes" | "file_bytes" | "bytes"):
            return value in (3, 10**30) and value is not True
    return False


@pytest.mark.parametrize("name", _ELSEWHERE, ids=ascii)
def test_a_name_that_leads_elsewhere_is_refused_wherever_it_stands(name: str) -> None:
    assert not is_file_name(name)
    of_file = _with(("files",), {name: {"bytes": 7, "sha256": _SHA}})
    for content in (of_file, _with(("shards", 0, "file"), name)):
        with pytest.raises(ValueError, match="no name of a file in its folder"):
            parse_manifest(content)


@pytest.mark.parametrize("name", ["index-train.json", _CONTENT["shards"][0]["file"], "é_1.x"])
def test_plain_names_are_taken(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize("name", ["index-train.json", "manifest.json"])
def test_a_file_named_twice_or_the_manifest_itself_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names a file twice, or itself"):
        parse_manifest(_with(("shards", 0, "file"), name))
