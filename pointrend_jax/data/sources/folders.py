"""The files of a data set, in a folder or in the zip file it is distributed as.

A zip is read where it lies: nothing is extracted, so no name in it can write outside a folder.
"""

import codecs
import os
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pointrend_jax.messages import shown
from pointrend_jax.storage import readable

# No file of a segmentation set is larger; a member that says so is a decompression bomb.
_MAX_BYTES = 2**28
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
# Links may lead into a folder from as many places; more are a net that never ends.
_MAX_WAYS = 64
_TEXT_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class StoredFile(NamedTuple):
    """A file: `path` itself, or the member of that name in the zip file `path`."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return shown(f"{self.path}:{self.member}" if self.member else str(self.path))

    @property
    def name(self) -> str:
        """Fit for records, which hold no other text than UTF-8."""
        return readable((self.member or self.path.name).rsplit("/", 1)[-1])

    def exists(self) -> bool:
        # Unlike Path.is_file, also for a name that no file can have or a folder that is closed.
        return bool(self.member) or os.path.isfile(self.path)

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

    Links are followed, as large sets are often linked in, but not those that lead back to a folder
    that they were reached through.
    Raises: ValueError if links lead into one folder from more than `_MAX_WAYS` places.
    """
    ways: Counter[Path] = Counter()
    return dict(sorted(_walk(Path(root), Path(root) / folder, (), ways)))


def _walk(
    root: Path, folder: Path, behind: tuple[Path, ...], ways: Counter[Path]
) -> Iterator[tuple[str, StoredFile]]:
    """Args: behind, the real folders that `folder` was reached through; ways, to each so far."""
    real = folder.resolve()
    if any(above.is_relative_to(real) for above in behind):
        return
    ways[real] += 1
    if ways[real] > _MAX_WAYS:
        raise ValueError(
            f"Links below {shown(str(root))} lead into the folder {shown(str(real))} from more "
            f"than {_MAX_WAYS} places; remove those that are not needed."
        )
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        # What is needed of a folder that is closed or absent is missed by its name later.
        return
    for path in (folder / name for name in names):
        if os.path.isdir(path):
            yield from _walk(root, path, (*behind, real), ways)
        else:
            yield path.relative_to(root).as_posix(), StoredFile(path)


def zip_files(path: Path) -> Files:
    """All files of a zip; raises ValueError if it is damaged or has a name twice."""
    archive = _zip_file(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(set(names)) < len(names):
        raise ValueError(f"The zip file {path} has a file name twice; download it again.")
    return {name: StoredFile(path, name) for name in sorted(names)}


def read_text(file: StoredFile) -> str:
    """The text of a file: UTF-8, or what a byte order mark at its beginning says.

    Raises: ValueError if it cannot be read or is no such text.
    """
    content = file.read_bytes()
    encoding = next((name for mark, name in _TEXT_MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be UTF-8 text ({error}); restore it.") from error


def is_text(value: Any) -> bool:
    """Whether a value is a text that can be stored: JSON can hold halves of characters too."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def plain_name(name: str) -> str:
    """Equal for names that mean one file: with Windows' back-slashes, composed or decomposed."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def find_below(folder: Path, name: str) -> StoredFile:
    """The file `name` below a folder; if there is none, one whose `plain_name` is the same.

    The file need not exist.
    """
    exact = StoredFile(folder / name)
    if exact.exists():
        return exact
    plain = plain_name(name)
    # macOS writes decomposed names, so archives made there hold them.
    spellings = (plain, unicodedata.normalize("NFD", plain))
    alike = (StoredFile(folder / spelling) for spelling in spellings)
    return next((file for file in alike if file.exists()), exact)


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
