"""A mistake is one line; a fault of the program is none; a name is printed whatever it holds."""

import io
import os
import sys

import pytest

from pointrend_jax.cli.errors import with_clear_errors


def test_mistake_of_the_user_is_one_line_and_status_1() -> None:
    def action() -> None:
        raise ValueError("give more")

    with pytest.raises(SystemExit) as ended:
        with_clear_errors(action)
    # What the interpreter prints, and ends with status 1 for.
    assert ended.value.code == "pointrend_jax: error: give more"


def test_text_that_cannot_be_written_is_no_mistake_of_the_user() -> None:
    def action() -> None:
        os.fsdecode(b"caf\xe9").encode()

    with pytest.raises(UnicodeEncodeError):
        with_clear_errors(action)


def test_names_that_are_no_utf8_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    with_clear_errors(lambda: print(os.fsdecode(b"caf\xe9"), flush=True))
    assert written.getvalue() == b"caf\\udce9\n"


def test_ctrl_c_is_one_line_and_the_status_of_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        with_clear_errors(action)
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith(": interrupted\n")
