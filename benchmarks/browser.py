"""The page of `explore` in Chromium (Debian's, or $CHROMIUM), for measurements and pictures."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

# Of a drop: the seconds until the page says what came of it, and that.
_DROP = """async (photo) => {
  const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "photo.jpg"));
  const status = document.getElementById("status");
  const said = new Promise((done) => {
    const observer = new MutationObserver(() => {
      if (status.textContent.startsWith("Looking at")) return;
      observer.disconnect();
      done(performance.now());
    });
    observer.observe(status, { childList: true });
  });
  const start = performance.now();
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
  return [(await said - start) / 1000, status.textContent];
}"""
_RENDERED = "() => document.getElementById('timing').textContent.startsWith('Rendered')"


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as running:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        # The sandbox needs rights that a container may lack; the page is ours.
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def drop(page: Page, photo: bytes) -> float:
    """Drops a photo on the page; the seconds until its objects are there.

    Comes back when they are rendered at the resolution of the screen, too.
    Raises: ValueError if there are none.
    """
    with rendering(page):
        seconds, said = page.evaluate(_DROP, base64.b64encode(photo).decode())
        if not re.search(r"^[1-9]\d* (object|classes).* in [\d.]+ s$", said):
            raise ValueError(f"the page says: {said}")
    return seconds


@contextmanager
def rendering(page: Page) -> Iterator[None]:
    """Ends when what the block changes is rendered at the resolution of the screen."""
    page.evaluate("() => { document.getElementById('timing').textContent = ''; }")
    yield
    page.wait_for_function(_RENDERED)
