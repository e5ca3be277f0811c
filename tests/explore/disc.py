"""A page without a model: on every photo there is a disc, whose windows are drawn exactly."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import uvicorn

from pointrend_jax.explore.outlines import path_data
from pointrend_jax.explore.server import Explorer, application
from pointrend_jax.explore.shown import Saved, Shown
from pointrend_jax.predict.scene import Window

TOKEN = "the-token"
BLUE, GREEN = (0, 158, 255), (0, 176, 116)


class Disc:
    """Around the middle of the photo, of a quarter of its width; the coarse one is a square."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        # What the model was asked for, with what it does now.
        self.asked: list[tuple[Window, int]] = []
        # Set while windows may be drawn.
        self.free = threading.Event()
        self.free.set()

    def description(self) -> dict[str, Any]:
        height, width = self.image.shape[:2]
        x, y, r = width / 2, height / 2, width / 4
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        circle = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1)
        square = np.array([[x - r, y - r], [x + r, y - r], [x + r, y + r], [x - r, y + r]])
        disc = {
            "class": 0, "class_name": "disc", "score": 0.9, "box": [x - r, y - r, x + r, y + r],
            "color": BLUE, "rendered": path_data([circle]), "coarse": path_data([square]),
        }  # fmt: skip
        faint = disc | {"class": 1, "class_name": "shadow", "score": 0.3}
        return {
            "kind": "instances", "height": height, "width": width, "mask_side": 28,
            "objects": [disc, faint], "files": ["png", "svg", "json"],
        }  # fmt: skip

    def map(self, kind: str) -> bytes:
        raise ValueError("a disc has no label map.")

    def window(self, index: int, window: Window, side: int) -> bytes:
        if index > 1:
            raise IndexError("there is one disc.")
        self.asked.append((window, side))
        self.free.wait(30)
        return (255 * self._inside(window, (side, side))).astype(np.uint8).tobytes()

    def _inside(self, window: Window, hw: tuple[int, int], coarse: bool = False) -> np.ndarray:
        """Whether the centres of pixels of a window lie in the disc, or in the square around it."""
        height, width = self.image.shape[:2]
        x0, y0, x1, y1 = window
        dx = x0 + (np.arange(hw[1]) + 0.5) / hw[1] * (x1 - x0) - width / 2
        dy = y0 + (np.arange(hw[0]) + 0.5) / hw[0] * (y1 - y0) - height / 2
        if coarse:
            return np.maximum(np.abs(dx)[None], np.abs(dy)[:, None]) <= width / 4
        return np.hypot(dx[None], dy[:, None]) <= width / 4

    def steps(self, index: int, window: Window, side: int) -> list[dict[str, Any]]:
        first = {"height": 1, "width": 1, "points": [[0.5, 0.5]], "uncertainty": "ff"}
        points = [[0.25, 0.5], [0.75, 0.5]]
        return [first, {"height": 2, "width": 2, "points": points, "uncertainty": "00ff80ff"}]

    def save(self, kind: str, chosen: Sequence[int]) -> Saved:
        content = json.dumps({"kind": kind, "chosen": list(chosen)}).encode()
        return Saved(content, "application/json", f"disc.{kind}")


class LabelDisc(Disc):
    """The same as a label map: the ground is class 0, the disc class 1."""

    def description(self) -> dict[str, Any]:
        height, width = self.image.shape[:2]
        share = np.pi / 16 * width / height
        ground = {"class": 0, "class_name": "ground", "score": 1 - share, "color": GREEN}
        disc = {"class": 1, "class_name": "disc", "score": share, "color": BLUE}
        return {
            "kind": "labels", "height": height, "width": width, "colors": [GREEN, BLUE],
            "class_names": ["ground", "disc"], "objects": [ground, disc], "files": ["png"],
        }  # fmt: skip

    def map(self, kind: str) -> bytes:
        height, width = hw = self.image.shape[:2]
        labels = self._inside((0, 0, width, height), hw, coarse=kind == "coarse")
        return labels.astype(np.uint8).tobytes()

    def window(self, index: int, window: Window, side: int) -> bytes:
        self.asked.append((window, side))
        self.free.wait(30)
        return self._inside(window, (side, side)).astype(np.uint8).tobytes()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A running page: its port, and the discs of its photos, if it is of discs."""

    def __init__(self, look: Callable[[np.ndarray], Shown]) -> None:
        self.discs: list[Disc] = []
        self.explorer = Explorer(self._seen)
        self.port, self._look = 0, look

    def _seen(self, image: np.ndarray) -> Shown:
        scene = self._look(image)
        if isinstance(scene, Disc):
            self.discs.append(scene)
        return scene

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str = TOKEN,
    ) -> Answer:
        """Of an address below the token; with a body it is sent there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, f"/{token}/{path}", body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


@contextmanager
def served(look: Callable[[np.ndarray], Shown] = Disc) -> Iterator[Served]:
    """The page on a free port of this machine, in a thread, until the block ends."""
    own = Served(look)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        own.port = listening.getsockname()[1]
        app = application(own.explorer, TOKEN, own.port)
        config = uvicorn.Config(app, log_config=None, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield own
        finally:
            for disc in own.discs:
                disc.free.set()
            server.should_exit = True
            thread.join(10)
            own.explorer.close()
