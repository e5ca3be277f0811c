"""The one thread of the model: its order, its end, and who has left."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pointrend_jax.explore.worker import Busy, Gone, Worker


def _submit(worker: Worker, job: Callable[[], Any]) -> Any:
    with worker.place() as place:
        return place.submit(job)


async def _result(worker: Worker, job: Callable[[], Any], seconds: float) -> Any:
    """Of a job whose asker leaves after so long."""
    with worker.place() as place:
        return await place.result(job, lambda: asyncio.sleep(seconds))


def test_jobs_run_one_after_another_and_what_is_too_much_is_refused():
    worker, free, done = Worker(3), threading.Event(), []

    def job(number: int) -> None:
        free.wait(10)
        done.append(number)

    futures = [_submit(worker, lambda i=i: job(i)) for i in range(3)]
    with pytest.raises(Busy):
        _submit(worker, lambda: None)
    free.set()
    for future in futures:
        future.result(10)
    assert done == [0, 1, 2]
    # There is a place again.
    assert _submit(worker, lambda: 7).result(10) == 7
    worker.close()


def test_a_job_whose_asker_leaves_before_its_turn_is_not_done_and_gives_its_place_back():
    worker, free, done = Worker(2), threading.Event(), []
    first = _submit(worker, lambda: free.wait(10))

    async def asked() -> None:
        with pytest.raises(Gone):
            await _result(worker, lambda: done.append(1), 0.01)
        # The place is free at once, while the first goes on.
        second = _submit(worker, lambda: done.append(2))
        free.set()
        await asyncio.wrap_future(second)

    asyncio.run(asked())
    assert first.result(10)
    worker.close()
    assert done == [2]


def test_a_place_is_taken_before_its_job_is_there_and_given_back_without_one():
    worker = Worker(1)
    with worker.place(), pytest.raises(Busy):
        worker.place()
    assert _submit(worker, lambda: 7).result(10) == 7
    worker.close()


def test_what_a_job_raises_comes_to_who_asked():
    worker = Worker(1)

    def wrong() -> None:
        raise ValueError("a text is no photo")

    async def asked() -> None:
        with pytest.raises(ValueError, match="a text is no photo"):
            await _result(worker, wrong, 10)

    asyncio.run(asked())
    worker.close()
