"""Opening the page: where it listens, its token, and ports that cannot be had."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the page needs the extra `web`")
import uvicorn

from pointrend_jax.explore.serve import serve
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.scene import Scene, Size
from tests.explore.test_shown import IMAGE, INSTANCES
from tests.tiny_predictor import predictor_config


class _Scene(Scene):
    """Of a predictor without a model, which is told what is compiled."""

    def __init__(self, image: np.ndarray, warmed: list[Any]) -> None:
        self.image, self.instances, self._warmed = image, INSTANCES, warmed

    def warmup(self, sizes: Sequence[Size]) -> None:
        self._warmed.append((self.image.shape[:2], list(sizes)))


class _Predictor(Predictor):
    """Without a model: `warmed` has what would be compiled."""

    def __init__(self) -> None:
        self.config, self.class_names, self.category_ids = predictor_config(), ("cat", "dog"), ()
        self.warmed: list[Any] = []

    def scene(self, image: Any, **choice: Any) -> Scene:
        return _Scene(image, self.warmed)


@contextmanager
def _serving(
    predictor: Predictor,
    image: np.ndarray | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[tuple[str, int, str]]:
    """The host, the port and the token of `serve`, which is ended with the block."""
    servers: list[Any] = []

    class Server(uvicorn.Server):
        def run(self, sockets: list[socket.socket] | None = None) -> None:
            assert sockets is not None
            servers.append((self, sockets[0].getsockname()))
            super().run(sockets)

    with monkeypatch.context() as patch:
        patch.setattr(uvicorn, "Server", Server)
        thread = threading.Thread(target=serve, args=(predictor, image), daemon=True)
        thread.start()
        while not (servers and servers[0][0].started):
            assert thread.is_alive()
            time.sleep(0.01)
    server, (host, port) = servers[0]
    try:
        (address,) = re.findall(r"open http://127\.0\.0\.1:(\d+)/(\S+)/\n", capsys.readouterr().out)
        assert int(address[0]) == port
        yield host, port, address[1]
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("image", "warmed", "scene"), [(None, (480, 640), 410), (IMAGE, (20, 30), 200)]
)
def test_the_page_is_this_machine_s_alone_under_a_token_that_is_new_each_time(
    image: np.ndarray | None,
    warmed: tuple[int, int],
    scene: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    tokens = set()
    for _ in range(2):
        predictor = _Predictor()
        with _serving(predictor, image, monkeypatch, capsys) as (host, port, token):
            assert host == "127.0.0.1"
            assert port != 0
            assert _status(port, f"/{token}/") == 200
            assert _status(port, "/") == 403
            # A photo that is given is the first scene.
            assert _status(port, f"/{token}/scenes/1/photo") == scene
        tokens.add(token)
        assert predictor.warmed == [(warmed, [(128, 128), (512, 512), (1024, 1024)])]
        with pytest.raises(ConnectionRefusedError):
            _status(port, "/")
    assert len(tokens) == 2
    # 24 bytes, in base64.
    assert {len(token) for token in tokens} == {32}


def test_a_port_that_is_taken_is_told_before_the_model_is_compiled():
    predictor = _Predictor()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be had.*another"):
            serve(predictor, None, port=port)
    assert not predictor.warmed


def test_a_port_is_taken_while_the_model_is_compiled():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

    class Second(_Predictor):
        def scene(self, image: Any, **choice: Any) -> Scene:
            raise AssertionError("two servers have one port")

    class First(_Predictor):
        def scene(self, image: Any, **choice: Any) -> Scene:
            serve(Second(), None, port=port)
            raise AssertionError("the second server has ended")

    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be had"):
        serve(First(), None, port=port)


def test_there_is_no_port_beyond_the_last():
    with pytest.raises(ValueError, match=r"--port must be 0 .*up to 65535, got 65536"):
        serve(_Predictor(), None, port=2**16)
