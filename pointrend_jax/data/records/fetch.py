"""Brings record files from a bucket to this machine, checked, once.

Batches take records in random order, one by one, so every host has the whole set on its disk: it is
copied when a run starts and kept in the cache. A file whose size and checksum are those of the
manifest is not copied again; one that was cut short is.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pointrend_jax.console import tell_here, watched
from pointrend_jax.data.records.layout import COMPLETE, is_complete, read_manifest
from pointrend_jax.data.records.manifest import MANIFEST, FileNote
from pointrend_jax.storage import (
    AnyPath,
    as_os_errors,
    content_key,
    copy_file,
    file_size,
    is_remote,
    locked,
    sha256,
)

# Files copied at a time.
_THREADS = 8


def fetch_records(folder: AnyPath, cache_dir: Path) -> Path:
    """`folder` itself if it is on this machine, else its copy in the cache, made now if need be.

    Raises: ValueError if `folder` holds no complete set, the cache cannot be written, or what
      arrived is not what the manifest says.
    """
    if not is_remote(folder):
        return Path(folder)
    try:
        with as_os_errors():
            files = read_manifest(folder).all_files()
        what = str(sorted((name, tuple(note)) for name, note in files.items()))
        target = cache_dir / f"fetched-{content_key([os.fspath(folder), what])}"
        target.mkdir(parents=True, exist_ok=True)
        # One process of a machine copies, the others wait.
        with locked(target / ".lock"):
            if not is_complete(target):
                _fetch(folder, target, files)
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be copied to {cache_dir} ({error}); check the address, the rights "
            "and the space, or set config.data.cache_dir."
        ) from error
    return target


def verify_records(folder: AnyPath) -> list[str]:
    """What is wrong with the files of a complete set, each in words; reads all of them."""
    problems = []
    for name, note in watched(read_manifest(folder).all_files().items(), "verifying", unit="file"):
        problem = _problem(folder / name, note)
        problems += [problem] if problem else []
    return problems


def _problem(file: AnyPath, note: FileNote) -> str | None:
    if not file.exists():
        return f"{file} is missing"
    length = file_size(file)
    if length != note.bytes:
        return f"{file} has {length} bytes, {note.bytes} were written"
    same = sha256(file) == note.sha256
    return None if same else f"{file} has another checksum than was written"


def _fetch(folder: AnyPath, target: Path, files: dict[str, FileNote]) -> None:
    def copy(name: str) -> str | None:
        if _problem(target / name, files[name]) is not None:
            copy_file(folder / name, target / name)
        return _problem(target / name, files[name])

    total = sum(note.bytes for note in files.values())
    tell_here(f"copying {len(files)} files, {total / 2**20:.0f} MiB, from {folder}")
    before_last = [name for name in files if name != COMPLETE]
    with ThreadPoolExecutor(_THREADS) as pool:
        copies = pool.map(copy, before_last)
        results = watched(copies, "copying", total=len(before_last), unit="file")
        problems = [problem for problem in results if problem]
    if COMPLETE in files:
        problem = _problem(folder / COMPLETE, files[COMPLETE])
        problems += [problem] if problem else []
    if problems:
        raise ValueError(f"{folder} is damaged: {'; '.join(problems[:5])}; prepare it again.")
    copy_file(folder / MANIFEST, target / MANIFEST)
    # Last: it says that all else is there.
    copy_file(folder / COMPLETE, target / COMPLETE)
