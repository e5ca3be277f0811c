"""A name becomes a file in the cache, and stays the file that it was."""

import errno
import hashlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pointrend_jax.importers.download import resolve_weights
from pointrend_jax.storage import sha256
from tests.importers.weight_server import PATIENT, WeightServer, weight_server

ADDRESS = "detectron2://PointRend/w.pkl"


@pytest.fixture
def server() -> Iterator[WeightServer]:
    with weight_server() as state:
        yield state


def _resolve(server: WeightServer, cache: Path) -> Path:
    return resolve_weights(ADDRESS, cache_dir=cache, base_url=server.url, policy=PATIENT)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_local_file_is_returned_as_it_is(tmp_path: Path):
    file = tmp_path / "w.pkl"
    file.write_bytes(b"weights")
    assert resolve_weights(str(file), cache_dir=tmp_path / "cache") == file
    assert not (tmp_path / "cache").exists()


def test_local_file_wins_over_a_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("mask_rcnn_r50_fpn_1x_coco").write_bytes(b"weights")
    assert resolve_weights("mask_rcnn_r50_fpn_1x_coco") == Path("mask_rcnn_r50_fpn_1x_coco")


def test_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="is a folder; name its file"):
        resolve_weights(str(tmp_path))


@pytest.mark.parametrize("name", ["missing.pkl", "x" * 300, "nul\0.pkl"])
def test_file_that_does_not_exist_is_refused_with_what_is_accepted(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r"detectron2://.*no such file.*mask_rcnn_r50"):
        resolve_weights(str(tmp_path / name))


def test_download_lies_under_its_host_and_path(server: WeightServer, tmp_path: Path):
    path = _resolve(server, tmp_path)
    host = server.url.split("/")[2].replace(":", "_")
    assert path == tmp_path / "weights" / host / "PointRend" / "w.pkl"
    assert path.read_bytes() == server.content


def test_url_is_downloaded(server: WeightServer, tmp_path: Path):
    path = resolve_weights(server.url + "a/b.pth", cache_dir=tmp_path, policy=PATIENT)
    assert path.read_bytes() == server.content


def test_download_leaves_only_file_digest_and_lock(server: WeightServer, tmp_path: Path):
    server.faults = ["truncate"]
    path = _resolve(server, tmp_path)
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["w.pkl", "w.pkl.lock", "w.pkl.sha256"]


def test_second_use_asks_no_server(server: WeightServer, tmp_path: Path):
    first = _resolve(server, tmp_path)
    assert _resolve(server, tmp_path) == first
    assert server.ranges == [""]


def test_recorded_digest_is_what_sha256sum_checks(server: WeightServer, tmp_path: Path):
    path = _resolve(server, tmp_path)
    command = ["sha256sum", "--check", "--status", "w.pkl.sha256"]
    assert subprocess.run(command, cwd=path.parent, check=False).returncode == 0
    assert path.with_name("w.pkl.sha256").read_text().startswith(_digest(server.content))


def test_file_damaged_in_the_cache_is_refused_until_deleted(server: WeightServer, tmp_path: Path):
    path = _resolve(server, tmp_path)
    path.write_bytes(server.content[:-1] + b"?")
    pattern = rf"{sha256(path)}[^0-9]*{_digest(server.content)}.*delete it to download it again"
    with pytest.raises(ValueError, match=f"(?s){path}.*{pattern}"):
        _resolve(server, tmp_path)
    path.unlink()
    assert _resolve(server, tmp_path).read_bytes() == server.content


def test_other_bytes_at_a_second_download_are_refused_and_not_kept(
    server: WeightServer, tmp_path: Path
):
    path = _resolve(server, tmp_path)
    recorded = _digest(server.content)
    path.unlink()
    server.content = b"other weights"
    with pytest.raises(ValueError, match=f"(?s){_digest(server.content)}.*{recorded}.*delete"):
        _resolve(server, tmp_path)
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["w.pkl.lock", "w.pkl.sha256"]
    # What the message says to do.
    path.with_name("w.pkl.sha256").unlink()
    assert _resolve(server, tmp_path).read_bytes() == b"other weights"


def test_file_put_into_the_cache_by_hand_is_recorded_and_then_checked(
    server: WeightServer, tmp_path: Path
):
    path = _resolve(server, tmp_path)
    path.with_name("w.pkl.sha256").unlink()
    path.write_bytes(b"by hand")
    assert _resolve(server, tmp_path).read_bytes() == b"by hand"
    path.write_bytes(b"changed")
    with pytest.raises(ValueError, match="damaged or replaced"):
        _resolve(server, tmp_path)


def test_record_that_is_no_digest_is_refused(server: WeightServer, tmp_path: Path):
    path = _resolve(server, tmp_path)
    path.with_name("w.pkl.sha256").write_text("")
    with pytest.raises(ValueError, match="delete it to record it anew"):
        _resolve(server, tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "../w.pkl",
        "a/../../w.pkl",
        "a//w.pkl",
        "/etc/passwd",
        "",
        "a/",
        ".hidden/w.pkl",
        "a/%2e%2e/w.pkl",
        "a\\..\\w.pkl",
        "w.pkl?download=true",
        "w.pkl?" + "x" * 300,
        "w.pkl#part",
        "a b.pkl",
        "w\n.pkl",
        "w.pkl.sha256",
        "w.pkl.part",
        "x" * 201,
    ],
)
def test_address_that_is_no_plain_path_is_refused_unasked(
    server: WeightServer, tmp_path: Path, path: str
):
    for base in ("detectron2://", server.url):
        with pytest.raises(ValueError, match=r"plain names.*pass its path"):
            resolve_weights(base + path, cache_dir=tmp_path, base_url=server.url, policy=PATIENT)
    assert server.ranges == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["user:secret@weights.invalid", "", ".."])
def test_host_that_is_no_plain_name_is_refused(tmp_path: Path, host: str):
    with pytest.raises(ValueError, match="plain names"):
        resolve_weights(f"https://{host}/w.pkl", cache_dir=tmp_path, policy=PATIENT)


def test_plain_http_elsewhere_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="over https"):
        resolve_weights("http://weights.invalid/w.pkl", cache_dir=tmp_path, policy=PATIENT)


def test_many_at_once_download_once(server: WeightServer, tmp_path: Path):
    server.faults = ["slow"] * 4
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(_resolve(server, tmp_path).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [server.content] * 4
    assert server.ranges == [""]


def test_cache_that_cannot_be_written_is_an_os_error_that_says_so(
    server: WeightServer, tmp_path: Path
):
    (tmp_path / "weights").write_text("a file where a folder must be")
    with pytest.raises(OSError, match=r"cache folder.*cannot be used.*POINTREND_JAX_CACHE"):
        _resolve(server, tmp_path)


def test_full_disk_is_an_os_error_that_says_how_much_is_needed(
    server: WeightServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=rf"{len(server.content)} bytes.*free some space") as caught:
        _resolve(server, tmp_path)
    assert caught.value.errno == errno.ENOSPC
