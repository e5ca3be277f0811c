"""One file over HTTP by pooch's downloader, however often the connection breaks.

What has come is kept in `part`, and what the server calls that version of the file (its ETag) in
`<part>.etag`. The next try asks for the rest and only takes it if the server still has that
version; else it starts anew. Where the file belongs and whether it is the right one: see
`download`.
"""

import contextlib
import errno
import re
import shutil
import time
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pooch
import requests

from pointrend_jax.console import bar, tell_progress

_LOOPBACK = ("localhost", "127.0.0.1")
# Too slow, too many requests, another size than before: like the 5xx, worth another try.
_TRY_AGAIN = (408, 416, 425, 429)
# So much is lost at most when a connection breaks.
_BLOCK_BYTES = 1 << 10
# One that names the bytes; a weak one (W/"...") names what is as good.
_STRONG_ETAG = re.compile(r'"[^"]+"')


class TransferPolicy(NamedTuple):
    """How patient a transfer is.

    Attributes:
      timeout_s: seconds without a byte after which a connection counts as lost.
      tries: connections in a row that bring nothing new before it gives up.
      backoff_s: seconds before the next try, doubled each time that nothing new has come.
      max_bytes: a larger file is refused before it comes; None for any size.
    """

    timeout_s: float = 30.0
    tries: int = 5
    backoff_s: float = 1.0
    max_bytes: int | None = None


def check_url(url: str) -> None:
    """Raises: ValueError unless `url` is https, or http to this machine.

    At a first download nothing but the connection vouches for the content.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(
            f"files are downloaded over https (plain http from this machine only), got {url}; "
            "use https, or download the file by other means and pass its path."
        )


def transfer(url: str, part: Path, *, policy: TransferPolicy) -> None:
    """Brings the whole file at `url` to `part`, going on from what is there.

    The caller holds a lock on `part`, and calls `discard` or moves it away afterwards.
    Raises:
      ValueError: if the server has no such file, sends something else or cannot be reached.
      OSError: if `part` cannot be written.
    """
    furthest, failures = _size(part), 0
    while True:
        try:
            with part.open("ab") as file:
                _receive(url, part, file, policy)
            return
        except requests.RequestException as error:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= policy.tries:
                raise ValueError(
                    f"{url} could not be downloaded: {_reason(error)} ({failures} tries without a "
                    f"new byte; {_size(part)} bytes are kept). Check the network and run it again "
                    "to go on, or download the file by other means and pass its path."
                ) from error
            pause = policy.backoff_s * 2 ** (failures - 1)
            tell_progress(f"{url}: {_reason(error)}; trying again in {pause:g} s")
        finally:
            if not _size(part):
                discard(part)
        time.sleep(pause)


def discard(part: Path) -> None:
    """Forgets what has been transferred to `part`."""
    part.unlink(missing_ok=True)
    _etag_file(part).unlink(missing_ok=True)


def _receive(url: str, part: Path, file: IO[bytes], policy: TransferPolicy) -> None:
    """One connection. Raises: requests.RequestException if the file is not whole after it."""
    etag = _etag_file(part).read_text(encoding="utf-8") if _etag_file(part).is_file() else ""
    start = file.tell() if _STRONG_ETAG.fullmatch(etag) else 0
    opened = contextlib.ExitStack()

    def check(response: requests.Response, **_: Any) -> None:
        opened.push(response)
        if response.is_redirect:
            check_url(urljoin(response.url, response.headers["Location"]))
            return
        code, headers = response.status_code, response.headers
        if code in _TRY_AGAIN or code >= 500:
            if code == 416:
                file.truncate(0)
            response.raise_for_status()
        _check_whole(url, response, policy.max_bytes)
        if code == 206:
            same = headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if not same or headers.get("ETag", etag) != etag:
                file.truncate(0)
                raise requests.ConnectionError(f"{url} has changed; starting anew")
        else:
            file.truncate(0)
            _etag_file(part).write_text(headers.get("ETag", ""), encoding="utf-8")
        to_come, free = int(headers["Content-Length"]), shutil.disk_usage(part.parent).free
        if to_come > free:
            raise OSError(errno.ENOSPC, f"{to_come} bytes are to come and {free} are free", part)
        tell_progress(f"downloading {to_come / 1e6:.1f} MB from {url}")

    # Some hosts turn away the default agent; "identity" keeps lengths and ranges those of the file.
    headers = {"User-Agent": "pointrend_jax", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": etag}
    # The downloader takes a bar, whatever its signature says, and sets the total.
    progress: Any = bar(1, "downloading", "byte")
    with opened, progress:
        download = pooch.HTTPDownloader(
            progressbar=progress,
            chunk_size=_BLOCK_BYTES,
            timeout=policy.timeout_s,
            headers=headers,
            hooks={"response": check},
            proxies={"http": ""} if urlsplit(url).hostname in _LOOPBACK else None,
        )
        download(url, file, None)


def _check_whole(url: str, response: requests.Response, max_bytes: int | None) -> None:
    """Raises: ValueError unless a server sends what can be a whole file, or the rest of one."""
    headers, problem = response.headers, ""
    if response.status_code not in (200, 206):
        problem = f"the server answers {response.status_code} {response.reason}"
    elif headers.get("Content-Type", "").startswith("text/html"):
        problem = "it is a web page"
    elif headers.get("Content-Encoding", "identity") != "identity":
        problem = "it is compressed on the way"
    elif not re.fullmatch("0*[1-9][0-9]*", headers.get("Content-Length", "")):
        # Without a length a file that was cut off looks whole.
        problem = "the server states no length"
    elif max_bytes is not None and int(headers["Content-Length"]) > max_bytes:
        problem = f"it has {headers['Content-Length']} bytes, and at most {max_bytes} are taken"
    if problem:
        raise ValueError(
            f"{url} cannot be downloaded: {problem}. Check the address, or download the file by "
            "other means and pass its path."
        )


def _reason(error: requests.RequestException) -> str:
    """What went wrong, without what the libraries tell of each other."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    return str(next(iter(getattr(cause, "args", ())), cause))


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
