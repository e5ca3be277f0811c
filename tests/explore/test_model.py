"""The page's server before models, tiny ones: what it sends is what their scenes render."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the page needs the extra `web`")
pytest.importorskip("uvicorn", reason="the page needs the extra `web`")

from benchmarks.compilations import counted_compilations
from pointrend_jax.explore import shown as showing
from pointrend_jax.explore.shown import FIRST_SIDE, shown, warm_up
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.scene import LabelScene, Scene, Window
from tests.explore.disc import Answer, Served, served
from tests.tiny_predictor import (
    LABEL_NAMES,
    NAMES,
    label_predictor_config,
    predictor_config,
    random_images,
    spread_label_variables,
    spread_variables,
)

PHOTO = random_images()[2]


class _Page(NamedTuple):
    served: Served
    predictor: Predictor | SemanticPredictor
    scene: Any

    def drop(self) -> Any:
        content = io.BytesIO()
        Image.fromarray(PHOTO).save(content, "PNG")
        answer = self.served.ask("photos", content.getvalue())
        assert answer.status == 200, answer.body
        return answer.json

    def window(self, scene: str, window: Window) -> Answer:
        numbers = ",".join(map(repr, window))
        address = f"scenes/{scene}/window?object=0&window={numbers}&side={FIRST_SIDE}"
        return self.served.ask(address)

    def expected(self, window: Window) -> bytes:
        size = FIRST_SIDE, FIRST_SIDE
        if isinstance(self.scene, LabelScene):
            return self.scene.render(window=window, size=size).tobytes()
        rendered = self.scene.render(0, window=window, size=size)
        return np.rint(255 * rendered).astype(np.uint8).tobytes()


def _instances() -> Predictor:
    return Predictor(spread_variables(), predictor_config(), NAMES)


def _labels() -> SemanticPredictor:
    config = label_predictor_config()
    return SemanticPredictor(spread_label_variables(config), config, LABEL_NAMES)


@pytest.fixture(scope="module", params=[_instances, _labels], ids=["instances", "labels"])
def page(request: pytest.FixtureRequest) -> Iterator[_Page]:
    predictor = request.param()
    with served(partial(shown, predictor)) as running:
        yield _Page(running, predictor, predictor.scene(PHOTO))


def _windows(page: _Page, number: int) -> list[Window]:
    """Of the first object or the whole photo, then of ever smaller parts of that."""
    height, width = PHOTO.shape[:2]
    whole = page.scene.instances.boxes[0].tolist() if isinstance(page.scene, Scene) else None
    x0, y0, x1, y1 = whole or (0.0, 0.0, float(width), float(height))
    return [(x0, y0, x1 - i / 50 * (x1 - x0), y1 - i / 40 * (y1 - y0)) for i in range(number)]


def test_a_photo_s_objects_and_windows_are_those_of_the_predictor(page: _Page):
    described = page.drop()
    names = [item["class_name"] for item in described["objects"]]
    if isinstance(page.scene, Scene):
        found = page.scene.instances
        assert names == list(found.class_names)
        np.testing.assert_array_equal([item["box"] for item in described["objects"]], found.boxes)
    else:
        assert names == list(page.scene.labels.shares())
        for kind, own in (("rendered", "labels"), ("coarse", "coarse_labels")):
            whole = page.served.ask(f"scenes/{described['scene']}/map?kind={kind}")
            assert whole.body == getattr(page.scene.labels, own).tobytes()
    (window,) = _windows(page, 1)
    content = page.window(described["scene"], window).body
    assert content == page.expected(window)
    assert len(set(content)) > 1


def test_twenty_windows_at_once_are_each_the_one_that_was_asked_for(page: _Page):
    scene, windows = page.drop()["scene"], _windows(page, 20)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(partial(page.window, scene), windows))
    expected = [page.expected(window) for window in windows]
    assert [answer.body for answer in answers] == expected
    assert len(set(expected)) == 20


def test_after_a_warm_up_nothing_is_compiled_for_a_photo_and_its_windows(
    page: _Page, monkeypatch: pytest.MonkeyPatch
):
    # One size, which is quick to compile.
    monkeypatch.setattr(showing, "FIRST_SIDE", 32)
    monkeypatch.setattr(showing, "REFINED_SIDES", (32,))
    warm_up(page.predictor, (128, 192))
    with counted_compilations() as names:
        scene = shown(page.predictor, PHOTO)
        for zoom in (1, 2, 4, 8, 16):
            scene.window(0, (0.0, 0.0, 192 / zoom, 128 / zoom), 32)
            scene.steps(0, (3.0, 2.0, 3 + 192 / zoom, 2 + 128 / zoom), 32)
    assert not names
