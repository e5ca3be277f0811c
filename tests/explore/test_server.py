"""The server of the page: what it answers, whom, and what it survives."""

import io
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the page needs the extra `web`")
pytest.importorskip("uvicorn", reason="the page needs the extra `web`")

from pointrend_jax.explore import server
from tests.explore.disc import TOKEN, Served, served


@pytest.fixture(scope="module")
def page() -> Iterator[Served]:
    with served() as running:
        yield running


def _photo(width: int = 64, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _until(holds: Callable[[], Any]) -> None:
    ending = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ending
        time.sleep(0.01)


def _scene(page: Served) -> str:
    answer = page.ask("photos", _photo())
    assert answer.status == 200, answer.body
    return answer.json["scene"]


def test_the_page_and_its_files_are_served_and_may_load_nothing_from_elsewhere(page: Served):
    html = page.ask("")
    assert html.status == 200
    assert "default-src 'self'" in html.headers["content-security-policy"]
    for name in ("main.js", "view.js", "picture.js", "panel.js", "refine.js", "api.js"):
        answer = page.ask(f"page/{name}")
        assert answer.status == 200
        assert "javascript" in answer.headers["content-type"]
        assert b"http://" not in answer.body
        assert b"https://" not in answer.body
    assert page.ask("page/../server.py").status == 404
    assert page.ask("page/%2e%2e%2fserver.py").status == 404


def test_a_photo_becomes_a_scene_whose_windows_are_bytes(page: Served):
    answer = page.ask("photos", _photo()).json
    assert (answer["width"], answer["height"]) == (64, 48)
    assert [item["class_name"] for item in answer["objects"]] == ["disc", "shadow"]
    name = answer["scene"]
    assert page.ask("start").json["scene"] == name
    # The disc's lower right quarter, of radius 16.
    window = page.ask(f"scenes/{name}/window?object=0&window=32,24,48,40&side=100")
    mask = np.frombuffer(window.body, np.uint8).reshape(128, 128)
    assert mask[0, 0] == 255
    assert mask[-1, -1] == 0
    assert abs((mask == 255).mean() - np.pi / 4) < 0.01
    # Only a few sides are rendered: the next larger one, and none beyond the last.
    assert len(page.ask(f"scenes/{name}/window?window=0,0,9,9&side=129").body) == 512**2
    assert len(page.ask(f"scenes/{name}/window?window=0,0,9,9&side=9999").body) == 1024**2
    steps = page.ask(f"scenes/{name}/steps?window=0,0,9,9&side=128").json
    assert [step["width"] for step in steps] == [1, 2]
    photo = page.ask(f"scenes/{name}/photo")
    assert Image.open(io.BytesIO(photo.body)).size == (64, 48)
    saved = page.ask(f"scenes/{name}/save/svg?objects=0,1")
    assert saved.json == {"kind": "svg", "chosen": [0, 1]}
    assert saved.headers["content-disposition"] == 'attachment; filename="disc.svg"'


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("window?window=0,0,9&side=9", 400, "window must be x0,y0,x1,y1"),
        ("window?window=0,0,9,z&side=9", 400, "'z' is no number"),
        ("window?window=0,0,9,9&side=9&object=7", 400, "there is one disc"),
        ("map?kind=coarse", 400, "a disc has no label map"),
        ("nothing", 404, "Not Found"),
    ],
    ids=["three numbers", "no number", "no such object", "no label map", "no such address"],
)
def test_a_wrong_question_is_told(page: Served, path: str, status: int, message: str):
    answer = page.ask(f"scenes/{_scene(page)}/{path}")
    assert answer.status == status
    assert message in answer.json["error"]


def test_the_last_few_photos_are_kept(page: Served):
    first = _scene(page)
    for _ in range(4):
        _scene(page)
    answer = page.ask(f"scenes/{first}/window?window=0,0,9,9&side=9")
    assert answer.status == 410
    assert "drop this one again" in answer.json["error"]


@pytest.mark.parametrize(
    ("headers", "token", "status", "message"),
    [
        ({"Host": "attacker.example"}, TOKEN, 421, "this server is 127.0.0.1"),
        ({"Host": "127.0.0.1"}, TOKEN, 421, "this server is 127.0.0.1"),
        ({"Origin": "http://attacker.example"}, TOKEN, 403, "another site asks"),
        ({"Origin": "null"}, TOKEN, 403, "another site asks"),
        ({}, "another", 403, "open the whole address"),
        ({}, "", 403, "open the whole address"),
    ],
    ids=["name that leads here", "no port", "other site", "file", "other token", "no token"],
)
def test_nobody_else_is_answered(
    page: Served, headers: dict[str, str], token: str, status: int, message: str
):
    for path, body in (("start", None), ("photos", _photo())):
        answer = page.ask(path, body, headers, token)
        assert answer.status == status
        assert message in answer.json["error"]


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Dear reader, this is no photo.", "is not an image that can be decoded"),
        (b"", "is not an image that can be decoded"),
        (_photo()[:300], "is damaged"),
        (_bomb(10_000, 10_000), "must have at most"),
        (_bomb(7_000, 7_000), "the image has 7000 x 7000 pixels"),
        (_bomb(40_000, 1), "and 32768 a side"),
    ],
    ids=["text", "nothing", "half a photo", "100 megapixels", "49 megapixels", "a thread"],
)
def test_a_bad_file_is_refused_and_the_next_one_is_taken(
    page: Served, content: bytes, message: str
):
    answer = page.ask("photos", content)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert page.ask("photos", _photo()).status == 200


