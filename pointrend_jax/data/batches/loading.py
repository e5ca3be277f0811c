"""From a plan to loaded batches: training's without end, whose position can be saved and restored,
and the parts of an evaluation.

What waits in memory is a few batches, whatever the number of threads: the threads share the images
of the batches that are being loaded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import grain.python as grain

from pointrend_jax.data.batches.transforms import Bucket

# Batches that are being loaded, or wait to be taken. The second goes on with what threads the last
# images of the first leave idle; the others even out batches that take longer.
BATCHES_AHEAD = 4

# `each(function, items)`: calls `function` for every item, by several threads, and waits.
ForEach = Callable[[Callable[[int], None], Sequence[int]], None]


@runtime_checkable
class Plan(Protocol):
    """Planned batches by position."""

    batch_size: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def iterate_batches(
    plan: Plan,
    load: Callable[[Any, ForEach], Any],
    *,
    start: int,
    process_count: int,
    num_threads: int,
) -> grain.DatasetIterator:
    """What `load` makes of each planned batch from number `start` on, read ahead by threads.

    Args:
      load: (planned batch, each) to the batch; `each` gives its images to the threads.
      num_threads: that load images, of all batches together.
    Raises: ValueError if the processes cannot have equal parts of a batch.
    """
    check_parts("config.train.batch_size", plan.batch_size, process_count)
    if num_threads < 1:
        raise ValueError(f"config.data.num_threads must be at least 1, got {num_threads}.")
    pool = ThreadPoolExecutor(num_threads)

    def each(function: Callable[[int], None], items: Sequence[int]) -> None:
        for _ in pool.map(function, items):
            pass

    options = grain.ReadOptions(num_threads=BATCHES_AHEAD, prefetch_buffer_size=BATCHES_AHEAD)
    batches = grain.MapDataset.source(plan)[start:].map(lambda planned: load(planned, each))
    return iter(batches.to_iter_dataset(options))


def check_parts(field: str, batch_size: int, process_count: int) -> None:
    """Raises ValueError unless every process gets as many images of a batch, at least one."""
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"{field} must be a multiple of the {process_count} processes, got {batch_size}; use "
            f"{max(batch_size // process_count, 1) * process_count}."
        )


def evaluation_parts(
    groups: Mapping[Bucket, Sequence[int]],
    *,
    batch_size: int,
    process_index: int,
    process_count: int,
) -> Iterator[tuple[Bucket, tuple[int, ...]]]:
    """The records that this process predicts together, with their bucket.

    Those of all processes are every record once. A process may have fewer batches than others, or
    none: predictions have nothing to do with each other, so nobody waits.

    Args:
      groups: the records of each bucket.
      batch_size: images of all processes together.
    Raises: ValueError, at once, if the processes cannot have equal parts of a batch.
    """
    check_parts("config.eval.batch_size", batch_size, process_count)
    size = batch_size // process_count

    def parts() -> Iterator[tuple[Bucket, tuple[int, ...]]]:
        for bucket, records in sorted(groups.items()):
            for first in range(process_index * size, len(records), size * process_count):
                yield bucket, tuple(records[first : first + size])

    return parts()
