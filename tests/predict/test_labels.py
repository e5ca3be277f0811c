"""The semantic predictor: labels of original images, probabilities, explanations, tiles."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.compilations import counted_compilations
from pointrend_jax.ops.resize import best_labels
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.tiles import Tiling, predict_tiles
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.tasks.build import build_task
from tests.tiny import tiny_config
from tests.tiny_predictor import LABEL_NAMES, label_predictor_config, spread_label_variables

# Landscape, portrait, enlarged, one of another canvas.
SIZES = ((64, 96), (96, 64), (7, 9), (20, 300))


@cache
def _predictor() -> SemanticPredictor:
    config = label_predictor_config()
    return SemanticPredictor(spread_label_variables(config), config, LABEL_NAMES)


@cache
def _images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.repeat(rng.integers(0, 255, (*hw, 1), np.uint8), 3, axis=2) for hw in SIZES]


@cache
def _results() -> list[PredictedLabels]:
    return _predictor().predict(_images())


def test_labels_have_the_size_and_the_order_of_their_images() -> None:
    assert [result.image_hw for result in _results()] == list(SIZES)
    for image, among_many in zip(_images(), _results(), strict=True):
        assert among_many.labels.dtype == np.uint8
        assert among_many.labels.max() < 3
        alone = _predictor().predict(image)
        np.testing.assert_array_equal(alone.labels, among_many.labels)
        np.testing.assert_array_equal(alone.coarse_labels, among_many.coarse_labels)
    assert len(np.unique(_results()[0].labels)) > 1
    assert (_results()[0].labels != _results()[0].coarse_labels).any()


def test_labels_are_the_best_class_of_resized_logits() -> None:
    predictor, image = _predictor(), _images()[3]
    batch = predictor._model.sample(image).batch
    predict = jax.jit(build_task(label_predictor_config()).predict)
    logits = predict(predictor._model.variables, batch).logits
    hw = image.shape[:2]
    sizes = jnp.asarray(batch.image_hw), jnp.asarray([hw], jnp.int32), hw
    expected = best_labels(logits, *sizes)
    apart = np.asarray(expected)[0] != _results()[3].labels
    assert apart.mean() < 1e-3


def test_probabilities_sum_to_one_and_rank_as_the_labels() -> None:
    probabilities = _predictor().probabilities(_images()[0])
    assert probabilities.shape == (64, 96, 3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    assert (probabilities.argmax(axis=-1) != _results()[0].labels).mean() < 1e-3


def test_a_scene_s_window_of_the_whole_image_is_the_label_map() -> None:
    # The image goes to the network as it is, so its pixels are those of the logits.
    image = _images()[0]
    scene = _predictor().scene(image)
    np.testing.assert_array_equal(scene.labels.labels, _results()[0].labels)
    steps = scene.explain(window=(0, 0, 96, 64), size=(64, 96))
    assert len(steps) == 1
    np.testing.assert_array_equal(steps[0].labels, _results()[0].labels)


def test_a_scene_s_detail_goes_on_from_the_label_map_by_its_points() -> None:
    scene = _predictor().scene(_images()[0])
    window = (32.0, 16.0, 48.0, 32.0)
    # A pixel is an eighth of the image's, so the first of three subdivisions' is one.
    steps = scene.explain(window=window, size=(128, 128))
    assert [len(step.labels) for step in steps] == [16, 32, 64, 128]
    np.testing.assert_array_equal(steps[0].labels, scene.labels.labels[16:32, 32:48])
    assert not len(steps[0].point_coords)
    # 200 points a step for the whole map's 64 x 96 pixels.
    assert [len(step.point_coords) for step in steps[1:]] == [round(200 * 128 / 6144**0.5)] * 3
    assert len(np.unique(steps[-1].labels)) > 1
    np.testing.assert_array_equal(scene.render(window=window, size=(128, 128)), steps[-1].labels)
    # Pixels of half the image's take one.
    assert len(scene.explain(window=window, size=(32, 32))) == 2
    with pytest.raises(ValueError, match="window must be"):
        scene.render(window=(0, 0, 0, 1), size=(8, 8))


def test_a_scene_s_warmup_leaves_nothing_to_compile_at_any_zoom() -> None:
    scene = _predictor().scene(_images()[0])
    scene.warmup([(8, 8)])
    with counted_compilations() as names:
        for side in (16.0, 8.0, 4.0, 2.0, 1.0, 0.5):
            scene.render(window=(0, 0, side, side), size=(8, 8))
    assert not names


def test_explained_steps_lead_from_the_coarse_labels_to_the_prediction() -> None:
    explained = _predictor().explain(_images()[0])
    assert explained.coarse_labels.shape == (16, 24)
    assert [step.labels.shape for step in explained.steps] == [(32, 48), (64, 96)]
    for step in explained.steps:
        assert step.uncertainty.shape == step.labels.shape
        assert ((step.point_coords > 0) & (step.point_coords < 1)).all()
        assert len(step.point_coords) == 200
    apart = explained.steps[-1].labels != _results()[0].labels
    assert apart.mean() < 1e-3


def test_shares_and_masks_are_those_of_the_labels() -> None:
    labels = np.zeros((2, 10), np.uint8)
    labels[0, :7] = 2
    result = PredictedLabels(labels, labels, LABEL_NAMES)
    assert result.shares() == {"sky": 0.65, "car": 0.35}
    np.testing.assert_array_equal(result.mask("car"), labels == 2)
    with pytest.raises(ValueError, match=r"no class 'bus'; the classes are sky, road, car"):
        result.mask("bus")


def test_the_next_image_is_given_to_the_device_before_a_result_is_handed_out() -> None:
    taken: list[int] = []

    def images() -> Any:
        for i, image in enumerate(_images()):
            taken.append(i)
            yield image

    # The next image, and whatever a thread takes ahead of that.
    number = [len(taken) for _ in _predictor().stream(images())]
    assert all(i + 2 <= taken <= 4 for i, taken in enumerate(number[:-1]))


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"image 1 must be .*float64"):
        _predictor().predict([_images()[0], np.zeros((4, 4, 3))])
    with pytest.raises(ValueError, match="2 class names"):
        SemanticPredictor(_predictor()._model.variables, label_predictor_config(), LABEL_NAMES[:2])


def test_a_model_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="make a Predictor of it"):
        SemanticPredictor({}, tiny_config(), LABEL_NAMES)
    with pytest.raises(ValueError, match="make a SemanticPredictor of it"):
        Predictor({}, label_predictor_config(), LABEL_NAMES)


def test_tiles_equal_the_whole_image_away_from_their_borders() -> None:
    """A network without statistics of the image, every point rendered: it sees 384 pixels far."""
    config = label_predictor_config(norm="none", subdivision_num_points=2**20)
    variables, task = spread_label_variables(config), build_task(config)
    image = np.random.default_rng(1).integers(0, 255, (64, 1792, 3), np.uint8)
    predict = jax.jit(lambda v, batch: task.predict(v, batch).logits.argmax(-1).astype(np.uint8))

    def labels(width: int, overlap: int) -> np.ndarray:
        tiling = Tiling((64, width), overlap)
        result = predict_tiles(lambda b: predict(variables, b), image, tiling, None, progress=False)
        return np.asarray(result)

    whole = labels(1792, 0)
    assert len(np.unique(whole)) > 1
    # Two tiles that meet in the middle of what they share. Rounding decides between equal logits.
    assert (labels(1280, 768) != whole).mean() < 1e-4
    # Two that share nothing.
    apart = (labels(896, 0) != whole).any(axis=0)
    distance = np.abs(np.arange(1792) - 896)
    assert apart[distance < 64].mean() > 0.02
    assert apart[distance > 384].mean() < 1e-2


def test_the_predictor_gives_tiles_the_labels_of_the_image_at_its_own_size() -> None:
    image = _images()[0]
    labels = np.zeros((64, 96), np.uint8)
    assert _predictor().predict_tiles(image, tile=(64, 96), overlap=0, out=labels) is labels
    assert (labels != _results()[0].labels).mean() < 1e-3
