"""The files of a data set, in a folder or in the zip file it is distributed as.

A zip is read where it lies: nothing is extracted, so no name in it can write outside a folder.
"""

import os
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pointrend_jax.storage import readable

# No file of a segmentation set is larger; a member that says so is a decompression bomb.
_MAX_BYTES = 2**28
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
# An error lists this many of its causes.
_LISTED = 5


class StoredFile(NamedTuple):
    """A file: `path` itself, or the member of that name in the zip file `path`."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """Fit for records, which hold no other text than UTF-8."""
        return readable((self.member or self.path.name).rsplit("/", 1)[-1])

    def exists(self) -> bool:
        return bool(self.member) or self.path.is_file()

    def read_bytes(self) -> bytes:
        """Raises: ValueError if the file is gone or the zip file damaged."""
        try:
            if not self.member:
                return self.path.read_bytes()
            archive = _zip_file(self.path)
        except OSError as error:
            raise ValueError(f"{self} cannot be read ({error.strerror}); check it.") from error
        try:
            size = archive.getinfo(self.member).file_size
            if size > _MAX_BYTES:
                raise ValueError(
                    f"{self} must have at most {_MAX_BYTES} bytes, got {size}; this is no file of "
                    "a data set."
                )
            return archive.read(self.member)
        except _ZIP_ERRORS as error:
            raise ValueError(
                f"{self} cannot be read from the zip file ({error}); download it again."
            ) from error

    def fingerprint(self) -> str:
        """Another text when the content has changed: name, size and time, or size and checksum.

        The same when the whole set has moved.
        """
        if self.member:
            info = _zip_file(self.path).getinfo(self.member)
            return f"{self.member} {info.file_size} {info.CRC}"
        stat = self.path.stat()
        return f"{self.path.name} {stat.st_size} {stat.st_mtime_ns}"


# By path from the top of the data set, with "/" between folders.
Files = dict[str, StoredFile]


def folder_files(root: Path, folder: str = "") -> Files:
    """All files below `folder` of `root`, by their path relative to `root`.

    Links are followed, as large sets are often linked in, but not those that lead back up.
    """
    found = {}
    for parent, folders, names in os.walk(root / folder, followlinks=True):
        here = Path(parent).resolve()
        folders[:] = [f for f in folders if not here.is_relative_to((Path(parent) / f).resolve())]
        for path in (Path(parent) / name for name in names):
            found[path.relative_to(root).as_posix()] = StoredFile(path)
    return dict(sorted(found.items()))


def zip_files(path: Path) -> Files:
    """All files of a zip; raises ValueError if it is damaged or has a name twice."""
    archive = _zip_file(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(set(names)) < len(names):
        raise ValueError(f"The zip file {path} has a file name twice; download it again.")
    return {name: StoredFile(path, name) for name in sorted(names)}


def read_text(file: StoredFile) -> str:
    """The text of a file; raises ValueError if it cannot be read or is no UTF-8."""
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be UTF-8 text ({error}); restore it.") from error


def first(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _zip_file(path: Path) -> zipfile.ZipFile:
    stat = path.stat()
    return _open_zip(path, stat.st_size, stat.st_mtime_ns)


# The directory of a large zip takes seconds to read. Size and time make a replaced file a new one.
@lru_cache(maxsize=8)
def _open_zip(path: Path, _size: int, _mtime_ns: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, *_ZIP_ERRORS) as error:
        raise ValueError(
            f"The zip file {path} cannot be read ({error}); download it again."
        ) from error
