"""Loading ahead: few batches, whose images the threads share; and the parts of an evaluation."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pointrend_jax.data.batches.loading import (
    BATCHES_AHEAD,
    ForEach,
    evaluation_parts,
    iterate_batches,
)


class _Plan:
    """Batch n is n."""

    batch_size = 4

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return int(index)


def _batches(load: Callable[[int, ForEach], Any], threads: int) -> Any:
    return iterate_batches(_Plan(), load, start=0, process_count=1, num_threads=threads)


@pytest.mark.parametrize("threads", [1, 32])
def test_few_batches_are_loaded_ahead_whatever_the_threads(threads: int) -> None:
    begun: list[int] = []

    def load(planned: int, each: ForEach) -> int:
        begun.append(planned)
        each(lambda _: None, range(4))
        return planned

    batches = _batches(load, threads)
    for taken in range(1, 40):
        assert next(batches) == taken - 1
        # One is handed over while the next is asked for.
        assert len(begun) <= taken + BATCHES_AHEAD + 1


def test_threads_share_the_images_of_a_batch() -> None:
    def load(planned: int, each: ForEach) -> int:
        # Only all four images of this batch together get past.
        together = threading.Barrier(4)
        each(lambda _: _wait(together), range(4))
        return planned

    assert next(_batches(load, 4 * BATCHES_AHEAD)) == 0


def _wait(barrier: threading.Barrier) -> None:
    barrier.wait(timeout=20)


def test_what_fails_in_a_thread_fails_the_batch() -> None:
    def fail(image: int) -> None:
        if image == 2:
            raise ValueError("image 2 is broken")

    with pytest.raises(ValueError, match="image 2 is broken"):
        next(_batches(lambda _, each: each(fail, range(4)), 2))


def test_no_thread_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0"):
        _batches(lambda planned, _: planned, 0)


@pytest.mark.parametrize("processes", range(1, 6))
@pytest.mark.parametrize("batch_size", [0, 1, 2, 3, 4, 5, 6, 8, 12, 60])
def test_processes_evaluate_every_image_once_or_refuse(processes: int, batch_size: int) -> None:
    groups = {(64, 96): range(16), (96, 64): range(16, 23), (32, 32): range(23, 24)}

    def parts(index: int) -> list[Any]:
        return list(
            evaluation_parts(
                groups, batch_size=batch_size, process_index=index, process_count=processes
            )
        )

    if batch_size < 1 or batch_size % processes:
        with pytest.raises(ValueError, match=f"multiple of the {processes} processes"):
            parts(0)
        return
    found = [part for index in range(processes) for part in parts(index)]
    assert sorted(i for _, records in found for i in records) == list(range(24))
    for bucket, records in found:
        assert 0 < len(records) <= batch_size // processes
        assert all(record in groups[bucket] for record in records)
