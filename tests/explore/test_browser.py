"""The page in a real browser: what a person does on it, without a model.

Needs Chromium (Debian's package, or $CHROMIUM) and playwright's Python package.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the page needs the extra `web`")
from pointrend_jax.explore import server as serving
from tests.explore.disc import BLUE, GREEN, LabelDisc, Served, served
from tests.explore.opened import (
    GREY,
    Page,
    View,
    becomes,
    canvas_size,
    drop,
    fitting,
    grey_photo,
    has,
    opened,
    playwright,
    point_at,
    rendering,
    told,
    under,
    zoom_at,
)

MASK, POINT = under(BLUE, 0.4), (255, 152, 0)
ON_GROUND, ON_DISC = under(GREEN, 0.55), under(BLUE, 0.55)
RADIUS, MIDDLE = 80, (160, 120)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def label_server() -> Iterator[Served]:
    with served(LabelDisc) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Served) -> Iterator[Page]:
    with opened(browser, server, "1 object: disc in") as own:
        yield own


@pytest.fixture
def label_page(browser: Any, label_server: Served) -> Iterator[Page]:
    with opened(browser, label_server, "2 classes: ground, disc in") as own:
        yield own


def _is_seen(page: Page, view: View, name: str) -> None:
    """Waits until the disc lies where that view has it: four places within, four outside."""
    width, height = canvas_size(page)
    for share, color in ((0.95, MASK), (1.05, GREY)):
        for dx, dy in ((share, 0), (-share, 0), (0, share), (0, -share)):
            place = view.at(MIDDLE[0] + RADIUS * dx, MIDDLE[1] + RADIUS * dy)
            if 0 <= place[0] < width and 0 <= place[1] < height:
                try:
                    becomes(page, place, color)
                except playwright.TimeoutError:
                    pytest.fail(f"{name}: {(dx, dy)} of the disc has not become {color}")


def test_a_dropped_photo_shows_its_objects_and_hovering_names_them(page: Page):
    view = fitting(page)
    _is_seen(page, view, "drop")
    assert page.locator("#canvas").get_attribute("aria-label") == "Photo with 1 object: disc"
    point_at(page, view.at(*MIDDLE))
    playwright.expect(page.locator("#hint")).to_have_text("disc 0.90")
    point_at(page, view.at(10, 10))
    playwright.expect(page.locator("#hint")).to_be_hidden()


def test_a_chosen_file_is_shown(page: Page):
    file = {"name": "chosen.png", "mimeType": "image/png", "buffer": grey_photo()}
    with page.expect_request(re.compile("/photos$")), rendering(page):
        page.locator("#file").set_input_files(file)
    told(page, "1 object: disc in")
    _is_seen(page, fitting(page), "file")


def test_keys_and_buttons_move_the_view(page: Page):
    fit = fitting(page)
    middle = (canvas_size(page)[0] / 2, canvas_size(page)[1] / 2)
    canvas = page.locator("#canvas")

    def press(*keys: str) -> Callable[[], None]:
        def pressed() -> None:
            for key in keys:
                canvas.press(key)

        return pressed

    def click(name: str) -> Callable[[], None]:
        return page.get_by_role("button", name=name).click

    def drag() -> None:
        canvas.press("0")
        point_at(page, (200, 200))
        page.mouse.down()
        point_at(page, (220, 210))
        point_at(page, (250, 230))
        page.mouse.up()

    closer, farther = fit.zoomed(1.5, *middle), fit.zoomed(1 / 1.5, *middle)
    for name, action, view in (
        ("plus", press("+"), closer),
        ("0", press("0"), fit),
        ("equals", press("="), closer),
        ("minus", press("-"), fit),
        ("minus again", press("-"), farther),
        ("button fit", click("Whole photo"), fit),
        ("button in", click("Zoom in"), closer),
        ("button out", click("Zoom out"), fit),
        ("left", press("ArrowLeft"), fit.moved(60, 0)),
        ("right", press("ArrowRight", "ArrowRight"), fit.moved(-60, 0)),
        ("up", press("0", "ArrowUp"), fit.moved(0, 60)),
        ("down", press("0", "ArrowDown"), fit.moved(0, -60)),
        ("enter without an object", press("0", "Enter"), fit),
        ("enter", press("n", "Enter"), fitting(page, (80, 40, 240, 200), 0.8)),
        ("drag", drag, fit.moved(50, 30)),
    ):
        action()
        _is_seen(page, view, name)
    # A drag neither chooses nor lets go.
    chosen = page.locator("#objects button[aria-pressed=true]")
    assert chosen.count() == 1
    press("0")()
    page.mouse.dblclick(*point_at(page, (200, 200)))
    double = fit.zoomed(2, 200, 200)
    _is_seen(page, double, "double click")
    _is_seen(page, zoom_at(page, double, (210, 190), -200), "wheel")


def test_keys_and_clicks_choose_objects(page: Page):
    page.locator("#score").fill("0.1")
    buttons, canvas = page.locator("#objects button"), page.locator("#canvas")
    playwright.expect(buttons).to_have_count(2)

    def is_chosen(name: str | None) -> None:
        pressed = page.locator("#objects button[aria-pressed=true]")
        playwright.expect(pressed).to_have_count(0 if name is None else 1)
        if name is not None:
            playwright.expect(pressed).to_contain_text(name)
            told(page, f"{name} chosen")

    for key, name in (
        ("n", "disc"), ("n", "shadow"), ("N", "disc"), ("p", "shadow"), ("Escape", None),
        ("p", "shadow"), ("Escape", None), ("Control+n", None),
    ):  # fmt: skip
        canvas.press(key)
        is_chosen(name)
    view = fitting(page)
    for place, name in ((MIDDLE, "disc"), ((10, 10), None), (MIDDLE, "disc"), (MIDDLE, None)):
        page.mouse.click(*point_at(page, view.at(*place)))
        is_chosen(name)
    buttons.nth(1).click()
    is_chosen("shadow")


def test_zooming_asks_for_what_is_seen_first_coarsely_then_at_the_screen_s_resolution(
    page: Page, server: Served
):
    disc = server.discs[-1]
    disc.asked.clear()
    view = fitting(page)
    with rendering(page):
        zoom_at(page, view, view.at(*MIDDLE), 600)
    (first, small), *_, (window, large) = disc.asked
    assert (small, large) in {(128, 512), (128, 1024)}
    assert first == window
    # Within the photo, smaller than it, and around its middle.
    assert 0 < window[0] < 160 < window[2] < 320
    assert 0 < window[1] < 120 < window[3] < 240


def test_the_refined_outline_is_the_exact_one(page: Page, server: Served):
    # Between two of its corners the outline of the description lies 0.096 px inside the circle,
    # and what was rendered of the whole photo has cells of 0.3 px.
    _is_refined_at(page, server, 9 * math.pi / 64, 0.05, 1600, (MASK, GREY))


def _is_refined_at(
    page: Page,
    server: Served,
    angle: float,
    apart: float,
    turned: int,
    colors: tuple[tuple[float, ...], ...],
) -> None:
    """Zooms to a place of the circle, within and outside of which are those colours.

    Args: apart, pixels of the photo. turned, the wheel.
    """
    disc, view = server.discs[-1], fitting(page)
    disc.free.clear()

    def on_circle(by: float) -> tuple[float, float]:
        r = RADIUS + by
        return MIDDLE[0] + r * math.cos(angle), MIDDLE[1] + r * math.sin(angle)

    close = zoom_at(page, view, view.at(*on_circle(0)), turned)
    # The left border, which the disc does not reach before.
    becomes(page, (10, close.at(*on_circle(0))[1]), colors[0])
    places = [close.at(*on_circle(by)) for by in (-apart, apart)]
    assert not all(has(page, place, color) for place, color in zip(places, colors, strict=True))
    disc.free.set()
    for place, color in zip(places, colors, strict=True):
        becomes(page, place, color)


def test_panning_drops_what_was_asked_for_another_view(page: Page, server: Served):
    disc, asked, dropped = server.discs[-1], [], []
    disc.asked.clear()
    disc.free.clear()
    page.on("requestfailed", lambda request: dropped.append(request.url))
    with rendering(page):
        for _ in range(3):
            with page.expect_request(re.compile("/window")) as request:
                page.locator("#canvas").press("ArrowLeft")
            asked.append(request.value.url)
        disc.free.set()
    assert dropped == asked[:2]
    (one, first), (another, refined) = disc.asked[-2:]
    assert one == another
    assert (first, refined) == (128, 512)


def test_the_slide_and_its_key_show_the_coarse_square_on_the_left(page: Page):
    # The square's corners, outside the disc.
    left, right = (fitting(page).at(x, 120 - 75) for x in (160 - 75, 160 + 75))
    becomes(page, left, GREY)
    page.locator("#slide").fill("50")
    becomes(page, left, MASK)
    becomes(page, right, GREY)
    for told_then, value, color in (("Coarse", "100", MASK), ("Rendered", "0", GREY)):
        page.locator("#canvas").press("c")
        becomes(page, left, color)
        becomes(page, right, color)
        told(page, f"{told_then} masks")
        assert page.locator("#slide").input_value() == value


def test_filters_by_score_and_class_change_list_and_picture(page: Page):
    page.locator("#score").fill("0.1")
    playwright.expect(page.locator("#objects button")).to_have_count(2)
    page.get_by_role("checkbox", name="disc").uncheck()
    playwright.expect(page.locator("#objects button")).to_have_text(["shadow0.30"])
    page.locator("#score").fill("0.5")
    playwright.expect(page.locator("#objects button")).to_have_count(0)
    becomes(page, fitting(page).at(*MIDDLE), GREY)


def test_points_and_uncertainty_of_each_step_are_shown(page: Page):
    page.locator("#canvas").press("u")
    told(page, "Points and uncertainty on")
    select = page.locator("#step")
    playwright.expect(select).to_be_enabled()
    assert select.locator("option").all_text_contents() == [
        "1: 1 x 1, 1 points", "2: 2 x 2, 2 points",
    ]  # fmt: skip
    # The window is the object's box and 2 px around it, so cells have 82 px.
    view = fitting(page)
    cells = [view.at(x, y) for y in (79, 161) for x in (119, 201)]
    most, half = _glow((255, 255, 150), 0.8), _glow((255, 128, 0), 0.8 * 128 / 255)
    for place, color in zip(cells, (MASK, most, half, most), strict=True):
        becomes(page, place, color)
    becomes(page, view.at(119, 120), POINT)
    select.select_option("0")
    becomes(page, cells[0], most)
    becomes(page, view.at(*MIDDLE), POINT)
    page.locator("#canvas").press("u")
    told(page, "Points and uncertainty off")
    becomes(page, cells[0], MASK)
    page.locator("#show-points").check()
    becomes(page, cells[1], most)
    page.locator("#show-points").uncheck()
    becomes(page, cells[1], MASK)
    playwright.expect(select).to_be_disabled()


def _glow(color: tuple[int, ...], opacity: float) -> tuple[float, ...]:
    return tuple((1 - opacity) * m + opacity * c for m, c in zip(MASK, color, strict=True))


def test_what_is_shown_is_saved(page: Page, tmp_path: Path):
    for name, kind in (("Save PNG", "png"), ("Save SVG", "svg"), ("Save COCO JSON", "json")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert _saved(download.value, tmp_path) == {"kind": kind, "chosen": [0]}
        told(page, f"Saved disc.{kind}")


def _saved(download: Any, folder: Path) -> dict[str, Any]:
    file = folder / download.suggested_filename
    download.save_as(file)
    saved = json.loads(file.read_text())
    assert file.name == f"disc.{saved['kind']}"
    return saved


def test_what_could_not_be_saved_is_told(page: Page):
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    button = page.get_by_role("button", name="Save PNG")
    page.route("**/save/**", lambda route: route.fulfill(status=410, json={"error": "too late"}))
    button.click()
    told(page, "Not saved: too late")
    page.unroute("**/save/**")
    page.route("**/save/**", lambda route: route.abort())
    button.click()
    told(page, "Not saved: the server does not answer")
    assert not downloads


def test_a_full_queue_is_asked_again_for_everything(page: Page, server: Served):
    refused: list[str] = []

    def refuse_once(route: Any) -> None:
        path = route.request.url.partition("?")[0]
        if path in refused:
            route.continue_()
        else:
            refused.append(path)
            route.fulfill(status=503, json={"error": "full"})

    page.route(re.compile("photos|window|save"), refuse_once)
    with rendering(page):
        drop(page, grey_photo(), "again.png")
        told(page, "1 object: disc in")
    with page.expect_download():
        page.get_by_role("button", name="Save SVG").click()
    assert [path.rpartition("/")[2] for path in refused] == ["photos", "window", "svg"]
    # So is one that finds the queue full when it is opened.
    page.route(re.compile(r"/scenes/[^/]+$"), refuse_once)
    page.reload()
    told(page, "1 object: disc$")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Dear reader", "a.jpg: .*is not an image that can be decoded"),
        (b"\0" * (2**16 + 1), "a.jpg is too large: at most 0 MiB"),
    ],
    ids=["text", "too large"],
)
def test_a_file_that_cannot_be_shown_is_told_and_the_old_photo_stays(
    page: Page, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
):
    monkeypatch.setattr(serving, "MAX_BYTES", 2**16)
    page.reload()
    told(page, "1 object: disc$")
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    drop(page, content, "a.jpg")
    told(page, message)
    _is_seen(page, fitting(page), "old photo")
    assert any(url.endswith("/photos") for url in sent) == (len(content) <= 2**16)


def test_a_photo_that_is_dropped_while_the_last_one_still_loads_stays(
    browser: Any, server: Served, page: Page
):
    # The server keeps the photo of `page` and gives it to whoever opens the address next.
    second, held = browser.new_page(), []
    second.route(re.compile(r"/scenes/[^/]+$"), lambda route: held.append(route))
    with second.expect_request(re.compile(r"/scenes/[^/]+$")):
        second.goto(server.address)
    drop(second, grey_photo(), "late.png")
    told(second, "1 object: disc in")
    (route,) = held
    with second.expect_response(re.compile(r"/photo$")):
        route.continue_()
    second.wait_for_load_state("networkidle")
    told(second, "1 object: disc in")
    second.close()


def test_a_label_map_is_hovered_filtered_and_saved(label_page: Page, tmp_path: Path):
    view = fitting(label_page)
    becomes(label_page, view.at(*MIDDLE), ON_DISC)
    becomes(label_page, view.at(10, 10), ON_GROUND)
    for place, name in ((MIDDLE, "disc"), ((10, 10), "ground")):
        point_at(label_page, view.at(*place))
        playwright.expect(label_page.locator("#hint")).to_have_text(name)
    playwright.expect(label_page.locator("#score")).to_be_hidden()
    label_page.get_by_role("checkbox", name="ground").uncheck()
    playwright.expect(label_page.locator("#objects button")).to_have_text(["disc26.2 %"])
    becomes(label_page, view.at(10, 10), GREY)
    becomes(label_page, view.at(*MIDDLE), ON_DISC)
    with label_page.expect_download() as download:
        label_page.get_by_role("button", name="Save PNG").click()
    assert _saved(download.value, tmp_path) == {"kind": "png", "chosen": [1]}


def test_a_label_map_slides_and_is_rendered_anew_where_one_zooms(
    label_page: Page, label_server: Served
):
    view = fitting(label_page)
    # In the square and not in the disc.
    corner = view.at(160 - 75, 120 - 75)
    becomes(label_page, corner, ON_GROUND)
    label_page.locator("#slide").fill("50")
    becomes(label_page, corner, ON_DISC)
    label_page.locator("#slide").fill("0")
    # Of the photo a pixel, and what was rendered of the whole of it, is larger.
    _is_refined_at(label_page, label_server, 0.7, 0.1, 832, (ON_DISC, ON_GROUND))


def test_a_phone_shows_the_picture_above_the_list_without_scrolling_aside(
    browser: Any, server: Served
):
    phone = browser.new_page(viewport={"width": 360, "height": 700}, has_touch=True)
    phone.goto(server.address)
    told(phone, "object")
    stage, aside = (phone.locator(name).bounding_box() for name in ("#stage", "aside"))
    assert stage["width"] == 360
    assert aside["y"] >= stage["y"] + stage["height"] - 1
    assert phone.evaluate("() => document.documentElement.scrollWidth") == 360
    phone.close()


def test_two_fingers_zoom_between_them(browser: Any, server: Served):
    with opened(browser, server, "1 object: disc in", has_touch=True) as page:
        box, fit = page.locator("#canvas").bounding_box(), fitting(page)
        hand = page.context.new_cdp_session(page)

        def touch(kind: str, *fingers: float) -> None:
            points = [
                {"x": box["x"] + x, "y": box["y"] + 270, "id": i} for i, x in enumerate(fingers)
            ]
            hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 200)
        touch("touchStart", 200, 400)
        touch("touchMove", 100, 400)
        touch("touchEnd")
        _is_seen(page, fit.zoomed(1.5, 250, 270), "two fingers")
        assert page.locator("#objects button[aria-pressed=true]").count() == 0


def test_the_page_is_light_or_dark_as_the_system_is(page: Page):
    for scheme, ground, ink in (
        ("light", "rgb(244, 245, 246)", "rgb(32, 38, 44)"),
        ("dark", "rgb(20, 24, 28)", "rgb(232, 236, 240)"),
    ):
        page.emulate_media(color_scheme=scheme)
        playwright.expect(page.locator("body")).to_have_css("background-color", ground)
        playwright.expect(page.locator("#objects button").first).to_have_css("color", ink)


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


def test_a_screen_reader_is_told_that_the_picture_takes_keys_and_which(page: Page):
    """By the browser's own tree, which leaves out what is folded away."""
    tree = page.context.new_cdp_session(page)
    root = tree.send("DOM.getDocument")["root"]["nodeId"]
    canvas = tree.send("DOM.querySelector", {"nodeId": root, "selector": "#canvas"})
    (node,) = tree.send("Accessibility.getPartialAXTree", {**canvas, "fetchRelatives": False})[
        "nodes"
    ]
    assert node["role"]["value"] == "application"
    assert node["name"]["value"] == "Photo with 1 object: disc"
    assert "arrows move, plus and minus zoom" in node["description"]["value"]
