"""Weight files by name: a cache of downloads whose digests are recorded and checked.

A file comes to `<file>.part` and takes its place only when it is whole. The sha256 of the first
download stays in `<file>.sha256`: what differs from it later, on disk or from the server, is
refused. One process downloads a file at a time. How a file comes over the network: see `transfer`.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pointrend_jax.importers.published import (
    DETECTRON2_SCHEME,
    MIRROR_VARIABLE,
    weights_url,
)
from pointrend_jax.importers.transfer import TransferPolicy, check_url, discard, transfer
from pointrend_jax.storage import default_cache_dir, expanded, locked, sha256

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?")
# No "..", no hidden or empty names, and nothing that a file system reads in a special way.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,199}")
_OWN_SUFFIXES = (".part", ".part.etag", ".sha256", ".lock")


def resolve_weights(
    name: str,
    *,
    cache_dir: Path | None = None,
    base_url: str | None = None,
    policy: TransferPolicy | None = None,
) -> Path:
    """The file that `name` stands for, downloaded if it has to be.

    Args:
      name: a local file (returned as it is), or what `weights_url` takes. Plain http only from this
        machine.
      cache_dir: None = `default_cache_dir()`. Downloads are kept in its weights/<host>/<path>.
      base_url: what stands for `detectron2://`; None = as `weights_url`.
      policy: None = `TransferPolicy()`.
    Raises:
      ValueError: for a name that means nothing, a file that cannot be had, or another digest than
        at first; the message says what to do.
      OSError: if the cache cannot be used, a full disk included.
    """
    name = expanded(name)
    # os.path, because Path.is_file raises for a name that no file can have.
    if os.path.isdir(name):
        raise ValueError(f"The weights must be a file, but {name} is a folder; name its file.")
    if os.path.isfile(name):
        return Path(name)
    url = weights_url(name, base_url=base_url)
    path = (cache_dir or default_cache_dir()) / "weights" / _cache_name(url)
    with explain_disk_errors(path.parent):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            waiting = f"waiting for the process that downloads {path}"
            with locked(_beside(path, ".lock"), waiting):
                # Another process may have brought it meanwhile.
                if not path.is_file():
                    _download(url, path, policy or TransferPolicy())
        _check_cached(path)
    return path


def _cache_name(url: str) -> Path:
    """The place of `url` below the cache. Raises: ValueError unless it is plain and safe."""
    check_url(url)
    parts = urlsplit(url)
    host, names = parts.netloc.lower(), parts.path.split("/")[1:]
    if (
        # urlsplit drops some characters, such as line breaks.
        parts.geturl() != url
        or parts.query
        or parts.fragment
        or not _HOST.fullmatch(host)
        or not names
        or not all(_NAME.fullmatch(part) for part in names)
        or names[-1].endswith(_OWN_SUFFIXES)
    ):
        raise ValueError(
            "the address of weights must be a host and plain names (letters, digits and . _ + = -; "
            f"none empty or '..', no user, '?' or '#'), got {url!r}; download the file by other "
            "means and pass its path."
        )
    return Path(host.replace(":", "_"), *names)


def _download(url: str, path: Path, policy: TransferPolicy) -> None:
    """Brings `url` to `path`, whole, with a digest that nothing contradicts."""
    part, sidecar = _beside(path, ".part"), _beside(path, ".sha256")
    try:
        transfer(url, part, policy=policy)
    except ValueError as error:
        raise ValueError(
            f"{error} A file that is put at {path} is taken from there, and ${MIRROR_VARIABLE} "
            f"names a mirror of {DETECTRON2_SCHEME} addresses."
        ) from error
    digest = sha256(part)
    try:
        if sidecar.is_file() and digest != _recorded(sidecar):
            raise ValueError(
                f"{url} now sends a file with the sha256\n  {digest}, but at its first download "
                f"it had\n  {_recorded(sidecar)}\nNothing was kept. If its publisher has replaced "
                f"it and you trust the new one, delete {sidecar} and run it again."
            )
    except ValueError:
        discard(part)
        raise
    # The digest first: there is never a file of ours without it.
    _record(sidecar, path.name, digest)
    os.replace(part, path)
    discard(part)


def _check_cached(path: Path) -> None:
    digest, sidecar = sha256(path), _beside(path, ".sha256")
    if not sidecar.is_file():
        # Put there by hand.
        _record(sidecar, path.name, digest)
    elif digest != _recorded(sidecar):
        raise ValueError(
            f"{path} has the sha256\n  {digest}, but when it was first used it had\n  "
            f"{_recorded(sidecar)}\nIt has been damaged or replaced since: delete it to download "
            f"it again. If you have replaced it on purpose, delete {sidecar}."
        )


def _recorded(sidecar: Path) -> str:
    digest = sidecar.read_text(encoding="utf-8", errors="replace")[:64]
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"{sidecar} must begin with a sha256; delete it to record it anew.")
    return digest


def _record(sidecar: Path, name: str, digest: str) -> None:
    # By way of another name, so that nobody ever reads half a digest.
    temporary = _beside(sidecar, f".{os.getpid()}")
    # In the format of the command sha256sum, which can check it.
    temporary.write_text(f"{digest}  {name}\n", encoding="utf-8")
    os.replace(temporary, sidecar)


@contextlib.contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """An OSError within names the cache folder and what to do."""
    # Only the disk: `transfer` reports what the network does as ValueError.
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"the cache folder {folder} cannot be used ({error.strerror}); free some space, or "
            "set the environment variable POINTREND_JAX_CACHE to another folder",
        ) from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
