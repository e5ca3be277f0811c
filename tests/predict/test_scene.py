"""Scenes: windows of masks and label maps, rendered anew."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import pointrend_jax
from benchmarks.compilations import counted_compilations
from pointrend_jax.layers.regions import Regions
from pointrend_jax.masks.paste import probability
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.structures import ImageBatch, SemanticPredictions
from pointrend_jax.tasks.build import build_task
from tests.tiny import tiny_config, tiny_semantic_config
from tests.tiny_predictor import NAMES, predictor_config, random_images, spread_variables


@cache
def _scene() -> pointrend_jax.Scene:
    """Of an image that is twice as large as the network's input."""
    predictor = Predictor(spread_variables(), predictor_config(), NAMES)
    return predictor.scene(random_images()[2])


def _box(index: int) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in _scene().instances.boxes[index])
    return x0, y0, x1, y1


def test_a_box_at_the_size_of_its_mask_is_the_mask() -> None:
    instances = _scene().instances
    assert len(instances) > 1
    for i, logits in enumerate(instances.masks.logits):
        rendered = _scene().render(i, window=_box(i), size=(56, 56))
        # Boxes go to pixels of the image and back, which rounds them.
        np.testing.assert_allclose(rendered, probability(logits), atol=1e-3)


def test_a_window_agrees_with_the_whole_where_their_points_coincide() -> None:
    x0, y0, x1, y1 = _box(0)
    quarter = x0, y0, (x0 + x1) / 2, (y0 + y1) / 2
    whole = _scene().explain(0, window=_box(0), size=(56, 56))
    # At the same size a part of half the side has a grid of twice the cells for it.
    part = _scene().explain(0, window=quarter, size=(56, 56))
    assert [(len(s.mask_probs), len(s.point_coords)) for s in whole] == [
        (14, 196), (28, 196), (56, 196),
    ]  # fmt: skip
    x, y = np.floor(28 * whole[1].point_coords).astype(int).T
    x, y = x[(x < 14) & (y < 14)], y[(x < 14) & (y < 14)]
    assert len(x) > 20
    np.testing.assert_allclose(part[0].mask_probs[y, x], whole[1].mask_probs[y, x], atol=1e-4)
    # The same window at four times the size has finer points of its own.
    fine = _scene().explain(0, window=quarter, size=(112, 112))
    assert [len(s.mask_probs) for s in fine] == [14, 28, 56, 112]


def test_nothing_is_rendered_outside_the_box() -> None:
    x0, y0, x1, y1 = _box(0)
    width, height = x1 - x0, y1 - y0
    around = _scene().render(
        0, window=(x0 - width, y0 - height, x1 + width, y1 + height), size=(96, 96)
    )
    assert around[32:64, 32:64].max() > 0.5
    around[32:64, 32:64] = 0
    assert (around == 0).all()


def test_sizes_that_are_no_multiples_of_eight_have_the_pixels_of_those_that_are() -> None:
    x0, y0, x1, y1 = _box(0)
    pixel = (x1 - x0) / 56, (y1 - y0) / 56
    cut = x0, y0, x0 + 50 * pixel[0], y0 + 53 * pixel[1]
    rendered = _scene().render(0, window=cut, size=(53, 50))
    whole = _scene().render(0, window=_box(0), size=(56, 56))
    np.testing.assert_allclose(rendered, whole[:53, :50], atol=1e-4)


def test_panning_and_zooming_compile_nothing() -> None:
    x0, y0, x1, y1 = _box(0)
    _scene().render(0, window=(x0, y0, x1, y1), size=(56, 56))
    with counted_compilations() as names:
        _scene().render(1, window=(x0 + 3, y0 + 2, x1, y1), size=(56, 56))
        _scene().render(0, window=(x0, y0, x0 + 5, y0 + 1), size=(51, 56))
    assert not names


@pytest.mark.parametrize(
    ("window", "size", "message"),
    [
        ((4.0, 0.0, 4.0, 9.0), (8, 8), "window must be .* got .*4.0"),
        ((0.0, 0.0, float("nan"), 9.0), (8, 8), "window must be .* nan"),
        ((0.0, 0.0, float("inf"), 9.0), (8, 8), "window must be .* inf"),
        ((0.0, 0.0, 1e9, 9.0), (8, 8), "within 8388608 pixels"),
        ((0.0, 0.0, 4.0, 9.0), (0, 8), "size must be .* at least 1 pixel"),
        ((0.0, 0.0, 4.0, 9.0), (4096, 4096), "render larger ones in several windows"),
    ],
    ids=["flat", "nan", "infinite", "far away", "no pixel", "too many pixels"],
)
def test_a_window_that_cannot_be_rendered_is_refused(window, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        _scene().render(0, window=window, size=size)


def test_there_is_no_instance_beyond_the_last() -> None:
    with pytest.raises(IndexError):
        _scene().render(len(_scene().instances), window=_box(0), size=(56, 56))


def test_a_model_that_renders_nothing_has_no_windows() -> None:
    nothing = jnp.zeros((1, 4))
    dense = build_task(tiny_config(mask_head="conv").lock())
    with pytest.raises(ValueError, match="windows to render; that of this model is ConvMaskHead"):
        dense.render({"params": {}}, {}, Regions(*[nothing] * 5), nothing, (8, 8))
    config = tiny_semantic_config()
    config.model.semantic.pointrend = False
    seen = SemanticPredictions(nothing, nothing), ImageBatch(*[nothing] * 4)
    with pytest.raises(ValueError, match=r"windows to render; this one has .*pointrend=False"):
        build_task(config.lock()).render({"params": {}}, {}, seen, nothing, ((8, 8), 0))
