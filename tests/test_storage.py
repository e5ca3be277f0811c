"""Paths as people write them, and where things are kept if nobody says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointrend_jax import storage
from pointrend_jax.storage import (
    as_path,
    default_cache_dir,
    is_folder,
    local_path,
    write_parts,
    write_whole,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("POINTREND_JAX_CACHE", raising=False)
    storage._temporary_cache.cache_clear()
    return tmp_path


def test_every_reading_of_a_path_knows_the_home_folder(home: Path) -> None:
    (home / "runs").mkdir()
    assert as_path("~/runs") == local_path("~/runs") == home / "runs"
    assert is_folder("~/runs")
    # Only at the beginning, and only as a whole name.
    assert local_path("a/~/b") == Path("a/~/b")
    assert local_path("./~") == Path("~")


def test_a_home_folder_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'~nobody-of-this-name/x' begins with ~"):
        local_path("~nobody-of-this-name/x")
    with pytest.raises(ValueError, match="begins with ~"):
        as_path("~nobody-of-this-name/x")


def test_the_cache_lies_where_the_environment_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_cache_dir() == home / ".cache" / "pointrend_jax"
    monkeypatch.setenv("POINTREND_JAX_CACHE", "~/elsewhere")
    assert default_cache_dir() == home / "elsewhere"
    monkeypatch.setenv("POINTREND_JAX_CACHE", "")
    assert default_cache_dir() == home / ".cache" / "pointrend_jax"


def test_without_a_home_folder_the_cache_is_a_temporary_one_and_told_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(home))
    # As for a user of a container who has no entry in the list of users.
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    expected = home / f"pointrend_jax-{os.getuid()}"
    assert default_cache_dir() == default_cache_dir() == expected
    assert expected.stat().st_mode & 0o777 == 0o700
    told = capsys.readouterr().err
    assert told.count(str(expected)) == 1
    assert "POINTREND_JAX_CACHE" in told


def test_a_home_that_is_no_folder_is_as_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("HOME", str(home / "file"))
    monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(home))
    assert default_cache_dir().parent == home


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user to whom folders can be closed")
def test_a_home_that_is_closed_is_as_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "closed").mkdir(0)
    monkeypatch.setenv("HOME", str(home / "closed"))
    monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(home))
    assert default_cache_dir().parent == home


def test_a_file_that_is_not_finished_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", b"before")

    def stopped() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parts(tmp_path / "a.json", stopped())
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"before"
