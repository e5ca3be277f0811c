"""Brings record files from a bucket to this machine, checked, once.

Batches take records in random order, one by one, so every host has the whole set on its disk: it is
copied when a run starts and kept in the cache. A file whose size and checksum are those of the
manifest is not copied again; one that was cut short is.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from pointrend_jax.data.records import COMPLETE, MANIFEST, content_key, is_complete, read_manifest
from pointrend_jax.storage import (
    AnyPath,
    as_os_errors,
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
            manifest = read_manifest(folder)
        what = str(sorted(_files(manifest).items()))
        target = cache_dir / f"fetched-{content_key([os.fspath(folder), what])}"
        target.mkdir(parents=True, exist_ok=True)
        # One process of a machine copies, the others wait.
        with locked(target / ".lock"):
            if not is_complete(target):
                _fetch(folder, target, _files(manifest))
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be copied to {cache_dir} ({error}); check the address, the rights "
            "and the space, or set config.data.cache_dir."
        ) from error
    return target


def verify_records(folder: AnyPath) -> list[str]:
    """What is wrong with the files of a complete set, each in words; reads all of them."""
    problems = []
    for name, (size, checksum) in tqdm(_files(read_manifest(folder)).items(), disable=None):
        problem = _problem(folder / name, size, checksum)
        problems += [problem] if problem else []
    return problems


def _files(manifest: dict) -> dict[str, tuple[int, str]]:
    """(bytes, checksum) of every file that the manifest vouches for, by name."""
    shards = {s["file"]: (s["file_bytes"], s["sha256"]) for s in manifest["shards"]}
    return shards | {name: (f["bytes"], f["sha256"]) for name, f in manifest["files"].items()}


def _problem(file: AnyPath, size: int, checksum: str) -> str | None:
    if not file.exists():
        return f"{file} is missing"
    length = file_size(file)
    if length != size:
        return f"{file} has {length} bytes, {size} were written"
    return None if sha256(file) == checksum else f"{file} has another checksum than was written"


def _fetch(folder: AnyPath, target: Path, files: dict[str, tuple[int, str]]) -> None:
    def copy(name: str) -> str | None:
        size, checksum = files[name]
        if _problem(target / name, size, checksum) is not None:
            copy_file(folder / name, target / name)
        return _problem(target / name, size, checksum)

    total = sum(size for size, _ in files.values())
    print(f"copying {len(files)} files, {total / 2**20:.0f} MiB, from {folder}", flush=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        results = tqdm(pool.map(copy, files), total=len(files), leave=False, disable=None)
        problems = [problem for problem in results if problem]
    if problems:
        raise ValueError(f"{folder} is damaged: {'; '.join(problems[:5])}; prepare it again.")
    copy_file(folder / MANIFEST, target / MANIFEST)
    # Last: it says that all else is there.
    copy_file(folder / COMPLETE, target / COMPLETE)
