"""A bucket on this machine: gs:// addresses lead to a folder, for every library that takes them.

epath goes through fsspec, where `FolderBuckets` stands in for gcsfs; tensorstore (the arrays of a
checkpoint) speaks HTTP with Google Cloud Storage, of which `serve` answers the few requests that
it makes. What a bucket cannot do (appending) is refused.
"""

import http.server
import json
import os
import shutil
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

_ROOT = "POINTREND_JAX_TEST_BUCKETS"


class FolderBuckets(LocalFileSystem):
    """gs://bucket/name is $POINTREND_JAX_TEST_BUCKETS/bucket/name."""

    protocol = ("gcs", "gs")

    def __init__(self, **options: Any) -> None:
        options.pop("finalize_on_close", None)
        super().__init__(auto_mkdir=False, **options)

    @classmethod
    def _strip_protocol(cls, path: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(p) for p in path]
        text: str = os.fspath(path)
        for scheme in cls.protocol:
            text = text.removeprefix(f"{scheme}://")
        root = os.environ[_ROOT]
        inside = text.startswith(root)
        return (text if inside else f"{root}/{text.lstrip('/')}").rstrip("/")

    def mkdir(self, path: str, *args: Any, **kwargs: Any) -> None:
        """A bucket has no folders, only objects with such names."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """The same."""

    def _make_parents(self, path: str) -> None:
        Path(self._strip_protocol(path)).parent.mkdir(parents=True, exist_ok=True)

    def glob(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Names without the scheme, as gcsfs gives them."""
        root = os.environ[_ROOT]
        found: Any = super().glob(path, *args, **kwargs)
        return [name.removeprefix(f"{root}/") for name in found]

    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if "a" in mode or "+" in mode:
            raise NotImplementedError("a bucket knows no appending")
        if "w" in mode:
            self._make_parents(path)
        return super()._open(path, mode, *args, **kwargs)


class _Objects(http.server.BaseHTTPRequestHandler):
    """The JSON API of Google Cloud Storage, as far as tensorstore uses it."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        bucket, name = self._object(url.path)
        if name is None:
            self._list(bucket, query)
            return
        file = self.server.root / bucket / name
        if not file.is_file():
            self._answer(404, b"{}")
        elif query.get("alt") != "media":
            self._answer(200, self._describe(bucket, name))
        else:
            content, status = file.read_bytes(), 200
            wanted = self.headers.get("Range", "")
            if wanted.startswith("bytes="):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                total, status = len(content), 206
                start, stop = int(first), int(last) + 1 if last else total
                content = content[start:stop]
                span = f"bytes {start}-{start + len(content) - 1}/{total}"
                self._answer(status, content, {"Content-Range": span} | self._generation(file))
                return
            self._answer(status, content, self._generation(file))

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        bucket, _ = self._object(url.path.removeprefix("/upload"))
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = query["name"]
        file = self.server.root / bucket / name
        if query.get("ifGenerationMatch") == "0" and file.is_file():
            self._answer(412, b"{}")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.{threading.get_ident()}")
        unfinished.write_bytes(content)
        unfinished.replace(file)
        self.server.uploads += 1
        self._answer(200, self._describe(bucket, name))

    def do_DELETE(self) -> None:
        bucket, name = self._object(urllib.parse.urlsplit(self.path).path)
        file = self.server.root / bucket / str(name)
        found = file.is_file()
        file.unlink(missing_ok=True)
        self._answer(204 if found else 404, b"")

    def _object(self, path: str) -> tuple[str, str | None]:
        parts = path.split("/storage/v1/b/")[-1].split("/o", 1)
        name = urllib.parse.unquote(parts[1].lstrip("/")) if len(parts) > 1 else ""
        return parts[0], name or None

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        root = self.server.root / bucket
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        chosen = [n for n in names if n.startswith(query.get("prefix", ""))]
        items = [json.loads(self._describe(bucket, name)) for name in chosen]
        self._answer(200, json.dumps({"kind": "storage#objects", "items": items}).encode())

    def _generation(self, file: Path) -> dict[str, str]:
        return {"x-goog-generation": str(file.stat().st_mtime_ns)}

    def _describe(self, bucket: str, name: str) -> bytes:
        stat = (self.server.root / bucket / name).stat()
        generation = str(stat.st_mtime_ns)
        content = {"name": name, "bucket": bucket, "size": str(stat.st_size)}
        content |= {"generation": generation, "metageneration": "1"}
        return json.dumps(content).encode()

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def buckets(root: Path) -> Iterator[Path]:
    """While it lasts, gs://NAME is the folder `root`/NAME."""
    (root / "bucket").mkdir(parents=True)
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Objects)
    server.root, server.uploads = root, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in FolderBuckets.protocol:
        fsspec.register_implementation(name, FolderBuckets, clobber=True)
    os.environ[_ROOT] = str(root)
    # Read by tensorstore when the first address is opened.
    os.environ["TENSORSTORE_GCS_HTTP_URL"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["GOOGLE_AUTH_TOKEN_FOR_TESTING"] = "none"
    try:
        yield root / "bucket"
    finally:
        server.shutdown()
        server.server_close()
        shutil.rmtree(root, ignore_errors=True)
