"""Work on images by all cores of the machine, with results in the order of the images.

Threads and no processes: numpy, Pillow and OpenCV let go of the interpreter while they work on an
image or a mask, and masks need not be copied from process to process.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Whether this thread was told to leave the other cores alone.
_alone: ContextVar[bool] = ContextVar("alone", default=False)
WORKERS = min(os.cpu_count() or 2, 16)
# Its threads start when they are first needed, and wait for more work from then on.
_shared = ThreadPoolExecutor(WORKERS)


class _End:
    """What follows the last item."""


def at_once(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of every item, in their order, by threads that the whole process shares; in a
    thread of `ahead` that works alone, by that one.

    The function must not call this itself: it would wait for a thread that may be its own.
    """
    is_shared = len(items) > 1 and not _alone.get()
    return [*(_shared.map if is_shared else map)(function, items)]


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, number: int = 2 * WORKERS
) -> Iterator[Result]:
    """`function` of every item, in their order; `number` items are taken ahead of what is given
    out.

    If taking an item raises a ValueError, the results of those before it come first.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            working = (pool.submit(function, item) for item in items)
            for future in held_back(working, number):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def ahead(items: Iterable[Item], number: int, *, alone: bool = False) -> Generator[Item]:
    """The items, up to `number` of which a thread of its own takes before they are asked for.

    An error of the iterable is raised in its place. The thread ends with this iterator: a caller
    who stops early waits for the item that is being made, and none is begun after it.

    Args:
      alone: the thread takes no others for what is done `at_once`; the cores have enough to do.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, initializer=partial(_alone.set, alone)) as reader:
        try:
            waiting = deque(reader.submit(next, source, _End()) for _ in range(number))
            while not isinstance(item := waiting.popleft().result(), _End):
                waiting.append(reader.submit(next, source, _End()))
                yield item
        finally:
            reader.shutdown(cancel_futures=True)


def held_back(items: Iterable[Item], number: int) -> Iterator[Item]:
    """The items, each given out after the next `number` have been taken.

    If taking one raises a ValueError, those before it are given out first.
    """
    waiting: deque[Item] = deque()
    try:
        for item in items:
            waiting.append(item)
            if len(waiting) > number:
                yield waiting.popleft()
    except ValueError:
        yield from _taken(waiting)
        raise
    yield from _taken(waiting)


def _taken(waiting: deque[Item]) -> Iterator[Item]:
    """All that wait, each of which is forgotten before it is given out."""
    while waiting:
        yield waiting.popleft()
