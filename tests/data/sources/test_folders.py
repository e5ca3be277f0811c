"""Files in folders and zip files: the same either way, and damage is named."""

import os
import zipfile
from pathlib import Path

import pytest

from pointrend_jax.data.sources.folders import (
    StoredFile,
    find_below,
    folder_files,
    read_text,
    zip_files,
)
from tests.data.label_sets import zip_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "deep" / "er" / "b.txt").write_text("twö")
    return folder


def _zip(folder: Path) -> Path:
    archive = folder.parent / "set.zip"
    zip_folder(folder, archive)
    return archive


def test_zip_has_the_files_of_its_folder(folder: Path):
    in_folder, in_zip = folder_files(folder.parent, "set"), zip_files(_zip(folder))
    assert list(in_folder) == ["set/a.txt", "set/deep/er/b.txt"]
    assert {n: f.read_bytes() for n, f in in_folder.items()} == {
        n: f.read_bytes() for n, f in in_zip.items()
    }
    assert [f.name for f in in_zip.values()] == [f.name for f in in_folder.values()]
    assert read_text(in_zip["set/deep/er/b.txt"]) == "twö"


def test_error_names_the_file_inside_the_zip(folder: Path):
    archive = _zip(folder)
    data = bytearray(archive.read_bytes())
    # Behind the 30 bytes of its header and its name lies the first file.
    data[30 + len("set/a.txt")] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"set\.zip:set/a\.txt cannot be read"):
        zip_files(archive)["set/a.txt"].read_bytes()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 and the rest is missing"])
def test_damaged_zip_is_named(content: bytes, tmp_path: Path):
    (tmp_path / "broken.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.zip cannot be read.*download it again"):
        zip_files(tmp_path / "broken.zip")


def test_truncated_zip_is_named(folder: Path):
    archive = _zip(folder)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"set\.zip cannot be read"):
        zip_files(archive)


def test_zip_with_a_name_twice_is_an_error(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
        file.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.txt", "two")
    with pytest.raises(ValueError, match="has a file name twice"):
        zip_files(tmp_path / "twice.zip")


def test_member_that_would_fill_the_memory_is_refused(tmp_path: Path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("zeros", "w") as member,
    ):
        for _ in range(257):
            member.write(bytes(2**20))
    with pytest.raises(ValueError, match="at most 268435456 bytes, got 269484032"):
        zip_files(tmp_path / "bomb.zip")["zeros"].read_bytes()


def test_replaced_zip_is_read_anew(folder: Path):
    archive = _zip(folder)
    before = zip_files(archive)["set/a.txt"]
    fingerprint = before.fingerprint()
    (folder / "a.txt").write_text("another text")
    _zip(folder)
    after = zip_files(archive)["set/a.txt"]
    assert after.read_bytes() == b"another text"
    assert after.fingerprint() != fingerprint


def test_fingerprint_changes_with_the_file(folder: Path):
    file = StoredFile(folder / "a.txt")
    seen = {file.fingerprint()}
    os.utime(file.path, ns=(1, 1))
    seen.add(file.fingerprint())
    file.path.write_text("more than one")
    seen.add(file.fingerprint())
    assert len(seen) == 3


def test_file_that_is_gone_is_named(tmp_path: Path):
    gone = StoredFile(tmp_path / "gone.png")
    assert not gone.exists()
    with pytest.raises(ValueError, match=r"gone\.png cannot be read \(No such file"):
        gone.read_bytes()
    with pytest.raises(ValueError, match=r"gone\.zip:a cannot be read \(No such file"):
        StoredFile(tmp_path / "gone.zip", "a").read_bytes()


def test_text_of_another_encoding_is_named(tmp_path: Path):
    (tmp_path / "latin.txt").write_bytes("Straße".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt must be UTF-8"):
        read_text(StoredFile(tmp_path / "latin.txt"))


@pytest.mark.parametrize("name", ["\ufeffa.png", "a\u200b.png", "caf\udce9.png", "a\nb"])
def test_what_the_eye_would_miss_of_a_file_is_quoted(name: str):
    assert ascii(name)[1:-1] in str(StoredFile(Path("folder") / name))


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", ""])
def test_name_that_no_file_can_have_does_not_exist(name: str, tmp_path: Path):
    assert not StoredFile(tmp_path / name).exists()


@pytest.mark.parametrize("name", ["a\\caf\u00e9.png", "a/cafe\u0301.png", "a\\cafe\u0301.png"])
def test_other_spelling_of_a_name_is_found(name: str, tmp_path: Path):
    (tmp_path / "a").mkdir()
    for stored in ("a/caf\u00e9.png", "a/cafe\u0301.png"):
        (tmp_path / stored).touch()
        found = find_below(tmp_path, name)
        assert found.exists()
        # The spelling itself goes first.
        assert found == StoredFile(tmp_path / name) or not (tmp_path / name).exists()
        (tmp_path / stored).unlink()
    assert find_below(tmp_path, name) == StoredFile(tmp_path / name)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    real, root = tmp_path / "disk" / "images", tmp_path / "set"
    real.mkdir(parents=True)
    root.mkdir()
    (real / "a.png").touch()
    (root / "images").symlink_to(real)
    (real / "back").symlink_to(real)
    assert set(folder_files(root)) == {"images/a.png"}


def test_folders_linked_into_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").touch()
        (tmp_path / name / "other").symlink_to(tmp_path / other)
    (tmp_path / "alias").symlink_to(tmp_path / "a")
    assert list(folder_files(tmp_path)) == [
        *("a/a.png", "a/other/b.png"),
        *("alias/a.png", "alias/other/b.png"),
        *("b/b.png", "b/other/a.png"),
    ]


def test_net_of_links_is_an_error(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / name).mkdir()
        for other in "abcdef":
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    with pytest.raises(ValueError, match=r"lead into the folder .* from more than 64 places"):
        folder_files(tmp_path)
