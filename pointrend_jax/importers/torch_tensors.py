"""What torch's pickles name: tensors as views of storages, whose bytes lie outside the pickle.

Shared by both layouts of `torch.save`. The pickle gives inert `TensorRef`s; once the layout has
read the storages that are wanted, `StorageBytes` turns the references into numpy views. Nothing is
copied but bfloat16 (widened to float32) and big-endian storages, each storage once.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pointrend_jax.importers.numpy_pickle import Budget, numpy_constructors
from pointrend_jax.importers.safe_pickle import Constructor, Global, ordered_dict

# Element types of torch and the numpy type of their bytes.
_NUMPY_CODES = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "b1",
}  # fmt: skip
_STORAGE_TYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip
ByteOrder = Literal["<", ">"]
_NATIVE: ByteOrder = "<" if sys.byteorder == "little" else ">"


@dataclass(frozen=True)
class StorageRef:
    key: str
    dtype: str
    num_elements: int

    @property
    def num_bytes(self) -> int:
        return self.num_elements * np.dtype(_NUMPY_CODES[self.dtype]).itemsize


@dataclass(frozen=True)
class TensorRef:
    """A view of a storage; offset and strides in elements of the tensor's own type."""

    storage: StorageRef
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class StorageTable:
    """The storages that one pickle names, by key."""

    def __init__(self) -> None:
        self.refs: dict[str, StorageRef] = {}

    def add(self, persistent_id: object) -> StorageRef:
        """Takes ("storage", type, key, device, number of elements); the legacy layout adds a view,
        which must be None: a part of another storage is no longer written by any torch since 0.4.
        """
        match persistent_id:
            case ("storage", Global(module, name), str(key), str(), int(num_elements), *view) if (
                module in ("torch", "torch.storage")
                and name in _STORAGE_TYPES
                and num_elements >= 0
                and view in ([], [None])
            ):
                ref = StorageRef(key, _STORAGE_TYPES[name], num_elements)
                if self.refs.setdefault(key, ref) != ref:
                    raise ValueError(f"storage {key!r} is described in two ways.")
                return ref
        raise ValueError("a persistent id of the file is not that of a whole storage.")


class StorageBytes:
    """The bytes of the storages that were read, by key."""

    def __init__(self, contents: Mapping[str, bytes], *, byte_order: ByteOrder) -> None:
        self.contents = contents
        self.byte_order: ByteOrder = byte_order
        self.typed: dict[tuple[str, str], np.ndarray] = {}

    def tensor(self, name: str, ref: TensorRef) -> np.ndarray:
        """A read-only view in native byte order. Raises: ValueError if it leaves its storage."""
        storage = self._typed(ref.storage.key, ref.dtype)
        num_elements = math.prod(ref.shape)
        if not num_elements:
            return np.zeros(ref.shape, storage.dtype)
        # Strides come from the file, so they are checked against the storage before use.
        last = ref.offset + sum(
            (n - 1) * stride for n, stride in zip(ref.shape, ref.strides, strict=True)
        )
        if last >= storage.size or num_elements > storage.size:
            raise ValueError(f"tensor {name!r} reaches beyond its storage.")
        byte_strides = tuple(stride * storage.itemsize for stride in ref.strides)
        byte_offset = ref.offset * storage.itemsize
        return np.ndarray(ref.shape, storage.dtype, storage, byte_offset, byte_strides)

    def _typed(self, key: str, dtype: str) -> np.ndarray:
        if (key, dtype) not in self.typed:
            stored = np.dtype(_NUMPY_CODES[dtype]).newbyteorder(self.byte_order)
            content = self.contents[key]
            array = np.ndarray((len(content) // stored.itemsize,), stored, content)
            if dtype == "bfloat16":
                # bfloat16 is the upper half of a float32.
                array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
            elif self.byte_order != _NATIVE:
                array = array.astype(stored.newbyteorder("="))
            array.setflags(write=False)
            self.typed[key, dtype] = array
        return self.typed[key, dtype]


def torch_constructors(*, num_bytes: int) -> dict[str, Constructor | None]:
    """The allow-list for the pickle of a torch file of that size, numpy arrays in it included."""
    constructors: dict[str, Constructor | None] = {
        **numpy_constructors(Budget(num_bytes)),
        "collections.OrderedDict": ordered_dict,
        # Schedulers and samplers of a training checkpoint use these.
        "collections.Counter": _counter,
        "torch.Size": _size,
        "torch.device": _device,
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_of_type,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
    }
    for name in _STORAGE_TYPES:
        constructors[f"torch.{name}"] = None
    constructors["torch.storage.UntypedStorage"] = None
    for name in _NUMPY_CODES:
        constructors[f"torch.{name}"] = None
    return constructors


def _rebuild_tensor(
    storage: object, offset: object, shape: object, strides: object, *_unused: object
) -> TensorRef:
    """Stands for torch._utils._rebuild_tensor_v2; the rest is requires_grad and hooks."""
    return _tensor_ref(storage, None, offset, shape, strides)


def _rebuild_tensor_of_type(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _requires_grad: object,
    _hooks: object,
    dtype: object,
    *_unused: object,
) -> TensorRef:
    """Stands for torch._utils._rebuild_tensor_v3, whose storage is bytes without a type."""
    match dtype:
        case Global("torch", name) if name in _NUMPY_CODES:
            return _tensor_ref(storage, name, offset, shape, strides)
    raise ValueError("a tensor of the file has an element type that is not read.")


def _tensor_ref(
    storage: object, dtype: str | None, offset: object, shape: object, strides: object
) -> TensorRef:
    match storage, offset, shape, strides:
        case (StorageRef(), int(), tuple(), tuple()) if len(shape) == len(strides) <= 32 and all(
            isinstance(n, int) and 0 <= n < 2**62 for n in (offset, *shape, *strides)
        ):
            return TensorRef(storage, dtype or storage.dtype, offset, shape, strides)
    raise ValueError("a tensor of the file is described by values of the wrong kind.")


def _rebuild_parameter(tensor: object, *_unused: object) -> TensorRef:
    if not isinstance(tensor, TensorRef):
        raise ValueError("a parameter of the file is not made of a tensor.")
    return tensor


def _size(sizes: object = ()) -> tuple[object, ...]:
    if not isinstance(sizes, tuple):
        raise ValueError("a torch.Size of the file is not made of a tuple.")
    return sizes


def _device(kind: object, _index: object = None) -> str:
    if not isinstance(kind, str):
        raise ValueError("a torch.device of the file has no name.")
    return kind


def _counter(counts: object) -> dict[object, object]:
    if not isinstance(counts, dict):
        raise ValueError("a Counter of the file is not made of a dict.")
    return counts
