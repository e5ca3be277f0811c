"""How long the page of `explore` waits for its server, over HTTP, with everything compiled.

    python -m benchmarks.explore --checkpoint runs/demo

A photo of the demonstration's kind is sent again and again: the time until its masks and outlines
are there, and, of windows that move over its best object at 8 times the resolution, that of the
first picture and that of the refined one. With --browser also the time from a drop on the page in
Chromium until it says how many objects are in; that needs playwright.
"""

import argparse
import http.client
import io
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import cv2
import numpy as np
import uvicorn
from PIL import Image

import pointrend_jax
from pointrend_jax.data.sources.embedded import EVALUATION_PHOTOS, draw_scene
from pointrend_jax.explore.server import Explorer, application
from pointrend_jax.explore.shown import FIRST_SIDE, REFINED_SIDES, shown, warm_up

TOKEN, ZOOM = "benchmark", 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--side", type=int, default=640, help="of the photo, in pixels")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--browser", action="store_true", help="also drop the photo in Chromium")
    args = parser.parse_args()
    photo = drawn_photo(args.side)
    with serving(args.checkpoint, (args.side, args.side)) as port:
        ask = partial(_ask, port)
        dropped = [_timed(ask, "photos", photo) for _ in range(args.repeats)]
        scene = json.loads(dropped[-1][1])
        print(f"{len(scene['objects'])} objects of a photo of {args.side} x {args.side}")
        tell_times("from sending the photo to its masks", [seconds for seconds, _ in dropped])
        for side in (FIRST_SIDE, *REFINED_SIDES):
            windows = (zoomed(scene["objects"][0]["box"], i) for i in range(args.repeats))
            numbers = (",".join(str(v) for v in window) for window in windows)
            asked = (f"scenes/{scene['scene']}/window?window={w}&side={side}" for w in numbers)
            tell_times(f"a window of {side} x {side}", [_timed(ask, path)[0] for path in asked])
        if args.browser:
            tell_times(
                "from a drop in the browser to objects in", _drops(port, photo, args.repeats)
            )


@contextmanager
def serving(checkpoint: str, image_hw: tuple[int, int]) -> Iterator[int]:
    """The page's server, with all compiled for images of that size; its port."""
    predictor = pointrend_jax.load(checkpoint)
    warm_up(predictor, image_hw)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = application(Explorer(partial(shown, predictor)), TOKEN, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield port
        server.should_exit = True
        thread.join(10)


def _drops(port: int, photo: bytes, repeats: int) -> list[float]:
    from benchmarks.browser import chromium, drop

    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/{TOKEN}/")
        # The first one finds nothing of the page warm.
        return [drop(page, photo) for _ in range(repeats + 1)][1:]


def drawn_photo(side: int) -> bytes:
    """A scene of the demonstration's kind, as a JPEG."""
    rng = np.random.default_rng(9003)
    pixels, _ = draw_scene(rng, side, 3, 1, photos=EVALUATION_PHOTOS)
    buffer = io.BytesIO()
    Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def zoomed(box: list[float], step: int) -> list[float]:
    """A window at `ZOOM` times the resolution, which moves over the box."""
    x, y = box[0] + step, box[1] + step
    return [x, y, x + REFINED_SIDES[0] / ZOOM, y + REFINED_SIDES[0] / ZOOM]


def _ask(port: int, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET" if body is None else "POST", f"/{TOKEN}/{path}", body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise ValueError(f"{path}: {answer.status} {content[:200]!r}")
    return content


def _timed(ask: Callable[..., bytes], *what: Any) -> tuple[float, bytes]:
    start = time.monotonic()
    content = ask(*what)
    return time.monotonic() - start, content


def tell_times(what: str, seconds: list[float]) -> None:
    """The median, the least and the most."""
    ms = [1000 * s for s in seconds]
    print(f"{what}: median {statistics.median(ms):.0f} ms, {min(ms):.0f} to {max(ms):.0f}")


if __name__ == "__main__":
    main()
