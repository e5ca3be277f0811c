"""One thread that the model runs in, with a queue that has an end."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Busy(Exception):
    """The queue is full."""


class Gone(Exception):
    """Whoever asked has left before there was an answer."""


class Worker:
    """Does one thing after another, and holds at most so many that wait."""

    def __init__(self, most_waiting: int) -> None:
        """Args: most_waiting, what is being done counted too."""
        self._pool = ThreadPoolExecutor(1, "model")
        self._places = threading.Semaphore(most_waiting)

    def place(self) -> "Place":
        """Raises Busy where there is none left."""
        if not self._places.acquire(blocking=False):
            raise Busy
        return Place(self._pool, self._places)

    def close(self) -> None:
        """Ends after what is being done; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Place:
    """In the queue, for one job. It is had before the job is, so that what the job needs, a large
    photo, is only fetched where there is a place for it.

    As a context it is given back with the block, or, where a job was submitted, when that has ended
    or is cancelled before its turn.
    """

    def __init__(self, pool: ThreadPoolExecutor, places: threading.Semaphore) -> None:
        self._pool, self._places, self._used = pool, places, False

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._used:
            self._places.release()

    def submit(self, job: Callable[[], _Result]) -> "Future[_Result]":
        """Queues the job; a place has one."""
        assert not self._used, "a place is for one job"
        future = self._pool.submit(job)
        self._used = True
        future.add_done_callback(lambda _: self._places.release())
        return future

    async def result(
        self, job: Callable[[], _Result], left: Callable[[], Coroutine[Any, Any, object]]
    ) -> _Result:
        """What a job gives; it is not begun if `left()` comes to an end before its turn.

        Raises: Gone; and whatever the job raises.
        """
        future = self.submit(job)
        leaving = asyncio.ensure_future(left())
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Gone
            return waiting.result()
        finally:
            leaving.cancel()
            # No more than a wish where it has begun or ended.
            future.cancel()
