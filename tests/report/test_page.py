"""The page of a report: whole by itself, and whatever a data set calls its things is text."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.report.page import report_page
from pointrend_jax.report.sections import Drawn, Pair

_NASTY = '<script>alert("1")</script> & \ud83d'
_VOID = {"meta", "img"}


class _Page(HTMLParser):
    """Texts by element, attributes of every element, and what was left open or closed twice."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(content.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _instances(classes: list[str]) -> tuple[dict, dict]:
    """Results and details of so many classes, the first the best."""
    scores = {"mask_ap": 0.5, "mask_ap_small": None, "boundary_ap": 0.25}
    by_class = {name: 1 - i / len(classes) for i, name in enumerate(classes)}
    results = {"rendered": scores, "coarse": scores | {"mask_ap": 0.4}}
    results["box"] = {"box_ap": 0.6, "box_ap50": 0.7, "box_ap75": None}
    for group in ("rendered_mask", "coarse_mask", "rendered_boundary", "coarse_boundary", "box"):
        results[f"{group}_ap_by_class"] = by_class
    curve = {"0.50": [1.0, 0.5, 0.0], "0.50:0.95": [0.8, 0.4, 0.0]}
    pairs = [{"true": name, "predicted": None, "count": 3} for name in classes]
    details = {
        "precision_recall": {"rendered_mask": curve, "coarse_mask": curve, "box": {}},
        "confusion": {
            "unit": "objects", "least_score": 0.5, "least_iou": 0.5,
            "classes": classes, "pairs": pairs,
        },
        "sizes": {"sides": [0, 32, 96], "objects": [4, 0, 2], "found": [1, 0, 2]},
        "images": {
            "measure": "a measure", "scored": 2,
            "best": [{"id": 1, "name": classes[0], "quality": 0.9}],
            "worst": [{"id": 2, "name": "b.jpg", "quality": 0.0}],
        },
    }  # fmt: skip
    return results, details


