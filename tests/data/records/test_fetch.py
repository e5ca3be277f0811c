"""What a manifest from elsewhere may bring to this machine."""

import json
from pathlib import Path

import pytest

from pointrend_jax.data.records import fetch as module
from pointrend_jax.data.records.fetch import fetch_records


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as a bucket, whose manifest names a file two folders up."""
    monkeypatch.setattr(module, "is_remote", lambda _: True)
    folder = tmp_path / "a" / "b" / "set"
    folder.mkdir(parents=True)
    (tmp_path / "a" / "evil.txt").write_text("evil")
    note = {
        "bytes": 4,
        "sha256": "4e8d1ae8dda2a0b8ea1ea1b5a0a8e3ae2ab3c8d2b8d6f0a0c2d1a7a2a5f5c9e0",
    }
    manifest = {"format": 3, "shards": [], "files": {"../../evil.txt": note}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_nothing_is_written_outside_the_fetched_folder(stranger: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"names '../../evil.txt', which is no name of a file"):
        fetch_records(stranger, tmp_path / "cache" / "deep")
    assert sorted(tmp_path.rglob("*")) == before
