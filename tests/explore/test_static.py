"""The page as one file: what is in it, what it costs, and that a browser renders as Python does."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.cli import main
from pointrend_jax.explore import packed as packing
from pointrend_jax.explore import static
from pointrend_jax.explore.packed import PackedScene, pack, price, render_packed
from pointrend_jax.explore.shown import ShownInstances
from pointrend_jax.explore.static import static_page, write_static
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.scene import Scene
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.structures import Config
from tests.tiny_predictor import NAMES, predictor_config, random_images, spread_variables

SIDE = 128

# What playwright's own types would say, were it always there.
Page = Any


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Predictor(spread_variables(), predictor_config(), NAMES).scene(random_images()[2])


@pytest.fixture(scope="module")
def shown(scene: Scene) -> ShownInstances:
    return ShownInstances(scene, (), NAMES)


@pytest.fixture(scope="module")
def packed(scene: Scene) -> PackedScene:
    return pack(scene)


def _without_half(packed: PackedScene) -> PackedScene:
    """The scene without the features of its right half."""
    (kept,), (cells,) = packed.kept, packed.parts.maps
    kept, cells = kept.copy(), cells.copy()
    kept[:, kept.shape[1] // 2 :] = False
    cells[~kept] = 0
    return packed._replace(kept=[kept], parts=packed.parts._replace(maps=[cells]))


def _opened(browser: Any, file: Path, content: bytes) -> Page:
    file.write_bytes(content)
    page = browser.new_page(viewport={"width": 1000, "height": 600})
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: said.type == "error" and page.errors.append(said.text))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_function("() => /object/.test(document.querySelector('#status').textContent)")
    return page


def _rendered(page: Page, index: int, window: tuple[float, ...]) -> np.ndarray:
    """Probabilities that the page renders, in 255ths."""
    values = page.evaluate(
        """async ([object, window, side]) => {
          const api = await import("pointrend/api.js");
          const { values } = await api.window("photo", { object, window, side });
          return btoa(String.fromCharCode(...values));
        }""",
        [index, list(window), SIDE],
    )
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(SIDE, SIDE).astype(int)


def _assert_alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    """But for points that rounding chooses otherwise."""
    apart = np.abs(ours - theirs)
    assert np.mean(apart > 2) < 0.005, apart.max()
    assert np.mean((ours >= 128) ^ (theirs >= 128)) < 0.002
    assert 0.05 < np.mean(ours >= 128) < 0.95


def test_a_browser_renders_any_window_as_python_does(
    browser: Any, scene: Scene, shown: ShownInstances, packed: PackedScene, tmp_path: Path
) -> None:
    page = _opened(browser, tmp_path / "a.html", static_page(shown, scene, packed))
    x0, y0, x1, y1 = scene.instances.boxes[0].tolist()
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    for index, window in (
        (0, (x0, y0, x1, y1)),
        (1, tuple(scene.instances.boxes[1].tolist())),
        (0, (x0 - 10, y0 - 5, *middle)),
    ):
        ours = np.frombuffer(shown.window(index, window, SIDE), np.uint8).reshape(SIDE, SIDE)
        theirs = _rendered(page, index, window)
        _assert_alike(ours.astype(int), theirs)
        np.testing.assert_array_equal(ours == 0, theirs == 0)
    steps = page.evaluate(
        """async (window) => {
          const api = await import("pointrend/api.js");
          const steps = await api.steps("photo", { object: 0, window, side: 128 });
          return steps.map((step) => ({ ...step, uncertainty: [...step.uncertainty] }));
        }""",
        [x0, y0, x1, y1],
    )
    for ours, theirs in zip(shown.steps(0, (x0, y0, x1, y1), SIDE), steps, strict=True):
        assert (ours["height"], len(ours["points"])) == (theirs["height"], len(theirs["points"]))
        levels = np.frombuffer(bytes.fromhex(ours["uncertainty"]), np.uint8).astype(int)
        assert np.mean(np.abs(levels - theirs["uncertainty"]) > 3) < 0.01
        chosen, others = (
            {tuple(np.round(p, 4)) for p in step["points"]} for step in (ours, theirs)
        )
        assert len(chosen & others) > 0.98 * len(chosen)
    assert not page.errors
    assert all(re.match("file:|data:|blob:", address) for address in page.asked)
    page.close()


def test_a_browser_renders_one_window_after_the_other_and_none_that_was_left(
    browser: Any, scene: Scene, shown: ShownInstances, packed: PackedScene, tmp_path: Path
) -> None:
    page = _opened(browser, tmp_path / "a.html", static_page(shown, scene, packed))
    boxes = scene.instances.boxes.tolist()
    ended, order = page.evaluate(
        """async ([boxes, side]) => {
          const api = await import("pointrend/api.js");
          const { PointHead } = await import("pointrend/points.js");
          const [predict, order] = [PointHead.prototype.predict, []];
          PointHead.prototype.predict = function (object, places) {
            order.push(object.index);
            return predict.call(this, object, places);
          };
          const leaving = new AbortController();
          const asked = [null, leaving.signal, null].map((signal, object) =>
            api.window("photo", { object, window: boxes[object], side }, signal));
          leaving.abort();
          const ended = await Promise.allSettled(asked);
          return [ended.map(({ status }) => status), order];
        }""",
        [boxes, SIDE],
    )
    assert ended == ["fulfilled", "rejected", "fulfilled"]
    assert order == sorted(order)
    assert set(order) == {0, 2}
    assert not page.errors
    page.close()


def test_where_there_are_no_features_a_browser_reads_the_whole_mask_as_python_does(
    browser: Any, scene: Scene, shown: ShownInstances, packed: PackedScene, tmp_path: Path
) -> None:
    half = _without_half(packed)
    page = _opened(browser, tmp_path / "a.html", static_page(shown, scene, half))
    for index in (0, 1):
        ours = np.rint(255 * np.asarray(render_packed(half, index, SIDE))).astype(int)
        _assert_alike(ours, _rendered(page, index, tuple(scene.instances.boxes[index].tolist())))
    assert not page.errors
    page.close()


def test_the_page_zooms_chooses_and_shows_points_without_a_server(
    browser: Any, scene: Scene, shown: ShownInstances, packed: PackedScene, tmp_path: Path
) -> None:
    page = _opened(browser, tmp_path / "a.html", static_page(shown, scene, packed))
    page.locator("#score").fill("0")
    assert page.locator("#objects button").count() == len(scene.instances)
    page.locator("#canvas").focus()
    for key in ("n", "Enter", "u"):
        page.keyboard.press(key)
    page.wait_for_function("() => /Rendered/.test(document.querySelector('#timing').textContent)")
    page.wait_for_function("() => document.querySelector('#step').options.length === 5")
    # There is no other photo to open, and nothing to save that a server would make.
    assert page.locator("#file, label[for=file], #save button").count() == 0
    assert not page.errors
    page.close()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("</script><script>alert(1)</script>", r"\u003c/script>\u003cscript>alert(1)"),
        # What the page is made of by replacing it.
        ("page/icon.svg", "page/icon.svg"),
    ],
)
def test_a_class_may_have_any_name(
    name: str, written: str, scene: Scene, packed: PackedScene
) -> None:
    found = scene.instances
    named = PredictedInstances(
        found.boxes, found.scores, found.classes, (name,) * len(found), found.masks,
        found.coarse_masks,
    )  # fmt: skip
    own = Scene(scene._model, scene._seen, scene.image, named)
    content = static_page(ShownInstances(own, (), (name,) * 3), own, packed).decode()
    assert content.count(f'"class_name":"{written}') == len(found)
    assert "<script>alert(1)" not in content


def test_the_file_has_all_its_scripts_and_names_no_other_address(
    scene: Scene, shown: ShownInstances, packed: PackedScene
) -> None:
    content = static_page(shown, scene, packed).decode()
    assert not re.search(r'(src|href)="(?!data:)', content)
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', content)
    assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'"} < set(policy.split("; "))
    (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', content)
    modules = json.loads(imports)["imports"]
    scripts = [base64.b64decode(m.partition("base64,")[2]).decode() for m in modules.values()]
    wanted = {name for text in scripts for name in re.findall(r'from "(.*?)"', text)}
    assert wanted < set(modules)
    assert not re.search(r"https?://", content.replace("http://www.w3.org/2000/svg", ""))
    assert not any("fetch(" in text for text in scripts)


def test_what_is_left_out_of_a_scene_costs_little(
    scene: Scene, packed: PackedScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_PRICE_SIDE", SIDE)
    cost = price(scene, packed)
    assert cost.objects == len(scene.instances)
    assert cost.mask < 0.01
    assert cost.probability < 0.002
    # Without features next to outlines it would cost more.
    assert price(scene, _without_half(packed)).probability > 2 * cost.probability


def _near(logits: np.ndarray, cells: int) -> np.ndarray:
    """Of a mask over the whole map."""
    box = np.array([[0.0, 0.0, cells, cells]])
    return packing._near_outlines(logits[None].astype(np.float32), box, (cells, cells))


def test_features_are_kept_near_outlines_alone() -> None:
    # A pixel of 10 x 10 is unsure, on a map of 20 x 20 cells.
    logits = np.full((10, 10), 9.0)
    logits[4, 4] = 0.5
    rows, columns = np.nonzero(_near(logits, 20))
    # The centres of its neighbours are at 7 and 11, between the cells 6 and 7, 10 and 11; one more
    # lies around those.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 12, 5, 12)
    assert not _near(np.full((10, 10), 9.0), 20).any()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("side", "band"), [(10, (5, 14)), (4, (1, 19))])
def test_a_sharp_outline_keeps_its_features_without_a_hole(
    axis: int, side: int, band: tuple[int, int]
) -> None:
    """Of pixels of 2 and of 5 cells, both sides of the outline sure."""
    half = np.where(np.arange(side) < side // 2, 6.0, -6.0)
    logits = np.broadcast_to(half if axis else half[:, None], (side, side))
    near = _near(logits, 20)
    first, last = band
    expected = (np.arange(20) >= first) & (np.arange(20) <= last)
    np.testing.assert_array_equal(
        near, np.broadcast_to(expected if axis else expected[:, None], (20, 20))
    )


def test_features_that_float16_does_not_hold_are_refused() -> None:
    cells = np.full((2, 2, 1), 7e4, np.float32)
    with pytest.raises(ValueError, match=r"up to 65504, and this model's reach 7e\+04"):
        packing._halves(cells, np.eye(2, dtype=bool))
    assert packing._halves(cells, np.zeros((2, 2), bool)).max() == 0


def test_what_cannot_be_a_page_is_refused(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, file = tmp_path / "a.png", tmp_path / "a.html"
    with pytest.raises(ValueError, match=r"must end in \.html"):
        main(["explore", str(photo), "--checkpoint", "a", "--static", str(tmp_path / "a.txt")])
    with pytest.raises(ValueError, match="give PHOTO"):
        main(["explore", "--checkpoint", "a", "--static", str(file)])
    with pytest.raises(ValueError, match="--score-threshold is for --static"):
        main(["explore", "--checkpoint", "a", "--score-threshold", "0.3"])
    for own, message in (
        (("--score-threshold", "1.5"), r"score_threshold must be in \[0, 1\], got 1.5"),
        (("--port", "0"), "--port is of the page's server"),
        # No photo is there, and no model: the photo is read first.
        ((), r"a\.png"),
    ):
        with pytest.raises(ValueError, match=message):
            main(["explore", str(photo), "--checkpoint", "a", "--static", str(file), *own])
    with pytest.raises(ValueError, match=r"a\.png"):
        main(["explore", str(photo), "--checkpoint", "a"])
    there = tmp_path / "there.html"
    there.write_text("mine")
    with pytest.raises(ValueError, match=r"there\.html is there already"):
        main(["explore", str(photo), "--checkpoint", "a", "--static", str(there)])
    assert there.read_text() == "mine"
    labels = SemanticPredictor.__new__(SemanticPredictor)
    with pytest.raises(ValueError, match="a model of label maps"):
        write_static(labels, scene.image, file, score_threshold=0.5)
    nothing = Scene(scene._model, scene._seen, scene.image, scene.instances[:0])
    with pytest.raises(ValueError, match="nothing is found"):
        pack(nothing)

    class Found(Predictor):
        def __init__(self, config: Config) -> None:
            self.class_names, self.config = NAMES, config

        def scene(self, image: Any, **choice: Any) -> Scene:
            return scene

    monkeypatch.setattr(static, "MAX_BYTES", 2**14)
    with pytest.raises(ValueError, match=r"would have \d\.\d MiB \(\d+ objects.*leave --static"):
        write_static(Found(predictor_config()), scene.image, file, score_threshold=0.5)
    grey = predictor_config().copy_and_resolve_references()
    with grey.unlocked():
        grey.data.channels = 1
    with pytest.raises(ValueError, match=r"shows photos.* takes a uint8 \[height, width, 1\]"):
        write_static(Found(grey), scene.image, file, score_threshold=0.5)
    assert not file.exists()
