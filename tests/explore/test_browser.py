"""The page in a real browser: what a person does on it, without a model.

Needs Chromium (Debian's package, or $CHROMIUM) and playwright's Python package.
"""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the page needs the extra `web`")
from tests.explore.disc import Served, served

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

# What playwright's own types would say, were it always there.
Page = Any


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Served) -> Iterator[Page]:
    """Opened, with a photo of 320 x 240 whose disc has radius 80; no script may fail on it."""
    own, errors = browser.new_page(viewport={"width": 1000, "height": 600}), []
    own.on("pageerror", lambda error: errors.append(str(error)))
    own.goto(server.address)
    _says(own, "Ready|object")
    _drop(own, _photo(), "grey.png")
    _says(own, "1 object: disc in")
    yield own
    own.close()
    assert not errors


def _photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((240, 320, 3), 90, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _says(page: Page, pattern: str) -> None:
    playwright.expect(page.locator("#status")).to_have_text(re.compile(pattern))


def _drop(page: Page, content: bytes, name: str) -> None:
    """Drops a file on the page, as a hand does."""
    page.evaluate(
        """([numbers, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(numbers)], name));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [list(content), name],
    )


def _pixel(page: Page, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of the canvas in shares of its sides."""
    return tuple(
        page.evaluate(
            """([x, y]) => {
              const canvas = document.querySelector("#canvas");
              const place = [Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1];
              return [...canvas.getContext("2d").getImageData(...place).data.slice(0, 3)];
            }""",
            [x, y],
        )
    )


def _is_blue(pixel: tuple[int, ...]) -> bool:
    return pixel[2] > pixel[0] + 40


def _middle(page: Page) -> tuple[float, float]:
    box = page.locator("#canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_dropped_photo_shows_its_objects_and_hovering_names_them(page: Page):
    assert _is_blue(_pixel(page, 0.5, 0.5))
    assert not _is_blue(_pixel(page, 0.25, 0.1))
    assert page.locator("#canvas").get_attribute("aria-label") == "Photo with 1 object: disc"
    x, y = _middle(page)
    page.mouse.move(x, y)
    playwright.expect(page.locator("#hint")).to_have_text("disc 0.90")
    page.mouse.click(x, y)
    button = page.get_by_role("button", name="disc")
    playwright.expect(button).to_have_attribute("aria-pressed", "true")


def test_zooming_asks_for_what_is_seen_first_coarsely_then_at_the_screen_s_resolution(
    page: Page, server: Served
):
    disc = server.discs[-1]
    page.wait_for_timeout(400)
    disc.asked.clear()
    page.mouse.move(*_middle(page))
    page.mouse.wheel(0, -600)
    playwright.expect(page.locator("#timing")).to_have_text(re.compile(r"Rendered in \d+ ms"))
    page.wait_for_timeout(300)
    (first, small), *_, (window, large) = disc.asked
    assert (small, large) in {(128, 512), (128, 1024)}
    assert first == window
    # Within the photo, smaller than it, and around its middle.
    assert 0 < window[0] < 160 < window[2] < 320
    assert 0 < window[1] < 120 < window[3] < 240


def test_panning_drops_what_was_asked_for_another_view(page: Page, server: Served):
    disc = server.discs[-1]
    page.wait_for_timeout(400)
    disc.asked.clear()
    disc.free.clear()
    page.locator("#canvas").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(250)
    disc.free.set()
    page.wait_for_timeout(600)
    # The one that was in the model's hands, and those of the last view.
    assert len(disc.asked) == 3
    assert len({window for window, _ in disc.asked[1:]}) == 1


def test_the_slide_shows_the_coarse_square_on_its_left(page: Page):
    # The square's corner, outside the disc: left above the middle, and right above it.
    left, right = (0.5 - 0.24, 0.5 - 0.27), (0.5 + 0.24, 0.5 - 0.27)
    assert not _is_blue(_pixel(page, *left))
    page.locator("#slide").fill("50")
    page.wait_for_timeout(100)
    assert _is_blue(_pixel(page, *left))
    assert not _is_blue(_pixel(page, *right))


def test_filters_by_score_and_class_change_list_and_picture(page: Page):
    page.locator("#score").fill("0.1")
    playwright.expect(page.locator("#objects button")).to_have_count(2)
    page.get_by_role("checkbox", name="disc").uncheck()
    playwright.expect(page.locator("#objects button")).to_have_text(["shadow0.30"])


def test_points_of_a_step_are_shown(page: Page):
    page.locator("#canvas").focus()
    page.keyboard.press("u")
    select = page.locator("#step")
    playwright.expect(select).to_be_enabled()
    assert select.locator("option").all_text_contents() == ["1: 2 x 2, 2 points"]


def test_what_is_shown_is_saved(page: Page, tmp_path: Path):
    for name, kind in (("Save PNG", "png"), ("Save SVG", "svg"), ("Save COCO JSON", "json")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        assert file.name == f"disc.{kind}"
        assert json.loads(file.read_text()) == {"kind": kind, "chosen": [0]}


def test_a_file_that_is_no_photo_is_told_and_the_old_one_stays(page: Page):
    _drop(page, b"Dear reader", "letter.jpg")
    _says(page, "letter.jpg: .*is not an image that can be decoded")
    page.wait_for_timeout(300)
    assert _is_blue(_pixel(page, 0.5, 0.5))


def test_a_photo_that_is_dropped_while_the_last_one_still_loads_stays(
    browser: Any, server: Served, page: Page
):
    # The server keeps the photo of `page` and gives it to whoever opens the address next.
    second, held = browser.new_page(), []
    second.route(re.compile(r"/scenes/[^/]+$"), lambda route: held.append(route))
    with second.expect_request(re.compile(r"/scenes/[^/]+$")):
        second.goto(server.address)
    _drop(second, _photo(), "late.png")
    _says(second, "1 object: disc in")
    (route,) = held
    with second.expect_response(re.compile(r"/scenes/[^/]+$")):
        route.continue_()
    second.wait_for_timeout(300)
    _says(second, "1 object: disc in")
    second.close()


def test_a_phone_shows_the_picture_above_the_list_without_scrolling_aside(
    browser: Any, server: Served
):
    phone = browser.new_page(viewport={"width": 360, "height": 700}, has_touch=True)
    phone.goto(server.address)
    _says(phone, "object")
    stage, aside = (phone.locator(name).bounding_box() for name in ("#stage", "aside"))
    assert stage["width"] == 360
    assert aside["y"] >= stage["y"] + stage["height"] - 1
    assert phone.evaluate("() => document.documentElement.scrollWidth") == 360
    phone.close()


def test_everything_has_a_name_and_can_be_reached_by_the_keyboard(page: Page):
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select")].filter((node) =>
          !(node.textContent || node.ariaLabel || node.labels?.[0]?.textContent || "").trim()
        ).map((node) => node.outerHTML)"""
    )
    assert nameless == []
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
    assert {"file", "canvas", "zoom-in", "slide", "show-points", "score"} <= reached