def test_too_many_bytes_are_refused_before_they_are_sent(
    page: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "MAX_BYTES", 2**20)
    answer = page.ask("photos", b"", {"Content-Length": str(2**20 + 1)})
    assert answer.status == 413
    assert "1 MiB at most" in answer.json["error"]
    # Without a length they are counted.
    chunks = b"".join(b"10000\r\n" + b"\0" * 2**16 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as connection:
        head = f"POST /{TOKEN}/photos HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        assert b" 413 " in connection.recv(100)
    assert page.ask("photos", _photo()).status == 200


def test_twenty_requests_at_once_are_all_answered(page: Served):
    name = _scene(page)
    path = f"scenes/{name}/window?window=0,0,64,48&side=128"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: page.ask(path), range(20)))
    assert [(answer.status, len(answer.body)) for answer in answers] == [(200, 128**2)] * 20


def test_a_full_queue_asks_to_come_again(page: Served, monkeypatch: pytest.MonkeyPatch):
    name = _scene(page)
    disc = page.discs[-1]
    path = f"scenes/{name}/window?window=0,0,64,48&side=128"
    disc.free.clear()
    with ThreadPoolExecutor(server.MOST_WAITING + 8) as pool:
        waiting = [pool.submit(page.ask, path) for _ in range(server.MOST_WAITING + 8)]
        _until(lambda: sum(answer.done() for answer in waiting) >= 8)
        refused = [answer.result() for answer in waiting if answer.done()]
        disc.free.set()
        statuses = sorted(answer.result().status for answer in waiting)
    assert statuses == [200] * server.MOST_WAITING + [503] * 8
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


def test_photos_that_are_being_sent_have_their_places_and_more_are_not_read(page: Served):
    window = f"scenes/{_scene(page)}/window?window=0,0,64,48&side=128"
    head = f"POST /{TOKEN}/photos HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n"
    head += f"Content-Length: {2**20}\r\n\r\n"
    with ExitStack() as sending:
        for _ in range(server.MOST_WAITING):
            one = socket.create_connection(("127.0.0.1", page.port), timeout=30)
            sending.enter_context(one).sendall(head.encode())
        _until(lambda: page.ask(window).status == 503)
        # It is answered although none of its million bytes came.
        with socket.create_connection(("127.0.0.1", page.port), timeout=30) as late:
            late.sendall(head.encode())
            assert b" 503 " in late.recv(100)
    _until(lambda: page.ask(window).status == 200)


def test_who_has_left_is_not_worked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "MOST_WAITING", 2)
    too_large = {"Content-Length": str(server.MAX_BYTES + 1)}
    with served() as page:
        name = _scene(page)
        disc = page.discs[-1]
        disc.free.clear()

        def has_place() -> bool:
            answer = page.ask("photos", b"", too_large).status
            assert answer in (413, 503)
            return answer == 413

        with ExitStack() as leaving:
            # The first is in the model's hands when it leaves; the second waits for its turn.
            for side, taken in ((128, lambda: disc.asked), (512, lambda: not has_place())):
                one = socket.create_connection(("127.0.0.1", page.port))
                target = f"/{TOKEN}/scenes/{name}/window?window=0,0,64,48&side={side}"
                head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n"
                leaving.enter_context(one).sendall(head.encode())
                _until(taken)
        _until(has_place)
        disc.free.set()
        assert page.ask(f"scenes/{name}/window?window=0,0,64,48&side=1024").status == 200
        assert [side for _, side in disc.asked] == [128, 1024]


def test_a_browser_that_closes_in_the_midst_of_a_photo_harms_nobody(page: Served):
    photo, before = _photo(), len(page.discs)
    with socket.create_connection(("127.0.0.1", page.port)) as connection:
        head = f"POST /{TOKEN}/photos HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n"
        head += f"Content-Length: {len(photo)}\r\n\r\n"
        connection.sendall(head.encode() + photo[: len(photo) // 2])
    assert page.ask("photos", photo).status == 200
    assert len(page.discs) == before + 1
