"""Writes files in torch's zip layout, record by record, so that hostile ones exist too."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from tests.importers.legacy_file import dict_pickle, storage_opcodes, tensor_opcodes


def zip_bytes(
    object_pickle: bytes,
    storages: Mapping[str, bytes],
    *,
    prefix: str = "model_final",
    byte_order: bytes | None = b"little",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    records = {"data.pkl": object_pickle}
    if byte_order is not None:
        records["byteorder"] = byte_order
    records |= {f"data/{key}": content for key, content in storages.items()}
    records |= {"version": b"3\n", ".data/serialization_id": b"1" * 40}
    return archive_bytes(
        {f"{prefix}/{name}": content for name, content in records.items()}, compression=compression
    )


def archive_bytes(records: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in records.items():
            record = zipfile.ZipInfo(name)
            record.compress_type = compression
            # torch aligns its records with an extra field of this kind.
            record.extra = b"FB\x05\x00ZZZZZ"
            archive.writestr(record, content)
    return buffer.getvalue()


def zip_tensor(key: str, array: np.ndarray, *, strides: tuple[int, ...] | None = None) -> bytes:
    return tensor_opcodes(key, array, strides=strides, view_metadata=b"")


def zip_state_dict(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A whole file; the storage keys count up, as torch writes them."""
    keys = {name: str(index) for index, name in enumerate(tensors)}
    entries = {name: zip_tensor(keys[name], array) for name, array in tensors.items()}
    contents = {keys[name]: array.tobytes() for name, array in tensors.items()}
    return zip_bytes(dict_pickle(entries), contents)


def untyped_tensor(key: str, num_bytes: int, shape: tuple[int, ...], dtype: str) -> bytes:
    """A tensor without a typed storage, as torch writes the types that it added since 2.0."""
    storage = storage_opcodes(key, "torch.storage", "UntypedStorage", num_bytes, view_metadata=b"")
    sizes = b"(" + b"".join(b"K" + bytes([n]) for n in shape) + b"t"
    strides = (
        b"("
        + b"".join(b"K" + bytes([int(np.prod(shape[i + 1 :]))]) for i in range(len(shape)))
        + b"t"
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v3\n(" + storage + b"K\x00" + sizes + strides
        + b"\x89ccollections\nOrderedDict\n)R" + f"ctorch\n{dtype}\n".encode() + b"tR"
    )  # fmt: skip
