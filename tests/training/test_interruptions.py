"""A run that is told to stop, and one that stands still."""

import os
import signal
import time

import pytest

from pointrend_jax.training.interruptions import StopSignal, Watchdog


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_seen_after_the_step_and_the_handler_is_put_back(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.reached(1)
        os.kill(os.getpid(), number)
        assert stop.reached(2)
        # A second one does what it did before.
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before
    assert number.name in capsys.readouterr().out


def test_the_watchdog_says_that_nothing_moves_and_where(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Watchdog(0.2 / 60) as watchdog:
        watchdog.progress("step 7 was begun")
        time.sleep(0.7)
    said = capsys.readouterr().out
    assert "no step has finished" in said
    assert "step 7 was begun at" in said
    assert "test_interruptions.py" in said


def test_the_watchdog_is_quiet_while_steps_finish(capsys: pytest.CaptureFixture[str]) -> None:
    with Watchdog(1.0 / 60) as watchdog:
        for step in range(12):
            watchdog.progress(f"step {step} was begun")
            time.sleep(0.1)
    with Watchdog(0.0):
        time.sleep(0.01)
    assert not capsys.readouterr().out
