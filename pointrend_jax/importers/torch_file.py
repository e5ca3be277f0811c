"""Reads tensors by name from a file written by `torch.save`, without torch and without running it.

Both layouts are read: the zip archive (`torch_zip`) and the older one (`torch_legacy`).
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointrend_jax.importers.torch_legacy import LegacyContent
from pointrend_jax.importers.torch_tensors import TensorRef
from pointrend_jax.importers.torch_zip import ZIP_MAGIC, ZipContent
from pointrend_jax.importers.wrappers import shortened

TorchContent = LegacyContent | ZipContent


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file that holds a flat dict {name: tensor}, as read-only arrays.

    Tensors of one storage share memory. bfloat16 comes as float32.

    Raises: ValueError, naming the file, if it is no torch file, is cut off, names anything but
      tensors, or holds anything but tensors at the top level.
    """
    try:
        with open(path, "rb") as file:
            content = open_torch_content(file)
            return read_tensors(content, _flat_references(content.root))
    except (ValueError, OverflowError) as error:
        # OverflowError: a count or a shape of the file beyond what an array can have.
        raise ValueError(f"Cannot read tensors from {path}: {shortened(str(error))}") from error


def open_torch_content(file: BinaryIO) -> TorchContent:
    """The pickled object (`root`, with `TensorRef`s for tensors); `file` must stay open for it.

    Raises: ValueError if the file is of neither layout or its pickle is refused.
    """
    start = file.read(len(ZIP_MAGIC))
    file.seek(0)
    return ZipContent(file) if start == ZIP_MAGIC else LegacyContent(io.BytesIO(file.read()))


def read_tensors(
    content: TorchContent, references: Mapping[str, TensorRef]
) -> dict[str, np.ndarray]:
    """The arrays of those tensors; storages of others are not read. Once only for each content."""
    storages = content.read_storages({ref.storage.key for ref in references.values()})
    return {name: storages.tensor(name, ref) for name, ref in references.items()}


def _flat_references(root: object) -> dict[str, TensorRef]:
    if not isinstance(root, dict):
        raise ValueError(f"the object must be a dict of tensors, got a {type(root).__name__}.")
    references = {}
    for name, entry in root.items():
        if not isinstance(name, str) or not isinstance(entry, TensorRef):
            raise ValueError(
                f"the dict must map names to tensors; entry {str(name)!r} is a "
                f"{type(entry).__name__}. Save the state_dict alone."
            )
        references[name] = entry
    return references
