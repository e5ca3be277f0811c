"""A page without a model: on every photo there is a disc, whose windows are drawn exactly."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn

from pointrend_jax.explore.outlines import path_data
from pointrend_jax.explore.server import Explorer, application
from pointrend_jax.explore.shown import Saved
from pointrend_jax.predict.scene import Window

TOKEN = "the-token"


class Disc:
    """Around the middle of the photo, of a quarter of its width; the coarse one is a square."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.asked: list[tuple[Window, int]] = []
        # Set while windows may be drawn.
        self.free = threading.Event()
        self.free.set()

    @property
    def _circle(self) -> tuple[float, float, float]:
        height, width = self.image.shape[:2]
        return width / 2, height / 2, width / 4

    def description(self) -> dict[str, Any]:
        x, y, r = self._circle
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        circle = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1)
        square = np.array([[x - r, y - r], [x + r, y - r], [x + r, y + r], [x - r, y + r]])
        height, width = self.image.shape[:2]
        disc = {
            "class": 0, "class_name": "disc", "score": 0.9, "box": [x - r, y - r, x + r, y + r],
            "color": (0, 158, 255), "rendered": path_data([circle]), "coarse": path_data([square]),
        }  # fmt: skip
        faint = disc | {"class": 1, "class_name": "shadow", "score": 0.3}
        return {
            "kind": "instances", "height": height, "width": width, "mask_side": 28,
            "objects": [disc, faint], "files": ["png", "svg", "json"],
        }  # fmt: skip

    def map(self, kind: str) -> bytes:
        raise ValueError("a disc has no label map.")

    def window(self, index: int, window: Window, side: int) -> bytes:
        if index:
            raise IndexError("there is one disc.")
        self.asked.append((window, side))
        self.free.wait(30)
        x0, y0, x1, y1 = window
        x, y, r = self._circle
        centres = (np.arange(side) + 0.5) / side
        dx, dy = x0 + centres * (x1 - x0) - x, y0 + centres * (y1 - y0) - y
        inside = np.hypot(dx[None], dy[:, None]) <= r
        return (255 * inside).astype(np.uint8).tobytes()

    def steps(self, index: int, window: Window, side: int) -> list[dict[str, Any]]:
        step = {"points": [[0.25, 0.5], [0.75, 0.5]], "uncertainty": "00ff80ff"}
        return [{"height": 2, "width": 2} | step]

    def save(self, kind: str, chosen: Sequence[int]) -> Saved:
        content = json.dumps({"kind": kind, "chosen": list(chosen)}).encode()
        return Saved(content, "application/json", f"disc.{kind}")


class Served:
    """A running page: its port, and the discs of its photos."""

    def __init__(self) -> None:
        self.discs: list[Disc] = []
        self.explorer = Explorer(self._look)
        self.port = 0

    def _look(self, image: np.ndarray) -> Disc:
        self.discs.append(Disc(image))
        return self.discs[-1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"


@contextmanager
def served() -> Iterator[Served]:
    """The page on a free port of this machine, in a thread, until the block ends."""
    import socket

    own = Served()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        own.port = listening.getsockname()[1]
        app = application(own.explorer, TOKEN, own.port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
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
