"""What training does about a record that cannot be read: it says so, and takes another image.

A disk or a copy may fail on the third day of a run. One image in a thousand is no reason to stop,
many are. An evaluation never leaves an image out: its score would be that of another set.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from pointrend_jax.console import tell_here
from pointrend_jax.data.records.layout import ImageFacts

# The record reader (damaged bytes), the parser, and the decoders of images and masks raise these.
READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError)

Loaded = TypeVar("Loaded")


@runtime_checkable
class Planned(Protocol):
    """An image of a planned batch."""

    @property
    def record(self) -> int: ...


class BrokenRecordsError(ValueError):
    """More records are broken than may be."""


class BrokenRecords:
    """Loads images of a batch, and counts those that cannot be."""

    def __init__(self, images: Sequence[ImageFacts], max_share: float) -> None:
        """Args: max_share, of `images`, that may be broken.

        Raises: ValueError unless it is in [0, 1).
        """
        if not 0.0 <= max_share < 1.0:
            raise ValueError(
                f"config.data.max_broken_share must be at least 0 and below 1, got {max_share}."
            )
        self._images, self._max_share = images, max_share
        self._broken: set[int] = set()
        # Batches are loaded by several threads.
        self._lock = threading.Lock()

    def load(
        self, batch: Sequence[Planned], position: int, read: Callable[[Any], Loaded]
    ) -> Loaded:
        """`read` of image `position` of a batch, or else of the next one that can be read.

        That one is of the same batch: its canvas fits, and the choice depends on nothing but the
        batch and which records are broken.

        Args:
          batch: the images of all processes.
        Raises: BrokenRecordsError if too many are broken, or none of the batch can be read.
        """
        for offset in range(len(batch)):
            planned = batch[(position + offset) % len(batch)]
            try:
                return read(planned)
            except READ_ERRORS as error:
                self._count(planned.record, error)
        raise BrokenRecordsError("none of the images of a batch can be read; see the lines above.")

    def _count(self, record: int, error: Exception) -> None:
        with self._lock:
            known = record in self._broken
            self._broken.add(record)
            number, total, image = len(self._broken), len(self._images), self._images[record]
        what = f"record {record} (image {image.id}, {image.name}) cannot be read: {error}"
        allowed = int(self._max_share * total)
        if number > allowed:
            raise BrokenRecordsError(
                f"{what}\n{number} of {total} records are broken, and {allowed} may be "
                "(config.data.max_broken_share); remove the folder of the record files, so that it "
                "is made or copied again, or see with `prepare --verify` which are damaged."
            ) from error
        # Too many are too many in every batch: one that is read ahead may have counted it first.
        if known:
            return
        # Each process reads its own part of every batch.
        tell_here(
            f"{what}\nanother image of its batch takes its place; {number} of {total} records are "
            f"broken so far, {allowed} may be"
        )


def must_read(image: ImageFacts, read: Callable[[], Loaded]) -> Loaded:
    """What `read` gives. Raises ValueError, naming the image, if its record is broken."""
    try:
        return read()
    except READ_ERRORS as error:
        raise ValueError(
            f"the record of image {image.id} ({image.name}) cannot be read ({error}); an "
            "evaluation needs every image: restore the record files."
        ) from error
