"""A run that is told to stop, and a run that stands still."""

import datetime
import signal
import sys
import threading
import traceback
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingStopped(SystemExit):
    """The run was told to stop and has saved its state; the exit status is that of SIGTERM."""

    def __init__(self, step: int) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.step = step


class StopSignal:
    """Whether SIGTERM (preemption), or a first Ctrl-C on a single process, has asked to stop.

    With several processes, the one that gets SIGTERM tells the others through jax's coordination
    service, and all agree on the step after which they stop. Ctrl-C ends one of several at once.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: dict[int, Any] = {}

    def reached(self, step: int) -> bool:
        """Whether to save and stop after `step`; every process must ask, once a step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def reached_before(self, first: int) -> bool:
        """Whether a run that resumes after `first` steps is to stop at once.

        Several processes stop after the highest step that any has asked about, plus one; before
        anything was asked, that is step 1. A run that resumes after a later one would never get
        there, so a signal of its start (data are fetched, the checkpoint is read) is looked for
        here. A new run gets there.
        """
        return first > 0 and (self.reached(1) or self.reached(first))

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = True
        name = signal.Signals(number).name
        print(f"{name}: stopping after this step; its state will be saved", flush=True)
        # A second one stops at once.
        signal.signal(number, self._previous[number])

    def __enter__(self) -> "StopSignal":
        in_main = threading.current_thread() is threading.main_thread()
        # With several processes jax has its own handler of SIGTERM.
        if in_main and jax.process_count() == 1:
            self._previous = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Watchdog:
    """Says so when no step has finished for a while, and where the program stands."""

    def __init__(self, minutes: float) -> None:
        """Args: minutes, 0 for no watching."""
        self._seconds = 60.0 * minutes
        self._alive, self._closed = threading.Event(), threading.Event()
        self._last = "none yet"
        self._watched = threading.main_thread().ident
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def progress(self, what: str) -> None:
        """Something that counts as progress, in words."""
        self._last = f"{what} at {datetime.datetime.now():%H:%M:%S}"
        self._alive.set()

    def _watch(self) -> None:
        while not self._closed.is_set():
            if not self._alive.wait(self._seconds) and not self._closed.is_set():
                print(
                    f"watchdog: no step has finished for {self._seconds / 60:.3g} minutes "
                    f"({self._last}); {self._where()}",
                    flush=True,
                )
            self._alive.clear()

    def _where(self) -> str:
        frame = sys._current_frames().get(self._watched or 0)
        if frame is None:
            return "the main thread has ended"
        innermost = traceback.extract_stack(frame)[-1]
        return f"the main thread is at {innermost.filename}:{innermost.lineno} ({innermost.name})"

    def __enter__(self) -> "Watchdog":
        if self._seconds > 0:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._alive.set()
        if self._thread.is_alive():
            self._thread.join()
