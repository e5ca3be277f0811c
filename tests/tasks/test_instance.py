"""What a user gets of a prediction, and so what is scored."""

import jax
import numpy as np

from pointrend_jax.masks.paste import probability
from pointrend_jax.structures import Detections, EvalSample, ImageBatch, InstancePredictions
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.instance import instance_results
from pointrend_jax.training.trees import flat
from tests.tiny import tiny_config

SLOTS, SIDE = 24, 8


def _predictions(counts: tuple[int, ...], boxes: np.ndarray | None = None) -> InstancePredictions:
    images = len(counts)
    valid = np.arange(SLOTS)[None] < np.array(counts)[:, None]
    if boxes is None:
        boxes = np.tile(np.array([2.0, 2.0, 10.0, 12.0], np.float32), (images, SLOTS, 1))
    rng = np.random.default_rng(0)
    detections = Detections(
        boxes=np.where(valid[..., None], boxes, 0).astype(np.float32),
        scores=valid * np.linspace(1, 0.1, SLOTS, dtype=np.float32),
        classes=np.where(valid, 1, 0),
        valid=valid,
        proposal_index=np.zeros((images, SLOTS), np.int32),
    )
    logits = rng.normal(size=(images, SLOTS, SIDE, SIDE)).astype(np.float32)
    return jax.device_put(InstancePredictions(detections, logits, logits[..., :4, :4]))


def test_a_box_that_is_empty_on_the_original_image_is_left_out():
    boxes = np.tile(np.array([2.0, 2.0, 10.0, 12.0], np.float32), (1, SLOTS, 1))
    boxes[0, 1] = (5.0, 5.0, 5.0, 9.0)
    canvas = np.zeros((1, 32, 32, 3), np.uint8)
    hw = np.full((1, 2), 32, np.int32)
    sample = EvalSample(ImageBatch(canvas, hw, hw, np.ones(1, bool)), (7,), ((32, 32),))
    (found,) = instance_results(sample, _predictions((3,), boxes), ("a", "b"))
    np.testing.assert_array_equal(found.boxes, boxes[0, [0, 2]])
    np.testing.assert_array_equal(found.classes, [1, 1])
    assert found.class_names == ("b", "b")
    np.testing.assert_allclose(found.scores, np.linspace(1, 0.1, SLOTS)[[0, 2]], rtol=1e-6)
    assert len(found.masks.rle()) == len(found.coarse_masks.rle()) == 2


def test_probability_is_the_sigmoid_and_keeps_its_input():
    logits = np.array([-200.0, -1.0, 0.0, 3.0], np.float32)
    before = logits.copy()
    np.testing.assert_allclose(probability(logits), [0, 0.26894142, 0.5, 0.95257413], rtol=1e-6)
    np.testing.assert_array_equal(logits, before)


def test_variables_that_come_from_elsewhere_are_left_out_and_change_no_other() -> None:
    task = build_task(tiny_config())
    everything = flat(task.init(3))
    known = {path for path in everything if "/backbone/" in path}
    others = flat(task.init(3, without=known))
    assert others.keys() == everything.keys() - known
    for path, array in others.items():
        np.testing.assert_array_equal(array, everything[path], err_msg=path)


def test_equal_models_share_a_task() -> None:
    assert build_task(tiny_config()) is build_task(tiny_config())
    assert build_task(tiny_config()) is not build_task(tiny_config(mask_head="conv"))
