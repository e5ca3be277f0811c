"""Draws the pictures of the page that docs/gallery.md shows.

    python -m benchmarks.page_pictures --checkpoint runs/demo --output docs/images

Of a drawn scene of the demonstration's kind: the best object's points at the resolution of the
screen, in dark, and its coarse mask beside the rendered one, in light. Needs Chromium and
playwright.
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.browser import chromium, drop, rendering
from benchmarks.explore import TOKEN, drawn_photo, serving

# The photo, in pixels a side, and what is drawn on it: a ring that the demonstration's model finds.
_SIDE, _SEED = 384, 9015
# A place of the ring's outline when the ring fills the picture, in pixels of the page.
_OUTLINE = (692, 262)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    args = parser.parse_args()
    with serving(args.checkpoint, (_SIDE, _SIDE)) as port, chromium() as browser:
        for name, show in (("explore", _show_points), ("explore_slide", _show_slide)):
            page = browser.new_page(viewport={"width": 1200, "height": 760})
            page.goto(f"http://127.0.0.1:{port}/{TOKEN}/")
            drop(page, drawn_photo(_SIDE, _SEED))
            for key in ("n", "Enter"):
                with rendering(page):
                    page.locator("#canvas").press(key)
            show(page)
            page.screenshot(path=args.output / f"{name}.png")
            page.close()


def _show_points(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.mouse.move(*_OUTLINE)
    with rendering(page):
        page.mouse.wheel(0, -850)
    with rendering(page):
        page.locator("#canvas").press("u")


def _show_slide(page: Page) -> None:
    page.locator("#slide").fill("50")


if __name__ == "__main__":
    main()
