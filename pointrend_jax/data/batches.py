"""From a plan to an iterator of loaded batches, whose position can be saved and restored."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import grain.python as grain


@runtime_checkable
class Plan(Protocol):
    """Planned batches by position."""

    batch_size: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def iterate_batches(
    plan: Plan, load: Callable[[Any], Any], *, start: int, process_count: int, num_threads: int
) -> grain.DatasetIterator:
    """What `load` makes of each planned batch from number `start` on, read ahead by threads.

    Raises: ValueError if the hosts cannot have equal parts of a batch.
    """
    if plan.batch_size % process_count:
        raise ValueError(
            f"config.train.batch_size must be a multiple of the {process_count} hosts, got "
            f"{plan.batch_size}."
        )
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return iter(grain.MapDataset.source(plan)[start:].map(load).to_iter_dataset(options))
