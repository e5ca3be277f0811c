"""What a run says: once for all of its processes, or by each that alone knows something.

What stays true goes to stdout; how far something is goes to stderr, as a bar where a person looks
on and as a line now and then where a file does. Of the numpy side too, which knows of no other
processes: who joins them says so here, once.
"""

import os
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

_index, _count = 0, 1

_Item = TypeVar("_Item")
# Seconds between the lines that stand for a bar, and until something is said to take long.
LINE_EVERY_S, LONG_S = 30.0, 1.0


def set_process(index: int, count: int) -> None:
    """Which process of how many this one is; by itself it is the only one."""
    global _index, _count
    _index, _count = index, count


def tell(text: str) -> None:
    """Prints what all processes know, in one of them."""
    if _index == 0:
        _print(text)


def tell_here(text: str) -> None:
    """Prints what this process alone knows, and, where there are several, which one it is."""
    _print(f"process {_index}: {text}" if _count > 1 else text)


def tell_progress(text: str) -> None:
    """As `tell`, of what is under way, on stderr: it gets into no output."""
    if _index == 0:
        _print(text, sys.stderr)


@contextmanager
def waiting_for(text: str) -> Iterator[None]:
    """As `tell_progress`, what takes longer than a second, and at its end how long it took."""
    start, said = time.monotonic(), threading.Event()

    def say() -> None:
        said.set()
        tell_progress(text)

    timer = threading.Timer(LONG_S, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if said.is_set():
        tell_progress(f"{text}: {time.monotonic() - start:.1f} s")


def bar(total: int | None, what: str, unit: str = "image") -> tqdm:
    """A bar to `update`, in one of all processes; in a log a line every half minute instead.

    Args:
      total: of the units, None if nobody knows.
      what: is done with them, as in "preparing".
    """
    shown = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=unit == "byte",
        leave=False,
        disable=_index != 0,
        dynamic_ncols=shown,
        file=sys.stderr if shown else _Lines(),
        delay=0 if shown else LINE_EVERY_S,
        mininterval=0.1 if shown else LINE_EVERY_S,
        maxinterval=10 if shown else LINE_EVERY_S,
        bar_format=None if shown else _LINE,
    )


def watched(
    items: Iterable[_Item], what: str, *, total: int | None = None, unit: str = "image"
) -> Iterator[_Item]:
    """The items, while a `bar` tells how many have been taken.

    Its clock starts anew after the first: with that one programs are compiled and files opened.

    Args:
      total: their number where they have no length.
    """
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    with bar(total, what, unit) as shown:
        for item in items:
            yield item
            if shown.n == 0:
                shown.unpause()
            shown.update()


def own_command(*arguments: object) -> str:
    """A command of this package as whoever runs this program would type it."""
    words = ["pointrend_jax"]
    if Path(sys.argv[0]).stem != words[0]:
        python = os.path.relpath(sys.executable)
        words = [sys.executable if python.startswith("..") else python, "-m", *words]
    return shlex.join([*words, *map(str, arguments)])


_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} so far, {remaining} left"


class _Lines:
    """Takes what a bar draws over and over, and writes each drawing as a line of stderr."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def _print(text: str, file: Any = None) -> None:
    # A bar that is being shown goes aside and comes again below.
    with tqdm.external_write_mode(file=file or sys.stdout):
        print(text, file=file or sys.stdout, flush=True)
