"""Files on a disk or in a bucket (gs://), written whole or not at all.

On a disk a path is a `pathlib.Path`; an address such as gs://bucket/folder is an `epath.Path`,
which has the same methods and needs the extra `gcs`. A bucket knows neither appending nor renaming,
so nothing here does that there: an object appears when it is complete.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
from etils import epath
from filelock import lock_descriptor

AnyPath = Path | epath.Path

_CHUNK = 2**22


def expanded(path: str | os.PathLike[str]) -> str:
    """What a user wrote as a path, with `~` and `~name` at its beginning as the home folder.

    Shells expand it in some places only (not behind `--flag=`), and some libraries do and others do
    not: every path that comes from a flag, a field or the environment goes through here, once.

    Raises: ValueError if there is no such home folder.
    """
    text = os.path.expanduser(os.fspath(path))
    if text.startswith("~"):
        raise ValueError(
            f"{text!r} begins with ~, but no such home folder is known; write the whole path (or "
            "./~ for a folder of that name)."
        )
    return text


def local_path(path: str | os.PathLike[str]) -> Path:
    """A path of this machine as a user wrote it. Raises ValueError as `expanded`."""
    return Path(expanded(path))


def as_path(address: str | os.PathLike[str]) -> AnyPath:
    """A path of what a flag or a field says: of this machine, or in a bucket.

    Raises: ValueError for an address of an unknown kind, or as `expanded`.
    """
    text = expanded(address)
    # `pathlib` makes one slash of two.
    text = re.sub("^gs:/+", "gs://", text)
    if "://" not in text:
        return Path(text)
    if not text.startswith("gs://") or not text.removeprefix("gs://").strip("/"):
        raise ValueError(
            f"{text!r} must be a path on this machine or an address gs://BUCKET/FOLDER; mount "
            "other stores as folders."
        )
    try:
        fsspec.get_filesystem_class("gcs")
    except ImportError as error:
        raise ValueError(
            f"{text} needs the extra `gcs`: pip install 'pointrend_jax[gcs]'"
        ) from error
    return epath.Path(text)


def readable(name: str | os.PathLike[str]) -> str:
    """A path or file name as text that every program can print and read.

    Names are bytes to the operating system; Python has those that are no UTF-8 as lone surrogates,
    which are spelt out here.
    """
    return os.fspath(name).encode("utf-8", "backslashreplace").decode()


def is_remote(path: AnyPath) -> bool:
    """Whether `path` is an address in a bucket."""
    return "://" in os.fspath(path)


def is_folder(address: str | os.PathLike[str]) -> bool:
    """Whether there is a folder, of this machine or in a bucket."""
    text = expanded(address)
    return as_path(text).is_dir() if text.startswith("gs:/") else os.path.isdir(text)


def default_cache_dir() -> Path:
    """$POINTREND_JAX_CACHE, or .cache/pointrend_jax of the home folder.

    Where nobody can write in a home folder, a folder for temporary files, which is told.
    """
    chosen = os.environ.get("POINTREND_JAX_CACHE")
    if chosen:
        return local_path(chosen)
    home = os.path.expanduser("~")
    cache = Path(home) / ".cache" / "pointrend_jax"
    if Path(home).is_absolute() and (os.path.isdir(cache) or _can_be_made(cache)):
        return cache
    return _temporary_cache(home)


def _can_be_made(folder: Path) -> bool:
    # os.path, because the methods of Path raise below a folder that is closed to this user.
    there = next(parent for parent in folder.parents if os.path.exists(parent))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@functools.cache
def _temporary_cache(home: str) -> Path:
    """The user's own, the same in every process, so that what is kept there serves again."""
    folder = Path(tempfile.gettempdir()) / f"pointrend_jax-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        own = folder.stat().st_uid == os.getuid()
    except OSError:
        own = False
    if not own:
        folder = Path(tempfile.mkdtemp(prefix="pointrend_jax-"))
    place = home if os.path.isabs(home) else "which is not known"
    print(
        f"no cache can be kept in the home folder ({place}): {folder} is used; "
        "$POINTREND_JAX_CACHE names another place",
        file=sys.stderr,
        flush=True,
    )
    return folder


def is_file_name(name: object) -> bool:
    """Whether `name`, which may come out of a file, is the plain name of a file in a folder.

    None that leads elsewhere (as "../x" or "/x"), is hidden (as locks and unfinished files are) or
    cannot be printed.
    """
    if not isinstance(name, str) or not name.isprintable() or name.startswith("."):
        return False
    return 0 < len(name.encode()) <= 255 and not set(name) & set("/\\:")


