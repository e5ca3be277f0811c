"""torch's zip layout (since 1.6): `<prefix>/data.pkl` and a stored record for each storage.

Only the records that are wanted are read, straight from the file. The archive may not compress
(torch does not), may not repeat a name, and may not claim more bytes than the file has, so it
cannot grow when it is read; every record must have exactly the size that its tensors declare.
"""

import io
import zipfile
from collections.abc import Collection
from typing import BinaryIO

from pointrend_jax.importers.safe_pickle import load_pickle
from pointrend_jax.importers.torch_tensors import (
    ByteOrder,
    StorageBytes,
    StorageTable,
    torch_constructors,
)

ZIP_MAGIC = b"PK\x03\x04"
_PICKLE = "data.pkl"
_ENCRYPTED = 0x1
_BYTE_ORDERS: dict[bytes, ByteOrder] = {b"little": "<", b"big": ">"}


class ZipContent:
    """The object of a file in the zip layout, and its storages on request while it is open."""

    def __init__(self, file: BinaryIO) -> None:
        file_size = file.seek(0, io.SEEK_END)
        self._archive = _open_archive(file)
        self._records = _checked_records(self._archive, file_size)
        pickles = [name for name in self._records if name.split("/")[1:] == [_PICKLE]]
        if len(pickles) != 1:
            raise ValueError(
                "it is a zip archive without torch's <name>/data.pkl (an .npz, or a folder of "
                "several files?)."
            )
        self._prefix = pickles[0].removesuffix(_PICKLE)
        self._byte_order: ByteOrder = self._read_byte_order()
        self._table = StorageTable()
        content = self._read(pickles[0])
        self.root = load_pickle(
            io.BytesIO(content),
            constructors=torch_constructors(num_bytes=len(content)),
            load_persistent=self._table.add,
        )

    def read_storages(self, wanted: Collection[str]) -> StorageBytes:
        """Reads the records of the storages with the wanted keys."""
        contents = {}
        for key in wanted:
            num_bytes = self._table.refs[key].num_bytes
            name = f"{self._prefix}data/{key}"
            if name not in self._records:
                raise ValueError(f"the record {name!r} of a storage is missing.")
            record_size = self._records[name].file_size
            if record_size != num_bytes:
                raise ValueError(
                    f"storage {key!r} must have {num_bytes} bytes, its record has {record_size}."
                )
            contents[key] = self._read(name)
        return StorageBytes(contents, byte_order=self._byte_order)

    def _read_byte_order(self) -> ByteOrder:
        name = f"{self._prefix}byteorder"
        # Files of torch before 2.1 have no such record; they come from little-endian machines.
        content = self._read(name) if name in self._records else b"little"
        if content not in _BYTE_ORDERS:
            raise ValueError("its record of the byte order must say little or big.")
        return _BYTE_ORDERS[content]

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._records[name])
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
            # A wrong checksum, or a header that contradicts the archive's list of records.
            raise ValueError(
                f"its record {name!r} is damaged or without checksum ({error}). Get it again, or "
                "save it again with checksums."
            ) from error


def _open_archive(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise ValueError(
            f"it begins like torch's zip layout but is cut off or damaged ({error}). Get it again."
        ) from error


def _checked_records(archive: zipfile.ZipFile, file_size: int) -> dict[str, zipfile.ZipInfo]:
    if any(name.split("/")[1:] == ["constants.pkl"] for name in archive.namelist()):
        raise ValueError("it is a TorchScript program; save the model's state_dict instead.")
    records: dict[str, zipfile.ZipInfo] = {}
    for record in archive.infolist():
        name = record.filename
        if name in records:
            raise ValueError(f"the record {name!r} occurs twice in the archive.")
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise ValueError(
                f"the record {name!r} is compressed, which torch never does: refused. Save the "
                "tensors again with torch.save."
            )
        if record.flag_bits & _ENCRYPTED:
            raise ValueError(f"the record {name!r} is encrypted: refused.")
        records[name] = record
    claimed = sum(record.file_size for record in records.values())
    if claimed > file_size:
        raise ValueError(
            f"its records claim {claimed} bytes, but the file has {file_size}: refused."
        )
    return records
