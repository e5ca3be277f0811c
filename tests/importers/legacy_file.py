"""Writes files in torch's legacy layout, opcode by opcode, so that hostile ones exist too."""

import pickle
from collections.abc import Mapping

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
_STORAGE_NAMES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}
_VIEW_METADATA = b"N"


def tensor_opcodes(
    key: str,
    array: np.ndarray,
    *,
    strides: tuple[int, ...] | None = None,
    view_metadata: bytes = _VIEW_METADATA,
) -> bytes:
    """The opcodes that leave one tensor on the stack; `strides` in elements, default C order."""
    if strides is None:
        strides = tuple(s // array.itemsize for s in array.strides)
    persistent_id = storage_opcodes(
        key, "torch", _STORAGE_NAMES[array.dtype.name], array.size, view_metadata=view_metadata
    )
    arguments = _integer(0) + _tuple(array.shape) + _tuple(strides) + b"I00\n"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent_id + arguments + hooks + b"tR"


def storage_opcodes(
    key: str, module: str, name: str, num_elements: int, *, view_metadata: bytes = _VIEW_METADATA
) -> bytes:
    """The opcodes of a persistent id; the zip layout writes no view metadata."""
    return (
        b"(" + _text("storage") + f"c{module}\n{name}\n".encode() + _text(key) + _text("cpu")
        + _integer(num_elements) + view_metadata + b"tQ"
    )  # fmt: skip


def dict_pickle(entries: Mapping[str, bytes]) -> bytes:
    """A pickled OrderedDict whose values are given as opcodes, with the attribute torch adds."""
    items = b"".join(_text(name) + value for name, value in entries.items())
    metadata = b"}" + _text("_metadata") + b"}sb"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u" + metadata + b"."


def legacy_bytes(
    object_pickle: bytes, storages: Mapping[str, np.ndarray], *, system: object = SYSTEM
) -> bytes:
    header = b"".join(pickle.dumps(part, 2) for part in (MAGIC_NUMBER, 1001, system))
    raw = b"".join(a.size.to_bytes(8, "little") + a.tobytes() for a in storages.values())
    return header + object_pickle + pickle.dumps(list(storages), 2) + raw


def legacy_state_dict(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A whole file; the storage keys are the names."""
    entries = {name: tensor_opcodes(name, array) for name, array in tensors.items()}
    return legacy_bytes(dict_pickle(entries), tensors)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def _integer(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def _tuple(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(_integer(v) for v in values) + b"t"
