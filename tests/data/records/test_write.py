"""Record files: the same bytes however often the writing was interrupted, and no half set."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pointrend_jax.data.records.fetch import fetch_records, verify_records
from pointrend_jax.data.records.layout import (
    ImageFacts,
    RecordSet,
    Split,
    is_complete,
    open_split,
    read_manifest,
)
from pointrend_jax.data.records.write import write_records

_FEATURES = tfds.features.FeaturesDict(
    # Several features: the order in which a proto stores them must not matter.
    {name: tfds.features.Text() for name in ("text", "other", "third")} | {"number": np.int64}
)


class _StopError(Exception):
    """As if killed."""


def _content(
    number: int = 10,
    *,
    changed: int | None = None,
    bad: tuple[int, ...] = (),
    stop_at: int | None = None,
    seen: list[int] | None = None,
) -> RecordSet:
    """Two splits; example i of "train" is what its key says."""

    def check(i: int) -> dict[str, Any] | str:
        if seen is not None:
            seen.append(i)
        if i == stop_at:
            raise _StopError
        if i in bad:
            return f"image {i} is damaged"
        text = key(i)
        return {"text": text, "other": text[::-1], "third": "", "number": i}

    def key(i: int) -> str:
        return f"content {i}{' anew' if i == changed else ''}"

    facts = tuple(ImageFacts(i, f"{i}.png", 4, 6, (i % 3,) * (i % 2)) for i in range(number))
    split = Split(facts, key, check)
    few = Split(facts[:2], key, check)
    return RecordSet("some_set", _FEATURES, {"kind": "texts"}, {"train": split, "val": few})


def _edit(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def _rewrite(folder: Path, name: str, text: str) -> None:
    """Another content, which the manifest agrees to."""
    (folder / name).write_text(text)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    checksum = hashlib.sha256(text.encode()).hexdigest()
    _edit(folder, files=files | {name: {"bytes": len(text), "sha256": checksum}})


def _flip(folder: Path, name: str) -> None:
    """Changes a bit in the middle of a file."""
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def _forget(folder: Path, name: str) -> None:
    """The manifest does not speak of a file."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    _edit(folder, files={n: note for n, note in files.items() if n != name})


