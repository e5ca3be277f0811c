"""Reads the tensors of any weight file that is supported, by its content and not by its name.

Detectron2's pickles (`.pkl`), both layouts of `torch.save` (`.pth`, `.pt`) and safetensors. In the
former, the tensors may lie in the file's dict itself or one level below, under "model",
"state_dict" or "blobs"; what lies beside them (iteration, optimizer, ...) is listed and not read.
Names are left as they are: see `detectron2_names`. Nothing in a file is executed: see
`safe_pickle`.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from pointrend_jax.importers.numpy_pickle import ArrayPlaceholder, Budget, numpy_constructors
from pointrend_jax.importers.safe_pickle import load_pickle, ordered_dict
from pointrend_jax.importers.safetensors_file import is_safetensors, read_safetensors
from pointrend_jax.importers.torch_legacy import LegacyContent
from pointrend_jax.importers.torch_tensors import TensorRef
from pointrend_jax.importers.torch_zip import ZIP_MAGIC, ZipContent
from pointrend_jax.messages import first, without_middle

Container = Literal["pickle", "torch_zip", "torch_legacy", "safetensors"]
Scalar = str | int | float | bool

_WRAPPERS = ("model", "state_dict", "blobs")
_SUPPORTED = "Supported are Detectron2's .pkl, torch's .pth and .pt, and .safetensors files."
# torch's magic number as a pickle of any binary protocol, framed or not.
_LEGACY_MAGIC = re.compile(
    rb"\x80.(\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", re.S
)
# PROTO, or how a pickle of the older protocols begins: a mark, a dict, a list, a global.
_PICKLE_STARTS = (b"\x80", b"(", b"}", b"]", b"c")
_HEAD_BYTES = 512
# Characters of an error that quotes the file.
_LONGEST = 600
_FOREIGN_STARTS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a single numpy array (.npy)",
    b"\x1f\x8b": "gzip-compressed; unpack it first",
    b"BZh": "bzip2-compressed; unpack it first",
    b"\xfd7zXZ": "xz-compressed; unpack it first",
    b"\x08": "an ONNX model, or no weight file at all",
}


class WeightsFile(NamedTuple):
    """What a weight file holds.

    The arrays are read-only and may share memory; float16, float64 and integers are as stored.
    `ignored` lists the keys beside the tensors, sorted; those in the wrapped dict are written
    "model/key".
    """

    tensors: dict[str, np.ndarray]
    ignored: tuple[str, ...]


class _Selection(NamedTuple):
    tensors: dict[str, object]
    ignored: tuple[str, ...]


def read_weights_file(path: Path) -> WeightsFile:
    """The tensors of a weight file by name, and what lies beside them.

    Raises: ValueError, naming the file, if it cannot be found, is of no supported kind, is damaged,
      or holds anything but plain values and numeric tensors; nothing of it is executed.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a directory; give the weight file in it. {_SUPPORTED}")
    if not path.is_file():
        raise ValueError(f"The weight file {path} does not exist; check the path.")
    with open(path, "rb") as file:
        try:
            return _read(path, file)
        except (ValueError, OverflowError) as error:
            # OverflowError: a count or a shape of the file beyond what an array can have.
            raise ValueError(f"Cannot read weights from {path}: {_quoted(error)}") from error


def _read(path: Path, file: BinaryIO) -> WeightsFile:
    container = _container(file.read(_HEAD_BYTES))
    file.seek(0)
    if container == "safetensors":
        tensors, _ = read_safetensors(path)
        if not tensors:
            raise ValueError("it holds no tensor.")
        return WeightsFile(tensors, ())
    if container == "pickle":
        selection = _select(_load_numpy_pickle(file.read()))
        tensors = {name: _array(name, value) for name, value in selection.tensors.items()}
    else:
        is_zip = container == "torch_zip"
        content = ZipContent(file) if is_zip else LegacyContent(io.BytesIO(file.read()))
        selection = _select(content.root)
        found = selection.tensors
        storages = content.read_storages(
            {value.storage.key for value in found.values() if isinstance(value, TensorRef)}
        )
        tensors = {
            name: storages.tensor(name, value)
            if isinstance(value, TensorRef)
            else _array(name, value)
            for name, value in found.items()
        }
    return WeightsFile(tensors, selection.ignored)


