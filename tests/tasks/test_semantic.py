"""What becomes of the samples of an evaluation, whatever images a process has."""

import pickle
from typing import Any

import numpy as np
import pytest

from pointrend_jax.data.build_label_maps import SemanticEvalSet
from pointrend_jax.pixel_format import PHOTO
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.structures import EvalSample, ImageBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import one_ahead, original_sizes
from pointrend_jax.tasks.scoring import add_results
from pointrend_jax.tasks.semantic import PredictedLabelMaps
from pointrend_jax.tasks.semantic_scorer import SemanticScorer
from tests.tiny import tiny_semantic_config


def _sample(*sizes: tuple[int, int], first: int = 0, slots: int = 2) -> EvalSample:
    hw = np.full((slots, 2), 32, np.int32)
    valid = np.arange(slots) < len(sizes)
    batch = ImageBatch(np.zeros((slots, 32, 32, 3), np.uint8), hw, hw, valid)
    return EvalSample(batch, tuple(range(first, first + len(sizes))), sizes)


@pytest.mark.parametrize("sizes", [(), ((40, 70),), ((40, 70), (90, 20))])
def test_a_canvas_holds_the_images_of_a_batch_however_few(sizes: tuple[tuple[int, int], ...]):
    found, canvas = original_sizes(_sample(*sizes))
    assert found.tolist() == [*map(list, sizes), *[[1, 1]] * (2 - len(sizes))]
    assert (found <= canvas).all()


def test_images_of_all_sizes_share_few_canvases():
    sides = range(1, 2049)
    canvases = {original_sizes(_sample((side, 1)))[1][0] for side in sides}
    assert canvases == {64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048}
    for side in sides:
        height = original_sizes(_sample((side, 1)))[1][0]
        assert side <= height <= max(64, 3 * side // 2 + 1)


class _Truth:
    pixels = PHOTO

    def name(self, image_id: int) -> str:
        return f"{image_id}.png"

    def image(self, image_id: int) -> np.ndarray:
        return np.zeros((20, 30, 3), np.uint8)

    def labels(self, image_id: int) -> np.ndarray:
        return np.full((20, 30), image_id, np.uint8)

    def instance_ids(self, image_id: int) -> None:
        return None


def test_every_image_is_counted_with_its_own_labels_though_a_batch_has_none():
    config = tiny_semantic_config()
    truth: Any = _Truth()
    unused: Any = None
    data = SemanticEvalSet(("a", "b", "c"), (), unused, truth)
    task = build_task(config)
    evaluator = SemanticScorer(data, config)
    samples = [_sample((20, 30), (20, 30)), _sample(), _sample((20, 30), first=2)]

    def labels(sample: EvalSample) -> PredictedLabelMaps:
        maps = np.zeros((2, 64, 64), np.uint8)
        maps[: len(sample.image_ids)] = np.array(sample.image_ids, np.uint8)[:, None, None]
        return PredictedLabelMaps(maps, maps)

    add_results(task, one_ahead(samples, labels), evaluator, data.class_names, 3)
    assert evaluator.image_ids == (0, 1, 2)
    assert evaluator.evaluate().results["rendered"]["miou"] == 1


def test_two_processes_give_the_scores_details_and_pictures_of_one():
    truth: Any = _Truth()
    unused: Any = None
    data = SemanticEvalSet(("a", "b", "c"), (), unused, truth)
    whole, lead, other = (SemanticScorer(data, tiny_semantic_config()) for _ in range(3))
    for image_id in range(3):
        labels = np.full((20, 30), image_id, np.uint8)
        labels[: 5 * image_id] = 0
        prediction = PredictedLabels(labels, labels, data.class_names)
        for scorer in (whole, other if image_id == 1 else lead):
            scorer.add(image_id, prediction)
    lead.merge(pickle.loads(pickle.dumps(other.parts)))
    assert lead.evaluate() == whole.evaluate()
    images = whole.evaluate().details["images"]
    # Of 20 rows the first 5 and 10 are wrong: IoU of the class, beside 0 of the one that is not.
    assert [(i["name"], i["quality"]) for i in images["best"]] == [("0.png", 1), ("1.png", 0.375)]
    assert [(i["name"], i["quality"]) for i in images["worst"]] == [("2.png", 0.25)]
    for image_id in range(3):
        for ours, theirs in zip(lead.pair(image_id), whole.pair(image_id), strict=True):
            np.testing.assert_array_equal(ours.pixels, theirs.pixels)
            assert ours.words == theirs.words
    assert [drawn.words for drawn in whole.pair(2)] == ["c", "a, c"]
    # The legend needs the room that so small an image has not.
    assert {drawn.pixels.shape[1] for drawn in whole.pair(2)} == {480}
