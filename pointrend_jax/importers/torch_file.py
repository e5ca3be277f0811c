"""Reads tensors by name from a file written by `torch.save`, without torch and without running it.

The legacy layout (before torch 1.6, or `_use_new_zipfile_serialization=False`): four pickles (magic
number, protocol version, system information, the object), a pickled list of storage keys, and the
raw storages in that order, each led by its number of elements. The zip layout is recognised and
refused.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pointrend_jax.importers.safe_pickle import Global, load_pickle

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_ZIP_MAGIC = b"PK\x03\x04"

_STORAGE_DTYPES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    num_elements: int


class _Tensor(NamedTuple):
    """A view of a storage, whose bytes come only after the pickle."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file that holds a flat dict {name: tensor}, each a copy in C order.

    Raises: ValueError, naming the file, if it is not of the legacy layout, is cut off, names
      anything but tensors, or holds anything but tensors at the top level.
    """
    with open(path, "rb") as file:
        stream = io.BytesIO(file.read())
    try:
        return _read_legacy(stream)
    except (ValueError, OverflowError) as error:
        # OverflowError: a count or a shape of the file beyond what an array can have.
        raise ValueError(f"Cannot read tensors from {path}: {error}") from error


def _read_legacy(stream: io.BytesIO) -> dict[str, np.ndarray]:
    _read_header(stream)
    entries = load_pickle(
        stream, constructors=_CONSTRUCTORS, load_persistent=_storage_from_persistent_id
    )
    if not isinstance(entries, dict):
        raise ValueError(f"the object must be a dict of tensors, got a {type(entries).__name__}.")
    for name, entry in entries.items():
        if not isinstance(name, str) or not isinstance(entry, _Tensor):
            raise ValueError(
                f"the dict must map names to tensors; entry {str(name)!r} is a "
                f"{type(entry).__name__}. Save the state_dict alone."
            )
    storages = _read_storages(
        stream, {entry.storage.key: entry.storage for entry in entries.values()}
    )
    return {
        name: _view(name, entry, storages[entry.storage.key]) for name, entry in entries.items()
    }


def _read_header(stream: io.BytesIO) -> None:
    start = stream.read(len(_ZIP_MAGIC))
    stream.seek(0)
    if start == _ZIP_MAGIC:
        raise ValueError(
            "it has torch's zip layout, only the legacy layout is read; save it again with "
            "torch.save(..., _use_new_zipfile_serialization=False)."
        )
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


def _read_storages(stream: io.BytesIO, expected: dict[str, _Storage]) -> dict[str, np.ndarray]:
    keys = load_pickle(stream, constructors={})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages must be a list of strings.")
    if len(set(keys)) != len(keys) or set(keys) != set(expected):
        raise ValueError("its list of storages does not fit the tensors that refer to them.")
    storages = {}
    for key in keys:
        storage = expected[key]
        count = int.from_bytes(_read_exactly(stream, 8), "little", signed=True)
        if count != storage.num_elements:
            raise ValueError(
                f"storage {key!r} must have {storage.num_elements} elements, got {count}."
            )
        dtype = np.dtype(storage.dtype)
        storages[key] = np.frombuffer(_read_exactly(stream, count * dtype.itemsize), dtype)
    if stream.read(1):
        raise ValueError("bytes follow the last storage.")
    return storages


def _read_exactly(stream: io.BytesIO, num_bytes: int) -> bytes:
    content = stream.read(num_bytes)
    if len(content) != num_bytes:
        raise ValueError(
            f"the file is cut off: {num_bytes} bytes of a storage expected, {len(content)} left. "
            "Get it again."
        )
    return content


def _view(name: str, tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """Strides come from the file, so they are checked against the storage before use."""
    num_elements = int(np.prod(tensor.shape, dtype=object)) if tensor.shape else 1
    last = tensor.offset + sum(
        (n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    if num_elements and (last >= storage.size or num_elements > storage.size):
        raise ValueError(f"tensor {name!r} reaches beyond its storage.")
    if not num_elements:
        return np.zeros(tensor.shape, storage.dtype)
    byte_strides = tuple(stride * storage.itemsize for stride in tensor.strides)
    view = np.ndarray(
        tensor.shape, storage.dtype, storage, tensor.offset * storage.itemsize, byte_strides
    )
    return view.copy()


def _storage_from_persistent_id(persistent_id: object) -> _Storage:
    """Legacy ids: ("storage", storage type, key, device, number of elements, view metadata)."""
    match persistent_id:
        case ("storage", Global(module, name), str(key), str(), int(num_elements), None) if (
            f"{module}.{name}" in _STORAGE_DTYPES and num_elements >= 0
        ):
            return _Storage(key, _STORAGE_DTYPES[f"{module}.{name}"], num_elements)
    raise ValueError("a persistent id of the file is not that of a whole storage.")


def _rebuild_tensor(
    storage: object, offset: object, shape: object, strides: object, *_unused: object
) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2; the rest is requires_grad and hooks."""
    match storage, offset, shape, strides:
        case (_Storage(), int(), tuple(), tuple()) if len(shape) == len(strides) and all(
            isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)
        ):
            return _Tensor(storage, offset, shape, strides)
    raise ValueError("a tensor of the file is described by values of the wrong kind.")


def _empty_dict(*items: object) -> dict[str, object]:
    """Stands for collections.OrderedDict, which torch.save writes empty and then fills."""
    if items:
        raise ValueError("an OrderedDict of the file is not built from nothing.")
    return {}


_CONSTRUCTORS = {
    "collections.OrderedDict": _empty_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    **dict.fromkeys(_STORAGE_DTYPES),
}
