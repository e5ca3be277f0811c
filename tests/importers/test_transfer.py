"""A file arrives whole and unmixed over connections that break."""

import errno
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pointrend_jax.importers import transfer as transfer_module
from pointrend_jax.importers.transfer import TransferPolicy, check_url, discard, transfer
from tests.importers.weight_server import HASTY, PATIENT, Fault, WeightServer, weight_server


@pytest.fixture
def server() -> Iterator[WeightServer]:
    with weight_server() as state:
        yield state


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "w.pkl.part"


def _interrupt(server: WeightServer, part: Path) -> int:
    """Leaves a part as the end of a process does; returns its size."""
    server.faults = ["truncate"]
    with pytest.raises(ValueError, match="could not be downloaded"):
        transfer(server.url, part, policy=PATIENT._replace(tries=1))
    server.ranges.clear()
    return part.stat().st_size


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_broken_connection_is_resumed_at_its_last_byte(
    server: WeightServer, part: Path, fault: Fault
):
    server.faults = [fault]
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content
    assert server.ranges == ["", f"bytes={len(server.content) // 2}-"]


def test_silent_connection_is_left_and_resumed(server: WeightServer, part: Path):
    server.faults = ["stall"]
    transfer(server.url, part, policy=HASTY)
    assert part.read_bytes() == server.content
    assert server.ranges[1] == f"bytes={len(server.content) // 2}-"


def test_part_of_an_earlier_process_is_continued(server: WeightServer, part: Path):
    size = _interrupt(server, part)
    transfer(server.url, part, policy=PATIENT)
    assert server.ranges == [f"bytes={size}-"]
    assert part.read_bytes() == server.content


def test_server_that_ignores_ranges_is_read_from_the_start(server: WeightServer, part: Path):
    server.faults = ["truncate", "ignore_range"]
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content


@pytest.mark.parametrize(("faults", "requests"), [([], 1), (["ignore_if_range"], 2)])
def test_file_that_changes_between_two_halves_is_not_mixed(
    server: WeightServer, part: Path, faults: list[Fault], requests: int
):
    _interrupt(server, part)
    # As long as before: only the ETag tells them apart.
    server.content, server.etag = bytes(len(server.content)), '"two"'
    server.faults = list(faults)
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content
    assert len(server.ranges) == requests


def test_other_range_than_asked_for_is_not_appended(server: WeightServer, part: Path):
    server.faults = ["truncate", "wrong_range"]
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content
    assert server.ranges[2] == ""


def test_range_that_the_server_refuses_starts_anew(server: WeightServer, part: Path):
    _interrupt(server, part)
    server.faults = ["416"]
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content
    assert server.ranges[1] == ""


def test_part_that_nothing_identifies_is_not_continued(server: WeightServer, part: Path):
    server.faults = ["no_validator"]
    transfer(server.url, part, policy=PATIENT)
    assert server.ranges == ["", ""]
    assert part.read_bytes() == server.content


def test_part_whose_version_was_cut_off_is_not_continued(server: WeightServer, part: Path):
    _interrupt(server, part)
    version = part.with_name(part.name + ".etag")
    version.write_text(version.read_text()[:2])
    transfer(server.url, part, policy=PATIENT)
    assert server.ranges == [""]


def test_overloaded_server_is_tried_again(server: WeightServer, part: Path):
    server.faults = ["503", "503"]
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content


def test_tries_that_bring_something_new_do_not_count(server: WeightServer, part: Path):
    server.faults = ["truncate"] * 4
    transfer(server.url, part, policy=PATIENT._replace(tries=2))
    assert part.read_bytes() == server.content


def test_pauses_double_while_nothing_comes(
    server: WeightServer, part: Path, monkeypatch: pytest.MonkeyPatch
):
    pauses: list[float] = []
    monkeypatch.setattr(transfer_module, "time", SimpleNamespace(sleep=pauses.append))
    server.faults = ["503", "503", "503", "truncate", "503"]
    transfer(server.url, part, policy=TransferPolicy(timeout_s=10.0, tries=5, backoff_s=1.5))
    assert pauses == [1.5, 3.0, 6.0, 1.5, 3.0]


def test_giving_up_says_what_is_kept_and_what_to_do(server: WeightServer, part: Path):
    server.faults = ["truncate", "503", "503", "503"]
    kept = len(server.content) // 2
    with pytest.raises(ValueError, match=rf"503.*{kept} bytes are kept.*run it again.*its path"):
        transfer(server.url, part, policy=PATIENT)
    assert part.stat().st_size == kept


def test_no_network_is_a_value_error(part: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/w.pkl"
        with pytest.raises(
            ValueError, match=r"could not be downloaded.*refused.*Check the network"
        ):
            transfer(url, part, policy=HASTY)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("403", "answers 403"),
        ("404", "answers 404"),
        ("html", "a web page"),
        ("compressed", "compressed"),
        ("no_length", "states no length"),
    ],
)
def test_what_no_second_try_would_mend_is_refused_at_once(
    server: WeightServer, part: Path, fault: Fault, problem: str
):
    server.faults = [fault]
    with pytest.raises(ValueError, match=f"{problem}.*pass its path"):
        transfer(server.url, part, policy=PATIENT)
    assert len(server.ranges) == 1
    assert not part.exists()


def test_redirection_is_followed(server: WeightServer, part: Path):
    server.faults = ["redirect"]
    server.redirect_to = server.url + "elsewhere.pkl"
    transfer(server.url, part, policy=PATIENT)
    assert part.read_bytes() == server.content


@pytest.mark.parametrize("target", ["http://weights.invalid/w.pkl", "ftp://127.0.0.1/w.pkl"])
def test_redirection_away_from_https_is_refused(server: WeightServer, part: Path, target: str):
    server.faults = ["redirect"]
    server.redirect_to = target
    with pytest.raises(ValueError, match="over https"):
        transfer(server.url, part, policy=PATIENT)


def test_plain_http_is_for_this_machine_only():
    check_url("http://localhost:8000/w.pkl")
    check_url("https://weights.invalid/w.pkl")
    with pytest.raises(ValueError, match="over https"):
        check_url("http://weights.invalid/w.pkl")


def test_full_disk_is_an_os_error_before_anything_is_written(
    server: WeightServer, part: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=f"{len(server.content)} bytes are to come") as caught:
        transfer(server.url, part, policy=PATIENT)
    assert caught.value.errno == errno.ENOSPC
    assert not part.exists()


def test_discarded_part_leaves_nothing(server: WeightServer, part: Path):
    _interrupt(server, part)
    discard(part)
    assert list(part.parent.iterdir()) == []
