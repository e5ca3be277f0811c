"""A web server on this machine that serves one file, and misbehaves as told."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from pointrend_jax.importers.transfer import TransferPolicy

Fault = Literal[
    "truncate",  # ends the connection after half of what it promised
    "stall",  # falls silent there
    "reset",  # breaks the connection there
    "ignore_range",  # sends the whole file whatever is asked for
    "ignore_if_range",  # sends the range asked for, although the file is another now
    "wrong_range",  # sends another range than it was asked for
    "no_length",
    "no_validator",  # states neither ETag nor Last-Modified, and is cut off
    "html",
    "compressed",
    "slow",
    "redirect",  # to `redirect_to`
    "403",
    "404",
    "416",
    "503",
]

# Patient enough for a machine that is busy; the tests of a stall have their own.
PATIENT = TransferPolicy(timeout_s=10.0, tries=3, backoff_s=0.0)
HASTY = TransferPolicy(timeout_s=0.2, tries=10, backoff_s=0.0)


class WeightServer:
    """What it serves and how.

    Attributes:
      content, etag: the file; a test may change both while the server runs.
      faults: for the next requests, one each; after them it behaves.
      ranges: the Range header of each request so far, "" for none.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.content = bytes(range(256)) * 40
        self.etag = '"one"'
        self.faults: list[Fault] = []
        self.ranges: list[str] = []
        self.redirect_to = ""
        self.closing = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        state: WeightServer = self.server.state
        state.ranges.append(self.headers.get("Range", ""))
        fault = state.faults.pop(0) if state.faults else None
        if fault == "slow":
            time.sleep(0.1)
        if fault == "redirect":
            self.send_response(302)
            self.send_header("Location", state.redirect_to)
            self.end_headers()
        elif fault in ("403", "404", "416", "503"):
            self.send_error(int(fault))
        else:
            self._send_file(state, fault)

    def _send_file(self, state: WeightServer, fault: Fault | None) -> None:
        start = self._start(state, fault)
        body = state.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first, size = start + (fault == "wrong_range"), len(state.content)
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        if fault != "no_length":
            self.send_header("Content-Length", str(len(body)))
        if fault != "no_validator":
            self.send_header("ETag", state.etag)
        if fault == "compressed":
            self.send_header("Content-Encoding", "gzip")
        kind = "text/html; charset=utf-8" if fault == "html" else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.end_headers()
        broken = fault in ("truncate", "stall", "reset", "no_validator")
        self.wfile.write(body[: len(body) // 2] if broken else body)
        self.wfile.flush()
        # Wrong bytes for who waits that long.
        if fault == "stall" and not state.closing.wait(timeout=5):
            self.wfile.write(bytes(len(body) - len(body) // 2))
        if fault == "reset":
            # Time for the bytes to arrive; then a lingering time of 0 makes the end a reset.
            time.sleep(0.05)
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _start(self, state: WeightServer, fault: Fault | None) -> int:
        asked = self.headers.get("Range", "")
        same = self.headers.get("If-Range", state.etag) == state.etag or fault == "ignore_if_range"
        if not asked or not same or fault == "ignore_range":
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))


@contextlib.contextmanager
def weight_server() -> Iterator[WeightServer]:
    """Serves on a free port of this machine until the context ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http_server:
        state = WeightServer(http_server.server_port)
        http_server.state = state  # pyright: ignore[reportAttributeAccessIssue]
        # shutdown() waits for the next poll.
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield state
        finally:
            state.closing.set()
            http_server.shutdown()
            thread.join()
