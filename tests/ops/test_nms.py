"""NMS against the textbook loop, over several blocks."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointrend_jax.devices.backend import Forms, forms
from pointrend_jax.ops.boxes import box_iou
from pointrend_jax.ops.nms import nms_sorted

pytestmark = pytest.mark.usefixtures("strict_dtypes")
NUM = 600

_iou = jax.jit(box_iou)


@cache
def _compiled(form: Forms, **settings: Any) -> Callable[..., tuple[jax.Array, jax.Array]]:
    assert form == forms()
    return jax.jit(partial(nms_sorted, **settings))


def _kept(boxes: np.ndarray, groups: np.ndarray, valid: np.ndarray, **settings: Any) -> list[int]:
    index, found = _compiled(forms(), **settings)(boxes, groups, valid)
    return np.asarray(index)[np.asarray(found)].tolist()


def _greedy(
    boxes: np.ndarray, groups: np.ndarray, valid: np.ndarray, threshold: float
) -> list[int]:
    overlap = np.asarray(_iou(boxes, boxes)) > threshold
    kept: list[int] = []
    for i in np.flatnonzero(valid):
        if not any(overlap[j, i] and groups[j] == groups[i] for j in kept):
            kept.append(int(i))
    return kept


def _random(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (NUM, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (NUM, 2))], axis=1)
    return boxes.astype(np.float32), rng.integers(0, 3, NUM).astype(np.int32)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), num_valid=st.sampled_from([0, 1, 127, 128, 129, NUM]))
def test_nms_equals_the_greedy_loop(seed: int, num_valid: int) -> None:
    boxes, groups = _random(seed)
    valid = np.arange(NUM) < num_valid
    kept = _kept(boxes, groups, valid, iou_threshold=0.3, max_outputs=NUM)
    assert kept == _greedy(boxes, groups, valid, 0.3)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_of_a_chain_longer_than_any_number_of_rounds_every_second_box_is_kept(
    platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    # Each overlaps the one before and the one after by a third of both, and no other.
    left = np.arange(300, dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 2, left * 0 + 1], axis=1)
    one_group, valid = np.zeros(300, np.int32), np.ones(300, bool)
    kept = _kept(boxes, one_group, valid, iou_threshold=0.3, max_outputs=300)
    assert kept == list(range(0, 300, 2))


def test_the_forms_of_all_devices_keep_the_same_boxes(trace_for: Callable[[str], None]) -> None:
    boxes, groups = _random(1)
    everything = np.ones(NUM, bool)
    for platform in ("cpu", "gpu", "tpu"):
        trace_for(platform)
        kept = _kept(boxes, groups, everything, iou_threshold=0.3, max_outputs=NUM)
        assert kept == _greedy(boxes, groups, everything, 0.3)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_images_in_one_call_keep_what_each_keeps_alone(
    platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    # The chain takes many blocks, which the others wait for.
    left = np.arange(NUM, dtype=np.float32)
    chain = np.stack([left, left * 0, left + 2, left * 0 + 1], axis=1)
    apart = np.stack([left * 2, left * 0, left * 2 + 1, left * 0 + 1], axis=1)
    boxes = np.stack([chain, _random(2)[0], apart, _random(3)[0]])
    groups = np.stack([np.zeros(NUM, np.int32), *(_random(seed)[1] for seed in (2, 3, 4))])
    valid = np.arange(NUM) < np.array([NUM, NUM, NUM, 100])[:, None]
    settings = {"iou_threshold": 0.3, "max_outputs": 130}
    nms = _compiled(forms(), **settings)
    in_two = (2, 2, NUM)
    index, found = nms(boxes.reshape(*in_two, 4), groups.reshape(in_two), valid.reshape(in_two))
    index, found = (np.reshape(x, (4, -1)) for x in (index, found))
    mapped = jax.jit(jax.vmap(partial(nms_sorted, **settings)))(boxes, groups, valid)
    jax.tree.map(np.testing.assert_array_equal, (index, found), mapped)
    for image in range(4):
        own = boxes[image], groups[image], valid[image]
        jax.tree.map(np.testing.assert_array_equal, (index[image], found[image]), nms(*own))
        assert index[image][found[image]].tolist() == _greedy(*own, 0.3)[:130]


def test_an_overlap_of_exactly_the_threshold_drops_no_box() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1]], np.float32)
    one_group, valid = np.zeros(2, np.int32), np.ones(2, bool)
    for threshold, kept in ((0.5, [0, 1]), (0.499, [0])):
        assert _kept(boxes, one_group, valid, iou_threshold=threshold, max_outputs=2) == kept


def test_nms_stops_at_max_outputs_with_the_first_survivors() -> None:
    boxes, groups = _random(0)
    everything = np.ones(NUM, bool)
    kept = _kept(boxes, groups, everything, iou_threshold=0.3, max_outputs=20)
    assert kept == _greedy(boxes, groups, everything, 0.3)[:20]
    assert len(kept) == 20


@pytest.mark.parametrize(("num", "most"), [(0, 5), (3, 0), (0, 0)])
def test_without_candidates_or_outputs_nothing_is_kept(num: int, most: int) -> None:
    boxes, groups = np.zeros((2, num, 4), np.float32), np.zeros((2, num), np.int32)
    nms = _compiled(forms(), iou_threshold=0.5, max_outputs=most)
    index, found = nms(boxes, groups, np.ones((2, num), bool))
    assert index.shape == found.shape == (2, most)
    assert not found.any()