def _container(head: bytes) -> Container:
    """The kind of file by its first bytes. Raises: ValueError that says what it is instead."""
    if not head:
        raise ValueError("it is empty. Get it again.")
    if head.startswith(ZIP_MAGIC):
        return "torch_zip"
    if _LEGACY_MAGIC.match(head):
        return "torch_legacy"
    text = head.lstrip().lower()
    if text.startswith(b"<"):
        raise ValueError(
            "it is a web page (HTML or XML), probably an error of the server. Get it again."
        )
    if text.startswith(b"version https://git-lfs"):
        raise ValueError("it is a git-lfs pointer, not the file itself: run `git lfs pull`.")
    if is_safetensors(head):
        return "safetensors"
    if head.startswith(_PICKLE_STARTS):
        return "pickle"
    for start, kind in _FOREIGN_STARTS.items():
        if head.startswith(start):
            raise ValueError(f"it is {kind}, which is not read. {_SUPPORTED}")
    raise ValueError(f"it is of no known kind (it begins with {head[:8]!r}). {_SUPPORTED}")


def _load_numpy_pickle(content: bytes) -> object:
    stream = io.BytesIO(content)
    constructors = numpy_constructors(Budget(len(content)))
    constructors["collections.OrderedDict"] = ordered_dict
    try:
        root = load_pickle(stream, constructors=constructors)
    except ValueError as error:
        # A pickle ends with STOP.
        hint = "" if content.endswith(b".") else " The file may be cut off: get it again."
        raise ValueError(f"{error}{hint}") from error
    if stream.read(1):
        raise ValueError("bytes follow the end of its pickle. Get it again.")
    return root


def _select(root: object) -> _Selection:
    """Finds the dict of the tensors, in the file's dict or one level below."""
    if not isinstance(root, dict):
        raise ValueError(f"it must hold a dict of tensors, but holds a {_kind(root)}.")
    wrapped = {key: root[key] for key in _WRAPPERS if isinstance(root.get(key), dict)}
    if len(wrapped) > 1:
        raise ValueError(
            f"it holds tensors under {' and '.join(wrapped)}; save a file with one of them."
        )
    if not wrapped:
        return _split(root, prefix="")
    ((wrapper, entries),) = wrapped.items()
    inner = _split(entries, prefix=f"{wrapper}/")
    beside = [str(key) for key in root if key != wrapper]
    return _Selection(inner.tensors, tuple(sorted((*beside, *inner.ignored))))


def _quoted(error: Exception) -> str:
    """What an error says that may quote a file, fit for a terminal."""
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(error))
    return without_middle(text, _LONGEST)


def _split(entries: Mapping[Any, object], *, prefix: str) -> _Selection:
    """Separates tensors from scalars; anything else may hide tensors and is refused."""
    tensors: dict[str, object] = {}
    beside: list[str] = []
    for name, value in entries.items():
        if not isinstance(name, str):
            raise ValueError(f"the names of tensors must be text, got the number {name}.")
        if isinstance(value, (TensorRef, ArrayPlaceholder)):
            tensors[name] = value
        elif value is None or isinstance(value, Scalar):
            beside.append(f"{prefix}{name}")
        else:
            raise ValueError(
                f"entry {prefix}{name!r} must be a tensor, but is a {_kind(value)}. Save the "
                f"tensors as one dict, alone or under one of {', '.join(_WRAPPERS)}."
            )
    if not tensors:
        found = first(sorted(beside), 8) or "nothing"
        raise ValueError(f"it holds no tensor (found: {found}).")
    return _Selection(tensors, tuple(sorted(beside)))


def _array(name: str, value: object) -> np.ndarray:
    if not isinstance(value, ArrayPlaceholder) or value.array is None:
        raise ValueError(f"tensor {name!r} has no content.")
    return value.array


def _kind(value: object) -> str:
    kinds = {dict: "dict", list: "list", tuple: "tuple", str: "text", bytes: "bytes"}
    if isinstance(value, (ArrayPlaceholder, TensorRef)):
        return "single tensor"
    return kinds.get(type(value), "value of the type " + type(value).__name__)