def _replace(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    _rewrite(folder, name, text.replace(old, new))


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_tfds_opens_what_was_written(tmp_path: Path) -> None:
    write_records(_content(), tmp_path, images_per_shard=3)
    builder: Any = tfds.builder_from_directory(str(tmp_path))
    assert builder.info.splits["train"].num_examples == 10
    assert builder.info.splits["train"].shard_lengths == [2, 3, 2, 3]
    source = builder.as_data_source("train")
    assert [int(source[i]["number"]) for i in range(10)] == list(range(10))
    assert source[7]["text"] == b"content 7"
    assert len(builder.as_data_source("val")) == 2


def test_index_and_meaning_come_back(tmp_path: Path) -> None:
    content = _content()
    write_records(content, tmp_path)
    opened = open_split(tmp_path, "train", "texts")
    assert opened.images == content.splits["train"].facts
    assert opened.metadata == {"kind": "texts"}
    with pytest.raises(ValueError, match=r"no split 'test'; it has 'train', 'val'"):
        open_split(tmp_path, "test", "texts")
    with pytest.raises(ValueError, match=r"must hold label maps, .* got 'texts'; give another"):
        open_split(tmp_path, "train", "label maps")


@pytest.mark.parametrize("stop_at", [0, 4, 9])
def test_an_interrupted_set_goes_on_with_its_shard_and_has_the_same_bytes(
    tmp_path: Path, stop_at: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_records(_content(), whole, images_per_shard=3)
    with pytest.raises(_StopError):
        write_records(_content(stop_at=stop_at), parts, images_per_shard=3)
    assert not is_complete(parts)
    # What a process leaves that is killed while it writes.
    (parts / ".some_set-train.array_record-00003-of-00004.4711").write_bytes(b"half")
    seen: list[int] = []
    write_records(_content(seen=seen), parts, images_per_shard=3)
    first_of_its_shard = {0: 0, 4: 2, 9: 7}[stop_at]
    assert min(seen[:-2]) == first_of_its_shard
    assert _files(parts) == _files(whole)


def test_a_shard_of_a_changed_image_is_written_anew_and_others_are_kept(tmp_path: Path) -> None:
    with pytest.raises(_StopError):
        write_records(_content(stop_at=9), tmp_path, images_per_shard=3)
    seen: list[int] = []
    write_records(_content(changed=1, seen=seen), tmp_path, images_per_shard=3)
    assert sorted(set(seen[:-2])) == [0, 1, 7, 8, 9]
    assert open_split(tmp_path, "train", "texts").source[1]["text"] == b"content 1 anew"


def test_a_shard_that_was_cut_short_is_written_anew(tmp_path: Path) -> None:
    with pytest.raises(_StopError):
        write_records(_content(stop_at=9), tmp_path, images_per_shard=3)
    shard = tmp_path / "some_set-train.array_record-00000-of-00004"
    shard.write_bytes(shard.read_bytes()[:100])
    write_records(_content(), tmp_path, images_per_shard=3)
    assert verify_records(tmp_path) == []


def test_shards_of_another_size_do_not_stay(tmp_path: Path) -> None:
    with pytest.raises(_StopError):
        write_records(_content(stop_at=9), tmp_path, images_per_shard=3)
    # A folder of the file system's own.
    (tmp_path / ".snapshot").mkdir()
    write_records(_content(), tmp_path, images_per_shard=5)
    names = {p.name for p in tmp_path.glob("*array_record*")}
    assert names == {note.file for note in read_manifest(tmp_path).shards}
    assert len(names) == 3


def test_all_damaged_images_are_listed_and_whole_shards_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 of 12 .*\n  image 4 is damaged\n  image 9 is damaged"):
        write_records(_content(bad=(4, 9)), tmp_path, images_per_shard=3)
    assert not is_complete(tmp_path)
    with pytest.raises(ValueError, match="holds no complete set"):
        read_manifest(tmp_path)
    seen: list[int] = []
    write_records(_content(seen=seen), tmp_path, images_per_shard=3)
    assert sorted(seen) == [2, 3, 4, 7, 8, 9]


def test_a_complete_set_is_left_alone_unless_it_is_another(tmp_path: Path) -> None:
    write_records(_content(), tmp_path)
    seen: list[int] = []
    write_records(_content(seen=seen), tmp_path)
    assert seen == []
    with pytest.raises(ValueError, match="another state of the set"):
        write_records(_content(changed=3), tmp_path)


def test_verifying_names_every_damaged_file(tmp_path: Path) -> None:
    write_records(_content(), tmp_path, images_per_shard=3)
    shard, index = "some_set-train.array_record-00001-of-00004", "index-val.json"
    content = bytearray((tmp_path / shard).read_bytes())
    content[-1] ^= 1
    (tmp_path / shard).write_bytes(content)
    (tmp_path / index).unlink()
    problems = verify_records(tmp_path)
    assert len(problems) == 2
    assert any(shard in p and "checksum" in p for p in problems)
    assert any(index in p and "missing" in p for p in problems)


def test_record_files_of_this_machine_are_not_copied(tmp_path: Path) -> None:
    assert fetch_records(tmp_path, tmp_path / "cache") == tmp_path
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be used"),
        (lambda folder: _rewrite(folder, "index-train.json", "[]"), r"index-train\.json cannot"),
        (
            lambda folder: _rewrite(
                folder, "index-train.json", json.dumps({k: [] for k in ImageFacts._fields})
            ),
            "10 records of 'train' and 0 images",
        ),
        (
            lambda folder: next(folder.glob("*-train.array_record*")).unlink(),
            "1 files of .* are missing or cut short: some_set-train",
        ),
        (
            lambda folder: next(folder.glob("*-val.array_record*")).write_bytes(b"cut"),
            "1 files of .* are missing or cut short: some_set-val",
        ),
        (lambda folder: _edit(folder, format=99), "has format 99, this program reads"),
        (lambda folder: _flip(folder, "index-train.json"), "another checksum .*: index-train.json"),
        (lambda folder: _flip(folder, "features.json"), r"another checksum .*: features\.json"),
        (lambda folder: _flip(folder, "metadata.json"), r"another checksum .*: metadata\.json"),
        (lambda folder: _flip(folder, "dataset_info.json"), "another checksum .*: dataset_info"),
        (lambda folder: _forget(folder, "index-train.json"), "vouches for no index-train.json"),
        (lambda folder: _forget(folder, "features.json"), r"vouches for no features\.json"),
        (
            lambda folder: _replace(folder, "features.json", "tensorflow_datasets.core.", "this."),
            "descriptions .* names the class 'this.features",
        ),
        (
            lambda folder: _replace(folder, "dataset_info.json", "{DATASET}-", "../"),
            "dataset_info.json names other record files",
        ),
        (
            lambda folder: _replace(folder, "dataset_info.json", "filepathTemplate", "no such"),
            "descriptions in .* cannot be read",
        ),
    ],
)
def test_damaged_descriptions_are_named(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    write_records(_content(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_split(tmp_path, "train", "texts")


def test_a_set_that_was_written_before_its_last_file_had_a_checksum_is_read(tmp_path: Path) -> None:
    write_records(_content(), tmp_path)
    _forget(tmp_path, "dataset_info.json")
    assert len(open_split(tmp_path, "train", "texts").source) == 10


@pytest.mark.parametrize("name", ["", "../set", "a/b", ".set", "set\n"])
def test_a_set_without_a_name_fit_for_files_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must have a name that is fit for files"):
        write_records(_content()._replace(name=name), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_note_of_a_shard_that_is_none_costs_the_shard(tmp_path: Path) -> None:
    with pytest.raises(_StopError):
        write_records(_content(stop_at=9), tmp_path, images_per_shard=3)
    notes = sorted(tmp_path.glob("*.done.json"))
    notes[0].write_text("[]")
    notes[1].write_text(json.dumps(json.loads(notes[1].read_text()) | {"file": "../evil"}))
    seen: list[int] = []
    write_records(_content(seen=seen), tmp_path, images_per_shard=3)
    assert sorted(seen[:-2]) == [0, 1, 2, 3, 4, 7, 8, 9]
    assert verify_records(tmp_path) == []
