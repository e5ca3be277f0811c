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

    def submit(self, job: Callable[[], _Result]) -> "Future[_Result]":
        """Raises Busy where there is no place left."""
        if not self._places.acquire(blocking=False):
            raise Busy
        future = self._pool.submit(job)
        # Also of a job that is cancelled before its turn.
        future.add_done_callback(lambda _: self._places.release())
        return future

    async def result(
        self, job: Callable[[], _Result], left: Callable[[], Coroutine[Any, Any, object]]
    ) -> _Result:
        """What a job gives; it is not begun if `left()` comes to an end before its turn.

        Raises: Busy as `submit`; Gone; and whatever the job raises.
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

    def close(self) -> None:
        """Ends after what is being done; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