def _pair(image_id: int) -> Pair:
    truth = np.full((40, 800, 3), 100 * image_id, np.uint8)
    return Pair(Drawn(truth, f"1 {_NASTY}"), Drawn(truth // 2, "nothing"))


_METRICS = [
    {"step": 10, "loss": 2.0, "loss_mask": 1.5, "learning_rate": 0.1},
    {"step": 20, "loss": float("nan"), "loss_mask": 1.0, "learning_rate": 0.1},
    {"step": 20, "rendered/mask_ap": 0.5, "coarse/mask_ap": 0.4, "box/box_ap": 0.6},
]


def _page(results: dict, details: dict) -> bytes:
    return report_page(
        "a run", ["after 20 steps"], results, details, pair_of=_pair, metrics=_METRICS
    )


@pytest.fixture(scope="module")
def content() -> bytes:
    return _page(*_instances([_NASTY, "cat"]))


@pytest.fixture(scope="module")
def page(content: bytes) -> _Page:
    return _Page(content)


def test_names_from_data_are_text(page: _Page) -> None:
    assert len(page.of("script")) == 1
    shown = '<script>alert("1")</script> & �'
    assert any(text == shown for text in page.texts["th"])
    assert any(text.startswith(shown) for text in page.texts["figcaption"])
    assert f"truth: 1 {shown}" in page.texts["figcaption"]


def test_nothing_is_fetched(page: _Page, content: bytes) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("#", "data:image/jpeg;base64,"))
    policy = next(a for a in page.of("meta") if a.get("http-equiv"))["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(rb"@import|url\(|fetch\(|XMLHttpRequest", content)


def test_pictures_are_in_the_page_with_a_description_and_not_larger_than_shown(page: _Page) -> None:
    images = page.of("img")
    assert [a["alt"] for a in images][2:] == ["b.jpg, truth", "b.jpg, prediction"]
    for attributes, level in zip(images, (100, 50, 200, 100), strict=True):
        data = (attributes["src"] or "").removeprefix("data:image/jpeg;base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.size == (560, 28)
            assert abs(int(np.asarray(picture).mean()) - level) <= 2
        # What waits to be scrolled to is blank on paper and in pictures of the page.
        assert "loading" not in attributes


def test_sections_are_linked_and_tables_and_figures_are_named(page: _Page) -> None:
    anchors = [a["id"] for a in page.of("section")]
    assert [a["href"] for a in page.of("a")] == [f"#{anchor}" for anchor in anchors]
    assert anchors == ["scores", "images", "classes", "curves", "confusion", "sizes", "learning"]
    assert len(page.of("caption")) == len(page.of("table")) > 0
    assert all(a.get("scope") in ("col", "row") for a in page.of("th"))
    assert all(a["role"] == "img" and a["aria-label"] for a in page.of("svg"))
    assert page.of("html")[0]["lang"] == "en"


def test_scores_are_in_percent_and_sorted_by_what_they_are(page: _Page) -> None:
    cells = list(zip(page.of("td"), page.texts["td"], strict=True))
    assert [text for _, text in cells[:6]] == ["40.0", "50.0", "+10.0", "-", "-", "-"]
    assert [a.get("data-value") for a, _ in cells[:4]] == ["0.4", "0.5", "0.1", None]


def test_curves_and_images_are_in_percent_as_the_tables(page: _Page, content: bytes) -> None:
    def ticks(chart: str) -> list[float]:
        svg = content.split(f'aria-label="{chart}"'.encode())[1].split(b"</svg>")[0]
        return [float(tick) for tick in re.findall(rb'class="y tick"[^>]*>([^<]+)<', svg)]

    # The best score is 0.6; losses stay as they are.
    assert (ticks("Scores")[-1], ticks("Masks")[-1], ticks("Losses")[-1]) == (60, 100, 2)
    assert {"percent", "precision in percent", "recall in percent"} <= {*page.texts["text"]}
    assert "b.jpg: 0.0" in page.texts["figcaption"]
    assert any(text.endswith(": 90.0") for text in page.texts["figcaption"])


def test_points_that_are_no_numbers_are_left_out(content: bytes) -> None:
    assert b"nan" not in content.split(b"<main>")[1].split(b"</main>")[0].lower()


@pytest.mark.parametrize(("number", "folded"), [(30, 0), (31, 2)])
def test_many_classes_are_folded_below_the_best_and_the_worst(number: int, folded: int) -> None:
    content = _page(*_instances([f"class {i}" for i in range(number)]))
    page = _Page(content)
    assert len(page.of("details")) == folded
    if folded:
        # Each a table of its own, so the names follow its caption.
        best, worst, every = (
            re.findall(rb">(class [0-9]+)<", content.split(caption)[1].split(b"</table>")[0])
            for caption in (
                b"the 10 best</caption>",
                b"the 10 worst</caption>",
                b"all 31</caption>",
            )
        )
        assert best == [b"class %d" % i for i in range(10)]
        assert worst == [b"class %d" % i for i in range(30, 20, -1)]
        assert len(every) == 31
        assert "The pairs that were confused most" in page.texts["caption"]


def test_label_maps_have_their_own_scores_and_a_matrix_in_percent() -> None:
    results = {
        "rendered": {"miou": 0.5, "trimap_miou_4": 0.25},
        "coarse": {"miou": 0.5, "trimap_miou_4": None},
    }
    for group in ("iou", "boundary_iou"):
        results[f"rendered_{group}"] = results[f"coarse_{group}"] = {"road": 0.5, "sky": None}
    results |= {f"test_time_augmentation_{k}": results[k] for k in ("rendered", "coarse")}
    pairs = [
        {"true": "road", "predicted": "road", "count": 30},
        {"true": "road", "predicted": "sky", "count": 10},
    ]
    confusion = {"unit": "pixels", "classes": ["road", "sky"], "pairs": pairs}
    # Of void alone.
    images = {"measure": "a measure", "scored": 0, "best": [], "worst": []}
    page = _Page(_page(results, {"confusion": confusion, "images": images}))
    assert [a["id"] for a in page.of("section")] == ["scores", "classes", "confusion", "learning"]
    assert {"mIoU", "trimap 4 px"} < set(page.texts["th"])
    assert "With test-time augmentation" in page.texts["h3"]
    assert page.texts["td"][-4:] == ["75.0", "25.0", "0.0", "0.0"]
    shades = [a.get("style") for a in page.of("td")][-4:]
    assert shades == ["--shade: 75%", "--shade: 25%", None, None]


def test_a_set_without_annotations_may_have_cityscapes_scores_alone() -> None:
    results = {"cityscapes_rendered": {"mask_ap": 0.25, "mask_ap50": None}}
    results["cityscapes_coarse"] = results["cityscapes_rendered"]
    results["cityscapes_rendered_ap"] = results["cityscapes_coarse_ap"] = {"car": 0.25}
    page = _Page(_page(results, {}))
    assert [a["id"] for a in page.of("section")] == ["scores", "classes", "learning"]
    assert page.texts["td"] == ["25.0", "25.0", "+0.0", "-", "-", "-", "25.0", "25.0", "+0.0"]
