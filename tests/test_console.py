"""What a run says: on which stream, in which process, and how far something is."""

import io
import sys
import time

import pytest

from pointrend_jax import console


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long is what takes a hundredth of a second, and lines come as fast."""
    monkeypatch.setattr(console, "LONG_S", 0.01)
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.01)


@pytest.fixture
def second_process() -> object:
    console.set_process(1, 2)
    yield
    console.set_process(0, 1)


def test_what_is_under_way_gets_into_no_output(capfd: pytest.CaptureFixture[str]):
    console.tell("true")
    console.tell_progress("under way")
    assert capfd.readouterr() == ("true\n", "under way\n")


@pytest.mark.usefixtures("second_process")
def test_another_process_says_only_what_it_alone_knows(capfd: pytest.CaptureFixture[str]):
    console.tell("all know it")
    console.tell_progress("all see it")
    list(console.watched(range(3), "counting"))
    console.tell_here("mine")
    assert capfd.readouterr() == ("process 1: mine\n", "")


@pytest.mark.usefixtures("hurried")
def test_what_takes_long_is_said_at_once_and_its_time_afterwards(
    capfd: pytest.CaptureFixture[str],
):
    with console.waiting_for("waiting"):
        time.sleep(0.2)
        assert capfd.readouterr().err == "waiting\n"
    assert capfd.readouterr().err == "waiting: 0.2 s\n"


def test_what_is_soon_over_is_not_said(capfd: pytest.CaptureFixture[str]):
    with console.waiting_for("waiting"):
        pass
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("hurried")
def test_a_log_has_whole_lines_instead_of_a_bar(capfd: pytest.CaptureFixture[str]):
    for _ in console.watched(iter(range(4)), "counting", total=4, unit="sheep"):
        time.sleep(0.05)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("counting: ") and " of 4 sheeps, " in line for line in lines)


@pytest.mark.usefixtures("hurried")
def test_the_remaining_time_does_not_count_the_first_item(capfd: pytest.CaptureFixture[str]):
    for i in console.watched(range(101), "counting"):
        time.sleep(0.02 if i else 3.0)
        if i == 4:
            break
    # Each as long as the first, the others would take five minutes.
    remaining = capfd.readouterr().err.splitlines()[-1].rpartition(", ")[2]
    assert remaining < "00:20 left"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_that_steps_aside_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for i in console.watched(range(2), "counting"):
        console.tell(f"at {i}")
    assert capsys.readouterr().out == "at 0\nat 1\n"
    assert "counting" in terminal.getvalue()
    # The last thing that is drawn is a blank line.
    assert terminal.getvalue().rstrip("\r").rpartition("\r")[2].strip() == ""


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/bin/pointrend_jax", "pointrend_jax predict 'a b.png'"),
        ("train.py", "-m pointrend_jax predict 'a b.png'"),
    ],
)
def test_a_command_is_given_as_this_program_was_started(
    program: str, command: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", [program])
    assert console.own_command("predict", "a b.png").endswith(command)
