"""Pictures of pages, by playwright and chromium (Debian's package, or $CHROMIUM)."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_PIXELS = 480  # px, side of an enlarged picture


@contextmanager
def opened_browser() -> Iterator["Browser | None"]:
    """A browser, or None, said so, where there is none."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found is None or find_spec("playwright") is None:
        print(
            "pictures of pages and the zoomed SVG stay as they are: they need chromium "
            "(apt-get install chromium, or $CHROMIUM) and the package playwright."
        )
        yield None
        return
    from benchmarks.browser import chromium

    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        yield Browser(browser, Path(folder))


class Browser:
    """Takes pictures of files.

    Attributes:
      folder: for files that are shown and not kept.
    """

    def __init__(self, browser: Any, folder: Path) -> None:
        self._browser, self.folder = browser, folder

    def page_part(self, file: Path, heading: str) -> np.ndarray:
        """The 1500 pixels of a page that begin with the heading that has this text."""
        page = self._browser.new_page(viewport={"width": 900, "height": 1500})
        page.goto(file.resolve().as_uri())
        top = page.get_by_role("heading").filter(has_text=heading).first
        top.evaluate("heading => window.scrollTo(0, heading.offsetTop - 20)")
        return _taken(page)

    def points(self, file: Path, index: int) -> np.ndarray:
        """The page of `explore` as a file, zoomed into an object's outline, with its points."""
        with self._explored(file, index, "dark") as page:
            # The object fills the canvas but for a fifth; its right edge is enlarged three times.
            box = page.locator("#canvas").bounding_box()
            side = min(box["width"], box["height"])
            page.mouse.move(
                box["x"] + box["width"] / 2 + 0.36 * side, box["y"] + box["height"] / 2 - 0.1 * side
            )
            page.mouse.wheel(0, -440)
            page.mouse.move(5, 5)
            page.locator("#canvas").press("u")
            page.wait_for_function("() => !document.querySelector('#step').disabled")
            page.wait_for_timeout(3000)
            return _taken(page)

    def slid(self, file: Path, index: int) -> np.ndarray:
        """The same page with an object's coarse mask on the left and the rendered one beside it."""
        with self._explored(file, index, "light") as page:
            page.locator("#slide").fill("50")
            page.wait_for_timeout(500)
            return _taken(page)

    @contextmanager
    def _explored(self, file: Path, index: int, scheme: str) -> Iterator[Any]:
        from benchmarks.browser import rendering

        page = self._browser.new_page(viewport={"width": 1200, "height": 760}, color_scheme=scheme)
        page.goto(file.as_uri())
        page.wait_for_function("() => /object/.test(document.querySelector('#status').textContent)")
        page.locator("#objects button").nth(index).click()
        with rendering(page):
            page.locator("#canvas").press("Enter")
        yield page

    def enlarged(self, file: Path, width: int, window: tuple[float, float, float]) -> np.ndarray:
        """A square of a picture that is `width` pixels wide: x, y and side in its pixels."""
        x, y, side = window
        scale = _PIXELS / side
        page = self._browser.new_page(viewport={"width": _PIXELS, "height": _PIXELS})
        html = self.folder / "enlarged.html"
        html.write_text(
            f'<body style="margin:0;overflow:hidden"><img src="{file.as_uri()}" style="'
            f"position:absolute;image-rendering:pixelated;width:{width * scale}px;"
            f'left:{-x * scale}px;top:{-y * scale}px">'
        )
        page.goto(html.as_uri())
        page.wait_for_function("() => document.images[0].complete")
        return _taken(page)


def _taken(page: Any) -> np.ndarray:
    # Times are the machine's of that hour.
    page.evaluate("() => document.querySelector('#timing')?.replaceChildren()")
    pixels = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return np.asarray(pixels)
