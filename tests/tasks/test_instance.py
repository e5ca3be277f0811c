"""What a user gets of a prediction, and so what is scored."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from pointrend_jax.masks.paste import probability
from pointrend_jax.ops.mask_changes import MaskChanges, list_changes
from pointrend_jax.structures import Detections, EvalSample, ImageBatch, InstancePredictions
from pointrend_jax.tasks import instance
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.instance import instance_results, pasted_instances, pasted_results
from pointrend_jax.tasks.predict_batches import delivers
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


# Two images of other sizes than the network's input, in a batch of three slots.
_RESIZED = np.asarray([[32, 32], [32, 24], [32, 32]], np.int32)
_ORIGINAL = ((45, 60), (40, 30))


def _two_images() -> EvalSample:
    canvas = np.zeros((3, 32, 32, 3), np.uint8)
    valid = np.asarray([True, True, False])
    return EvalSample(ImageBatch(canvas, _RESIZED, _RESIZED, valid), (7, 8), _ORIGINAL)


def _pasted(counts: tuple[int, ...], boxes: np.ndarray | None = None, canvas=(64, 64)):
    sample, predictions = _two_images(), _predictions(counts, boxes)
    sizes = np.asarray([*_ORIGINAL, (1, 1)], np.int32)
    deliver = jax.jit(pasted_instances, static_argnums=3)
    pasted = deliver(predictions, sample.batch, sizes, canvas)
    host = instance_results(sample, predictions, ("a", "b"))
    return pasted, list(pasted_results(sample, pasted, ("a", "b"))), list(host)


def test_masks_that_the_device_pastes_are_those_that_the_host_pastes():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 20, (3, SLOTS, 2))
    boxes = np.concatenate([start, start + rng.uniform(0, 20, start.shape)], 2).astype(np.float32)
    boxes[0, 2] = (40, 0, 50, 9)  # empty once it is clipped
    _, ours, theirs = _pasted((9, SLOTS, 0), boxes)
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert len(ours[0]) == 8
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
        for name in ("masks", "coarse_masks"):
            own, other = getattr(found, name), getattr(expected, name)
            assert other.boolean().any()
            # No probability of these lies within rounding of one half.
            assert own.rle() == other.rle()
        np.testing.assert_array_equal(found.masks.logits, expected.masks.logits)


class _OnDevice:
    """An array that counts how often numpy asks for it."""

    def __init__(self, values: Any) -> None:
        self.values, self.shape, self.asked = np.asarray(values), values.shape, 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.asked += 1
        return self.values


@pytest.mark.parametrize(("slots", "asked"), [(100, 1), (10**6, 0)])
def test_masks_without_slots_left_come_as_bits_and_never_as_maps(
    slots: int, asked: int, monkeypatch: pytest.MonkeyPatch
):
    def with_few_slots(*arrays: Any, **options: Any) -> MaskChanges:
        return list_changes(*arrays, slots=slots)

    monkeypatch.setattr(instance, "list_changes", with_few_slots)
    # Canvases of their own, so that nothing compiled is taken.
    pasted, _, theirs = _pasted((9, 9, 0), canvas=(64, 96 + asked))
    ends = np.asarray(pasted.rendered.ends)
    assert ends[0, 0] <= 100 < ends[0, 8]
    maps, bits = _OnDevice(pasted.predictions.mask_logits), _OnDevice(pasted.changed)
    predictions = pasted.predictions._replace(mask_logits=maps)
    counted = pasted._replace(predictions=predictions, changed=bits)
    ours = list(pasted_results(_two_images(), counted, ("a", "b")))
    for name in ("masks", "coarse_masks"):
        found, expected = ([getattr(x, name).rle() for x in each] for each in (ours, theirs))
        assert found == expected
    # The bits once for both images, where a mask wants them.
    assert (maps.asked, bits.asked) == (0, asked)


def test_masks_of_very_large_images_are_pasted_by_the_host():
    sample, predictions = _two_images(), _predictions((9, 9, 0))
    ours = pasted_results(sample, predictions, ("a", "b"))
    theirs = instance_results(sample, predictions, ("a", "b"))
    assert [found.masks.rle() for found in ours] == [found.masks.rle() for found in theirs]


@pytest.mark.parametrize(
    ("sizes", "pasted"),
    [
        # On canvases of 2048 x 3072 and of 3072 x 2048, which have more than 4 megapixels.
        (((1600, 2600), (1, 1)), True),
        (((2049, 2047), (1, 1)), True),
        (((2049, 2048), (1, 1)), False),
        # Either by itself would be small enough.
        (((1000, 3000), (3000, 1000)), False),
    ],
)
def test_the_device_pastes_up_to_4_megapixels_of_the_images_themselves(
    sizes: tuple[tuple[int, int], ...], pasted: bool, trace_for: Callable[[str], None]
):
    assert not delivers(build_task(tiny_config()), np.asarray(sizes))
    trace_for("gpu")
    assert delivers(build_task(tiny_config()), np.asarray(sizes)) is pasted


@pytest.mark.parametrize(("platform", "pastes"), [("cpu", False), ("gpu", True), ("tpu", False)])
def test_a_gpu_pastes_and_other_devices_do_not(
    platform: str, pastes: bool, trace_for: Callable[[str], None]
):
    trace_for(platform)
    assert build_task(tiny_config()).deliver is (pasted_instances if pastes else None)


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
