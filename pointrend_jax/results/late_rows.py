"""Maps of one image that stay on the device until somebody asks for them."""

import math
import threading
import weakref
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

# What the results that a program holds may keep on the device: the maps of fifty images, if each
# has a hundred slots for masks of side 224. Those of older ones come to the host.
_MOST_BYTES = 2**30


class LateRows:
    """Some rows of a device's array [B, D, M, M], of one of its images; on the host once asked for.

    Several threads may ask. A copy, or what is unpickled, is an array of numpy.

    Attributes:
      shape: (n, M, M).
      nbytes: of the whole array, which float32 maps keep on the device.
      array_id: the same of all rows of one array, while they are on the device.
    """

    def __init__(self, array: Any, image: int, rows: Int[np.ndarray, " n"]) -> None:
        """Args: array, anything that numpy makes an array of; image, rows, which of its parts."""
        self.shape: tuple[int, ...] = (len(rows), *array.shape[2:])
        self.nbytes, self.array_id = 4 * math.prod(array.shape), id(array)
        self._array, self._image, self._rows = array, image, rows
        self._host: np.ndarray | None = None
        self._lock = threading.Lock()
        _limit.add(self)

    @property
    def is_on_device(self) -> bool:
        """True until `host` was called."""
        return self._array is not None

    def host(self) -> Float32[np.ndarray, "n M M"]:
        """The rows; the device may forget them then."""
        with self._lock:
            rows = self._host
            if rows is None:
                # The whole array, whose copy on the host serves the other images too: a device
                # would cut out rows by a program that is compiled for each number of them.
                rows = self._host = np.asarray(self._array)[self._image, self._rows]
                self._array = None
            return rows

    def __getitem__(self, index: Any) -> "LateRows | Float32[np.ndarray, 'n M M']":
        """Some of the rows, wherever they are; a single one is not meant."""
        array = self._array
        if array is not None:
            return LateRows(array, self._image, self._rows[index])
        return self.host()[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (self.host(),)


class _Limit:
    """Brings the rows of the oldest of more than `_MOST_BYTES` to the host; keeps none alive."""

    def __init__(self) -> None:
        self._known: list[weakref.ref[LateRows]] = []
        self._lock = threading.Lock()

    def add(self, rows: LateRows) -> None:
        with self._lock:
            alive = [(ref, found) for ref in self._known if (found := ref()) is not None]
            alive = [(ref, found) for ref, found in alive if found.is_on_device]
            alive.append((weakref.ref(rows), rows))
            self._known = [ref for ref, _ in alive]
        # From new to old, each array once; the newest stays.
        arrays: dict[int, list[LateRows]] = {}
        for _, known in reversed(alive):
            arrays.setdefault(known.array_id, []).append(known)
        taken = 0
        for number, of_array in enumerate(arrays.values()):
            taken += of_array[0].nbytes
            if number > 0 and taken > _MOST_BYTES:
                for older in of_array:
                    older.host()


_limit = _Limit()
