"""Files of the format safetensors: arrays by name, and texts beside them; there is no code."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save

from pointrend_jax.messages import shown
from pointrend_jax.storage import write_whole

# What the format calls the types that weights have. bfloat16 is read as the bits that it is.
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is one: the length of its header in 8 bytes, then JSON."""
    return head[8:10] == b'{"'


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file by name, read-only, bfloat16 widened to float32; and its texts.

    Raises: ValueError if the file is damaged, or a tensor is of a type that no weights have here.
    """
    texts = read_texts(path)
    try:
        found = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(_damaged(error)) from error
    return {name: _array(name, tensor) for name, tensor in found}, texts


def read_texts(path: Path) -> dict[str, str]:
    """The texts beside the tensors alone. Raises: ValueError if the file is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(_damaged(error)) from error


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> None:
    """Writes the file whole or not at all. Raises ValueError as `write_whole`."""
    dense = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_whole(path, save(dense, dict(texts) or None))


def _damaged(error: SafetensorError) -> str:
    return f"it is a damaged safetensors file ({error}). Get it again."


def _array(name: str, tensor: Mapping) -> np.ndarray:
    kind = tensor["dtype"]
    if kind not in _TYPES:
        raise ValueError(
            f"tensor {shown(name)} is of the type {kind}, which is not read; save it as float32."
        )
    array = np.frombuffer(tensor["data"], _TYPES[kind]).reshape(tensor["shape"])
    if kind == "BF16":
        # bfloat16 is the upper half of a float32.
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array.setflags(write=False)
    return array
