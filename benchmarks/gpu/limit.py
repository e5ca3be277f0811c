"""How long a part of the benchmark may take."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

_Item = TypeVar("_Item")


class OutOfTimeError(Exception):
    """The time of a part is over; the message names what is left out."""


class Limit:
    """So many seconds from now on. What has begun is not cut off, but nothing more is begun."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._start = seconds, clock, clock()

    def is_over(self) -> bool:
        return self._clock() - self._start >= self._seconds

    def of(self, items: Mapping[str, _Item]) -> Iterator[tuple[str, _Item]]:
        """Name and item, one after another, as long as there is time.

        Raises: OutOfTimeError, with the names of those that are left.
        """
        names = list(items)
        for number, name in enumerate(names):
            if self.is_over():
                raise OutOfTimeError(", ".join(names[number:]))
            yield name, items[name]
