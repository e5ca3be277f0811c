"""One file over HTTP, however often the connection breaks.

What has come is kept in `part`, and which file of the server it belongs to beside it in
`<part>.json`. The next try asks for the rest and only takes it if the server still has the same
file; else it starts anew. Where the file belongs and whether it is the right one: see `download`.
"""

import errno
import http.client
import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

_BLOCK_BYTES = 1 << 18
_LOOPBACK = ("localhost", "127.0.0.1")
# Too slow, too many requests: like the 5xx, worth another try.
_TRY_AGAIN = (408, 425, 429)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


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


class _Interrupted(Exception):
    """A connection failed in a way that another one may not."""


class _Version(NamedTuple):
    """Which file of the server a part is of. `etag`, `last_modified`: "" if it states none."""

    url: str
    etag: str
    last_modified: str
    num_bytes: int

    @property
    def validator(self) -> str:
        """What names this version in an If-Range header, which takes no weak ETag; "" = nothing."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified


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
            _receive(url, part, policy)
            return
        except _Interrupted as error:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= policy.tries:
                raise ValueError(
                    f"{url} could not be downloaded: {error} ({failures} tries without a new "
                    f"byte; {_size(part)} bytes are kept). Check the network and run it again to "
                    "go on, or download the file by other means and pass its path."
                ) from error
            pause = policy.backoff_s * 2 ** (failures - 1)
            _say(f"{error}; trying again in {pause:g} s")
        time.sleep(pause)


def discard(part: Path) -> None:
    """Forgets what has been transferred to `part`."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _receive(url: str, part: Path, policy: TransferPolicy) -> None:
    """One connection. Raises: _Interrupted if the file is not whole after it."""
    known = _known_version(part, url)
    start = _size(part) if known else 0
    if known and start == known.num_bytes:
        return
    with _open(url, part, known, start, policy.timeout_s) as response:
        if known and response.status == 206:
            _check_same(response.headers, known, start, part)
            num_bytes = known.num_bytes
        else:
            version = _new_version(url, response, policy.max_bytes)
            # In this order: a part never lies beside the description of another file.
            part.write_bytes(b"")
            _version_file(part).write_text(json.dumps(version._asdict()), encoding="utf-8")
            start, num_bytes = 0, version.num_bytes
        _check_space(part, num_bytes - start)
        _copy(response, part, start, num_bytes)


def _open(
    url: str, part: Path, known: _Version | None, start: int, timeout_s: float
) -> http.client.HTTPResponse:
    # Some hosts turn away the default agent; "identity" keeps lengths and ranges those of the file.
    headers = {"User-Agent": "pointrend_jax", "Accept-Encoding": "identity"}
    if known and start:
        headers |= {"Range": f"bytes={start}-", "If-Range": known.validator}
    handlers: list[urllib.request.BaseHandler] = [_SafeRedirects()]
    if urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers)
    try:
        return urllib.request.build_opener(*handlers).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            discard(part)
            raise _Interrupted(f"{url} has changed or become shorter; starting anew") from error
        if error.code in _TRY_AGAIN or error.code >= 500:
            raise _Interrupted(f"{url}: the server answers {error.code} {error.reason}") from error
        raise ValueError(
            f"{url} cannot be downloaded: the server answers {error.code} {error.reason}. Check "
            "the address, or download the file by other means and pass its path."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _Interrupted(f"{url} cannot be reached: {reason}") from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where a download may begin."""

    # Any: the types of the library say more than one line may hold.
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        try:
            check_url(newurl)
        except ValueError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _new_version(url: str, response: http.client.HTTPResponse, max_bytes: int | None) -> _Version:
    """What a server sends from the start on. Raises: ValueError unless it can be a whole file."""
    headers, problem = response.headers, ""
    num_bytes = headers.get("Content-Length", "")
    if response.status != 200:
        problem = f"the server answers {response.status}"
    elif headers.get_content_type() == "text/html":
        problem = "it is a web page"
    elif headers.get("Content-Encoding", "identity") != "identity":
        problem = "it is compressed on the way"
    elif not num_bytes.isdecimal() or int(num_bytes) == 0:
        # Without a length a file that was cut off looks whole.
        problem = f"the server states no length (Content-Length: {num_bytes or 'none'})"
    elif max_bytes is not None and int(num_bytes) > max_bytes:
        problem = f"it has {num_bytes} bytes, and at most {max_bytes} are taken"
    if problem:
        raise ValueError(
            f"{url} cannot be downloaded: {problem}. Check the address, or download the file by "
            "other means and pass its path."
        )
    return _Version(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), int(num_bytes))


def _check_same(headers: Message, known: _Version, start: int, part: Path) -> None:
    """Servers may ignore If-Range: what the answer says counts."""
    stated = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    same = stated is not None and stated.groups() == (str(start), str(known.num_bytes))
    # An answer to If-Range may leave either out.
    same &= headers.get("ETag", known.etag) == known.etag
    same &= headers.get("Last-Modified", known.last_modified) == known.last_modified
    if not same:
        discard(part)
        raise _Interrupted(f"{known.url} has changed since the download began; starting anew")


def _check_space(part: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if num_bytes > free:
        raise OSError(errno.ENOSPC, f"{num_bytes} bytes are to come and {free} are free", str(part))


def _copy(response: http.client.HTTPResponse, part: Path, start: int, num_bytes: int) -> None:
    done = start
    with (
        open(part, "ab") as file,
        tqdm(
            desc=part.name.removesuffix(".part"),
            total=num_bytes,
            initial=start,
            unit="B",
            unit_scale=True,
            # None: shown on a terminal only.
            disable=None,
        ) as progress,
    ):
        while done < num_bytes:
            try:
                # read1, which keeps what came before a stall.
                block = response.read1(min(_BLOCK_BYTES, num_bytes - done))
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(f"the connection broke at byte {done}: {error}") from error
            if not block:
                raise _Interrupted(f"the connection ended at byte {done} of {num_bytes}")
            file.write(block)
            done += len(block)
            progress.update(len(block))


def _known_version(part: Path, url: str) -> _Version | None:
    """The version that `part` is of, None if there is nothing to go on from."""
    try:
        version = _Version(**json.loads(_version_file(part).read_text(encoding="utf-8")))
    # Missing, or cut off by the end of a process.
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
    usable = version.url == url and bool(version.validator) and _size(part) <= version.num_bytes
    return version if usable else None


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _say(message: str) -> None:
    # Beside a progress bar; standard output belongs to the program.
    tqdm.write(message, file=sys.stderr)
