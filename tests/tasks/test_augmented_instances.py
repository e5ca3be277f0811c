"""Views of instances by hand: whose frame a box is in, what NMS leaves, what masks are averaged."""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from pointrend_jax.data.splits import EvalSamples
from pointrend_jax.layers.regions import MaskLogits
from pointrend_jax.structures import (
    Array,
    Config,
    Detections,
    EvalSample,
    ImageBatch,
    InstancePredictions,
)
from pointrend_jax.tasks.augmented_instances import (
    augmented_instances,
    boxes_from_view,
    boxes_in_view,
    merge_detections,
)
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.instance import instance_results
from pointrend_jax.tasks.views import views
from tests.tiny import tiny_config

# (height, width) of the first view, and of one of half the size.
_WHOLE, _HALF = (64, 96), (32, 48)


def _hw(*sizes: tuple[int, int]) -> Any:
    return np.asarray(sizes, np.int32)


def _boxes(*boxes: list[float]) -> Any:
    return np.asarray([boxes], np.float32)


@pytest.mark.parametrize(
    ("view_hw", "flipped", "in_view"),
    [
        (_WHOLE, False, [10, 8, 40, 20]),
        (_WHOLE, True, [56, 8, 86, 20]),
        (_HALF, False, [5, 4, 20, 10]),
        (_HALF, True, [28, 4, 43, 10]),
        # Sides are scaled apart.
        ((64, 48), False, [5, 8, 20, 20]),
    ],
)
def test_boxes_go_to_a_view_and_back(
    view_hw: tuple[int, int], flipped: bool, in_view: list[float]
) -> None:
    whole, frames = _boxes([10, 8, 40, 20]), (_hw(_WHOLE), _hw(view_hw))
    there = jax.jit(boxes_in_view)(whole, *frames, flipped=flipped)
    np.testing.assert_allclose(there, [[in_view]])
    back = jax.jit(boxes_from_view)(there, *frames, flipped=flipped)
    np.testing.assert_allclose(back, whole)


def _detections(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Detections:
    """Of one image; a score of 0 is an empty slot."""
    found: Any = np.asarray([scores], np.float32)
    labels: Any = np.asarray([classes], np.int32)
    return Detections(_boxes(*boxes), found, labels, found > 0)


def test_what_views_find_alike_is_kept_once_and_what_one_finds_stays() -> None:
    left, right = [0.0, 0, 40, 40], [60.0, 0, 90, 40]
    first = _detections([left, right], [0.6, 0.5], [0, 0])
    # In a mirrored view of half the size: `left` again and surer, and as another class.
    mirrored = [28.0, 0, 48, 20]
    second = _detections([mirrored, mirrored, [0.0, 0, 0, 0]], [0.9, 0.4, 0.0], [0, 1, 0])
    merge = jax.jit(partial(merge_detections, flips=(False, True), iou_threshold=0.5, most=4))
    merged = jax.tree.map(np.asarray, merge([first, second], [_hw(_WHOLE), _hw(_HALF)]))
    assert merged.valid.tolist() == [[True, True, True, False]]
    np.testing.assert_allclose(merged.scores[0], [0.9, 0.5, 0.4, 0])
    assert merged.classes.tolist() == [[0, 0, 1, 0]]
    np.testing.assert_allclose(merged.boxes[0], [left, right, left, [0, 0, 0, 0]])


def _config() -> Config:
    config = tiny_config()
    config.eval.tta_scales, config.eval.tta_flip = (1.0, 0.5), True
    return config


def _found_on_the_left(_: Any, batch: ImageBatch) -> tuple[Array, Detections]:
    """In place of a detector: in every view a box from 1/8 to 3/8 of the width."""
    number = batch.image_hw.shape[0]
    height, width = (batch.image_hw[:, i].astype(jnp.float32) for i in range(2))
    box = jnp.stack([width / 8, 0 * height, 3 * width / 8, height / 2], axis=-1)
    zeros = jnp.zeros((number, 1), jnp.int32)
    scores = jnp.full((number, 1), 0.5)
    return width, Detections(box[:, None], scores, zeros, zeros == 0)


def _ramp_and_place(_: Any, width: Array, detections: Detections, __: Any) -> MaskLogits:
    """In place of a mask head: a ramp from left to right, and where in the view the box begins."""
    ramp = jnp.broadcast_to(jnp.asarray([-2.0, 1.0]), (*detections.valid.shape, 2, 2))
    begins = detections.boxes[..., 0] / width[:, None]
    return MaskLogits(ramp, begins[..., None, None])


def _two_images(index: int, count: int, scale: float, flip: bool) -> Iterator[EvalSample]:
    """Of `_WHOLE` at scale 1, on a canvas of that size."""
    assert (index, count) == (0, 1)
    height, width = (int(scale * side) for side in _WHOLE)
    sizes = np.full((2, 2), (height, width), np.int32)
    images = np.zeros((2, height, width, 3), np.uint8)
    batch = ImageBatch(images, sizes, sizes, np.ones(2, bool))
    yield EvalSample(batch, (7, 8), (_WHOLE, _WHOLE))


def test_masks_are_the_mean_of_what_each_view_makes_of_the_merged_boxes() -> None:
    config, samples = _config(), cast(EvalSamples, _two_images)
    assert views(config) == [(1.0, False), (1.0, True), (0.5, False), (0.5, True)]
    task = build_task(config)._replace(find=_found_on_the_left, segment=_ramp_and_place)
    ((sample, predictions),) = augmented_instances(task, {}, samples, config, process=(0, 1))
    assert sample.image_ids == (7, 8)
    assert isinstance(predictions, InstancePredictions)
    results = list(instance_results(sample, predictions, ("a", "b", "c")))
    assert len(results) == 2
    for instances in results:
        # Both scales find both; the mirrored views find what lies on the right.
        np.testing.assert_allclose(instances.boxes, [[12, 0, 36, 32], [60, 0, 84, 32]])
        low, high = float(sigmoid(-2.0)), float(sigmoid(1.0))
        np.testing.assert_allclose(sigmoid(instances.masks.logits), (low + high) / 2, rtol=1e-5)
        # A box that begins at 1/8 of the width begins at 5/8 of it in a mirrored view.
        begins = (float(sigmoid(1 / 8)) + float(sigmoid(5 / 8))) / 2
        np.testing.assert_allclose(sigmoid(instances.coarse_masks.logits), begins, rtol=1e-5)
