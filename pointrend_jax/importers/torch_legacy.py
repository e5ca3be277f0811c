"""torch's legacy layout (before 1.6, or `_use_new_zipfile_serialization=False`).

Four pickles (magic number, protocol version, system information, the object), a pickled list of
storage keys, and the raw storages in that order, each led by its number of elements.
"""

import io
from collections.abc import Collection

from pointrend_jax.importers.safe_pickle import load_pickle
from pointrend_jax.importers.torch_tensors import StorageBytes, StorageTable, torch_constructors

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001


class LegacyContent:
    """The object of a file in the legacy layout, and its storages on request."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream
        self._table = StorageTable()
        _read_header(stream)
        self.root = load_pickle(
            stream,
            constructors=torch_constructors(num_bytes=stream.getbuffer().nbytes),
            load_persistent=self._table.add,
        )

    def read_storages(self, wanted: Collection[str]) -> StorageBytes:
        """Reads the storages with the wanted keys and passes over the others; once only."""
        keys = load_pickle(self._stream, constructors={})
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("its list of storages must be a list of strings.")
        if len(set(keys)) != len(keys) or set(keys) != set(self._table.refs):
            raise ValueError("its list of storages does not fit the tensors that refer to them.")
        contents = {}
        for key in keys:
            storage = self._table.refs[key]
            count = int.from_bytes(self._read_exactly(8), "little", signed=True)
            if count != storage.num_elements:
                raise ValueError(
                    f"storage {key!r} must have {storage.num_elements} elements, got {count}."
                )
            if key in wanted:
                contents[key] = self._read_exactly(storage.num_bytes)
            else:
                self._pass_over(storage.num_bytes)
        if self._stream.read(1):
            raise ValueError("bytes follow the last storage.")
        return StorageBytes(contents, byte_order="<")

    def _read_exactly(self, num_bytes: int) -> bytes:
        content = self._stream.read(num_bytes)
        if len(content) != num_bytes:
            raise ValueError(
                f"the file is cut off: {num_bytes} bytes of a storage expected, "
                f"{len(content)} left. Get it again."
            )
        return content

    def _pass_over(self, num_bytes: int) -> None:
        left = self._stream.getbuffer().nbytes - self._stream.tell()
        if left < num_bytes:
            raise ValueError(
                f"the file is cut off: {num_bytes} bytes of a storage expected, {left} left. "
                "Get it again."
            )
        self._stream.seek(num_bytes, io.SEEK_CUR)


def _read_header(stream: io.BytesIO) -> None:
    try:
        magic = load_pickle(stream, constructors={})
    except ValueError as error:
        raise ValueError(
            f"it is no torch file, its magic number cannot be read ({error})"
        ) from error
    if magic != _MAGIC_NUMBER:
        raise ValueError("it is no torch file, its magic number is wrong.")
    version = load_pickle(stream, constructors={})
    if version != _PROTOCOL_VERSION:
        raise ValueError(f"its protocol version must be {_PROTOCOL_VERSION}.")
    system = load_pickle(stream, constructors={})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it must come from a little-endian machine.")