@contextlib.contextmanager
def locked(file: Path, waiting: str = "") -> Iterator[None]:
    """While no other process of this machine holds `file`, which stays; a killed one lets go.

    Args:
      waiting: printed if another holds it.
    """
    with file.open("ab") as lock:
        if not lock_descriptor(lock.fileno(), blocking=False):
            if waiting:
                print(waiting, file=sys.stderr, flush=True)
            lock_descriptor(lock.fileno())
        yield


def write_json(path: AnyPath, content: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all.

    Raises: ValueError as `write_whole`, or if a value is no JSON (NaN).
    """
    write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_whole(path: AnyPath, content: bytes) -> None:
    """Writes the file whole or not at all. Raises ValueError as `write_parts`."""
    write_parts(path, (content,))


def write_parts(path: AnyPath, parts: Iterable[bytes]) -> None:
    """Writes the file whole or not at all: under a temporary name beside it, then renamed.

    Args:
      parts: what follows one another in the file; for a disk they are never together in memory.
    Raises: ValueError if the folder can't be written to or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_remote(path):
            with as_os_errors():
                path.write_bytes(b"".join(parts))
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(parts)
            # mkstemp gives a file that only its owner can read.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            # Nothing is left of a file that was not finished, by whatever: a full disk, Ctrl-C.
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"Cannot write {path}: {error.strerror or error}.") from error


def move_into(file: Path, target: AnyPath) -> None:
    """Moves a complete file to its place: renamed on a disk, copied and removed for a bucket."""
    if is_remote(target):
        copy_file(file, target)
        file.unlink()
    else:
        file.replace(target)


def copy_file(source: AnyPath, target: AnyPath) -> None:
    """The content of one file to another; a local target appears whole or not at all."""
    with as_os_errors():
        if is_remote(target):
            # Read before anything is opened there: a writer that is closed early leaves half.
            target.write_bytes(source.read_bytes())
            return
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        with source.open("rb") as reader, unfinished.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _CHUNK)
        unfinished.replace(target)


def move_folder(source: AnyPath, target: AnyPath) -> None:
    """Moves a folder to where none is; file by file in a bucket, which knows no renaming."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not is_remote(source):
        source.rename(target)
        return
    with as_os_errors():
        _copy_folder(source, target)
        epath.Path(source).rmtree()


def _copy_folder(source: AnyPath, target: AnyPath) -> None:
    for path in source.iterdir():
        if path.is_dir():
            _copy_folder(path, target / path.name)
        else:
            copy_file(path, target / path.name)


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """What the libraries of the cloud raise (no rights, no such bucket, overload) as OSError."""
    try:
        yield
    except _cloud_errors() as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _cloud_errors() -> tuple[type[Exception], ...]:
    """What the cloud libraries that are in use raise."""
    names = (
        ("gcsfs.retry", "HttpError"),
        ("google.auth.exceptions", "GoogleAuthError"),
        ("google.api_core.exceptions", "GoogleAPIError"),
    )
    return tuple(getattr(sys.modules[m], name) for m, name in names if m in sys.modules)


def file_size(path: AnyPath) -> int:
    """The size of a file in bytes."""
    return path.stat().st_size if isinstance(path, Path) else int(path.stat().length)


def sha256(path: AnyPath) -> str:
    """The digest of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        # The stubs of epath know less of its files than they can.
        content: Any = file
        return hashlib.file_digest(content, "sha256").hexdigest()


def content_key(parts: Iterable[str | bytes]) -> str:
    """A name for what `parts` say about a set; another one when any of them differs."""
    digest = hashlib.sha256()
    for part in parts:
        # File names need not be UTF-8.
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def check_workdir(workdir: AnyPath, flag: str = "--workdir") -> None:
    """Makes the directory. Raises ValueError, naming the flag, if nothing can be written there."""
    # Each process has its own: they come here at the same time.
    probe = workdir / f".write_probe_{socket.gethostname()}_{os.getpid()}"
    try:
        with as_os_errors():
            workdir.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
    except OSError as error:
        raise ValueError(
            f"{flag} {workdir} cannot be written to ({error.strerror or error}); "
            "choose one that is writable and not full."
        ) from error
