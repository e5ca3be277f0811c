"""The page of a disc as a person has it: opened in a browser, with what is seen of it."""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.explore.disc import Served

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

# What playwright's own types would say, were it always there.
Page = Any
# The photo's one colour, and how it looks below that of a mask and of a class of a label map.
GREY = (90, 90, 90)


def under(color: tuple[int, ...], opacity: float) -> tuple[float, ...]:
    return tuple((1 - opacity) * g + opacity * c for g, c in zip(GREY, color, strict=True))


def grey_photo() -> bytes:
    """Of 320 x 240 pixels, so its disc has radius 80."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((240, 320, 3), GREY[0], np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def opened(browser: Any, server: Served, says: str, **how: Any) -> Iterator[Page]:
    """With the photo, rendered at the resolution of the screen; no script may fail on it."""
    page, errors = browser.new_page(viewport={"width": 1000, "height": 600}, **how), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    before = len(server.discs)
    page.goto(server.address)
    told(page, "object|classes" if before else "Ready")
    if before:
        # The last photo, which the page opens with.
        _is_rendered(page)
    with rendering(page):
        drop(page, grey_photo(), "grey.png")
        told(page, says)
    yield page
    page.close()
    for disc in server.discs:
        disc.free.set()
    assert not errors


def told(page: Page, pattern: str) -> None:
    """Waits until the page says so."""
    playwright.expect(page.locator("#status")).to_have_text(re.compile(pattern))


@contextmanager
def rendering(page: Page) -> Iterator[None]:
    """Ends when what the block changes was rendered anew; nothing may be rendered before."""
    page.evaluate("() => { document.querySelector('#timing').textContent = ''; }")
    yield
    _is_rendered(page)


def _is_rendered(page: Page) -> None:
    playwright.expect(page.locator("#timing")).to_have_text(re.compile(r"Rendered in \d+ ms"))


def drop(page: Page, content: bytes, name: str) -> None:
    """Drops a file on the page, as a hand does."""
    page.evaluate(
        """([numbers, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(numbers)], name));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [list(content), name],
    )


class View(NamedTuple):
    """Where the photo lies on the canvas: its scale, and its upper left corner in pixels."""

    scale: float
    x: float
    y: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place of the photo on the canvas."""
        return self.x + self.scale * x, self.y + self.scale * y

    def moved(self, dx: float, dy: float) -> "View":
        return View(self.scale, self.x + dx, self.y + dy)

    def zoomed(self, factor: float, x: float, y: float) -> "View":
        """Around a place of the canvas."""
        dx, dy = x - self.x, y - self.y
        return View(factor * self.scale, x - factor * dx, y - factor * dy)


def canvas_size(page: Page) -> tuple[float, float]:
    box = page.locator("#canvas").bounding_box()
    return box["width"], box["height"]


def fitting(page: Page, window: tuple[float, ...] = (0, 0, 320, 240), margin: float = 1) -> View:
    """The view that shows a window of the photo."""
    (width, height), (x0, y0, x1, y1) = canvas_size(page), window
    scale = margin * min(width / (x1 - x0), height / (y1 - y0))
    return View(scale, width / 2 - scale * (x0 + x1) / 2, height / 2 - scale * (y0 + y1) / 2)


# 4 is for rounding.
_HAS = """([x, y, color]) => {
  const canvas = document.querySelector("#canvas");
  const { data } = canvas.getContext("2d").getImageData(Math.floor(x), Math.floor(y), 1, 1);
  return color.every((value, i) => Math.abs(value - data[i]) <= 4);
}"""


def has(page: Page, place: tuple[float, float], color: tuple[float, ...]) -> bool:
    """Whether a place of the canvas, in its pixels, has a colour now."""
    return page.evaluate(_HAS, [*place, list(color)])


def becomes(page: Page, place: tuple[float, float], color: tuple[float, ...]) -> None:
    """Waits until it has."""
    page.wait_for_function(_HAS, arg=[*place, list(color)])


def point_at(page: Page, place: tuple[float, float]) -> tuple[float, float]:
    """Moves the pointer to a place of the canvas; where that is on the page."""
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + place[0], box["y"] + place[1]
    page.mouse.move(x, y)
    return x, y


def zoom_at(page: Page, view: View, place: tuple[float, float], turned: int) -> View:
    """Turns the wheel over a place of the canvas; the view then."""
    # The pointer is at a whole pixel.
    x, y = round(place[0]), round(place[1])
    point_at(page, (x, y))
    page.mouse.wheel(0, -turned)
    return view.zoomed(math.exp(turned / 400), x, y)
