"""The whole network: any bucket equals the exact shape, and padding touches nothing."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops.chunks import slot_numbers
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.structures import InstancePredictions, ObjectBatch, Proposals
from tests.tiny import (
    NUM_CLASSES,
    images_of,
    object_batch,
    on_device,
    tiny_config,
    tiny_variables,
)
from tests.tiny_parts import task_on_patches, tiny_head

# Convolutions of another canvas may be split differently by the compiler: rounding, no more.
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-4}


@cache
def _model() -> tuple[Any, Any, Any]:
    """Task, variables that detect something, jitted prediction.

    The backbone is quick; that any bucket gives the maps of the real ones is shown with label maps
    and in tests/layers.
    """
    config = tiny_config()
    config.model.box.score_threshold = 0.01
    # So many that images with few samples train on a part of the mask head's 32 slots. Only the
    # appended ground truth is foreground: as many samples as an image has objects.
    config.model.box.samples_per_image, config.model.box.positive_fraction = 64, 0.5
    config.model.box.iou_threshold = 0.99
    # So many that anchors of every level are among them.
    config.model.rpn.samples_per_image = 256
    task = task_on_patches(config, frozen=("res2_conv",))
    variables = tiny_variables(task)
    # Larger predictors than at initialisation, so that boxes, scores and masks spread.
    params = variables["params"]
    for head, layer, scale in (
        ("rpn", "objectness", 30),
        ("rpn", "deltas", 10),
        ("box_head", "classifier", 10),
    ):
        params[head][layer]["kernel"] = params[head][layer]["kernel"] * scale
    return task, variables, jax.jit(task.predict)


def _predict(batch: ObjectBatch) -> InstancePredictions:
    _, variables, predict = _model()
    return jax.device_get(predict(variables, on_device(images_of(batch))))


@cache
def _exact() -> InstancePredictions:
    return _predict(object_batch())


def test_any_bucket_gives_the_detections_of_the_exact_shape() -> None:
    exact, padded = _exact(), _predict(object_batch(canvas=(96, 128)))
    assert exact.detections.valid.sum() >= 6
    for name, ours, theirs in zip(
        exact.detections._fields, padded.detections, exact.detections, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, err_msg=name, **TOLERANCE)
    for ours, theirs in (
        (padded.mask_logits, exact.mask_logits),
        (padded.coarse_logits, exact.coarse_logits),
    ):
        scale = max(1.0, float(np.abs(theirs).max()) / 50)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("mask_head", ["conv", "implicit"])
def test_any_bucket_gives_the_masks_of_the_exact_shape_by_the_other_heads(mask_head: str) -> None:
    head = tiny_head(tiny_config(mask_head=mask_head))
    padded_hw = head.batch.padded_hw

    def masks(m: Any, pyramid: Any) -> MaskLogits:
        prepared = m.prepare(pyramid, len(head.regions.boxes))
        encoded = m.encode_regions(pyramid, head.regions)
        return m.predict(prepared, encoded, head.regions, padded_hw)

    predict = jax.jit(lambda pyramid: head.module.apply(head.variables, pyramid, method=masks))
    canvas = {
        level: np.zeros((2, -(-96 // stride), -(-128 // stride), x.shape[-1]), np.float32)
        for (level, stride), x in zip(STRIDES.items(), head.pyramid.values(), strict=True)
    }
    for level, x in head.pyramid.items():
        canvas[level][:, : x.shape[1], : x.shape[2]] = x
    for ours, theirs in zip(predict(canvas), predict(head.pyramid), strict=True):
        largest = float(np.abs(theirs).max())
        assert largest > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * largest)


def test_an_image_has_the_same_result_wherever_it_lies_in_the_batch() -> None:
    batch = object_batch()
    swapped = jax.tree.map(lambda x: x[::-1], batch)
    together, other_way = _exact(), _predict(swapped)
    assert not np.allclose(together.detections.boxes[0], together.detections.boxes[1])
    for ours, theirs in zip(jax.tree.leaves(other_way), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(ours[::-1], theirs, **TOLERANCE)


def test_masks_of_slots_without_detection_stay_zero() -> None:
    _, variables, predict = _model()
    images = on_device(images_of(object_batch()))
    predictions = predict(variables, images._replace(valid=jnp.array([True, False])))
    assert not predictions.detections.valid[1].any()
    assert not predictions.mask_logits[1].any()
    assert predictions.mask_logits[0].any()


def test_detections_are_sorted_inside_the_image_and_of_known_classes() -> None:
    detections = _exact().detections
    scores = np.where(detections.valid, detections.scores, 0)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert detections.boxes.min() >= 0
    assert detections.boxes.max() <= 64
    assert set(np.unique(detections.classes)) <= {0, 1, 2}


@cache
def _loss_and_gradient() -> Any:
    """The undivided losses of a batch, and the gradient of their sum, which is that of its images'
    sums."""
    task, variables, _ = _model()

    def total(params: Any, batch: ObjectBatch) -> tuple[jax.Array, dict[str, LossTerm]]:
        terms, _ = task.loss({**variables, "params": params}, batch, jax.random.key(0))
        return sum((term.total for term in terms.values()), jnp.zeros(())), terms

    function = jax.jit(jax.value_and_grad(total, has_aux=True))
    return lambda batch: jax.device_get(function(variables["params"], on_device(batch)))


def _batch(*objects: int) -> ObjectBatch:
    """The same two images with so many of their objects each; 19 at most, of 20 slots."""
    batch = object_batch(slots=20)
    return batch._replace(valid=batch.valid & (np.arange(20) < np.array(objects)[:, None]))


@cache
def _trained_on(*objects: int) -> Any:
    """((the sum of all losses, each of them), gradient) of `_batch`."""
    return _loss_and_gradient()(_batch(*objects))


def test_losses_have_the_names_of_the_reference_and_are_finite() -> None:
    (_, losses), gradient = _trained_on(3, 19)
    names = "loss_rpn_cls loss_rpn_loc loss_cls loss_box_reg loss_mask loss_mask_point"
    assert sorted(losses) == sorted(names.split())
    assert all(term.total > 0 for term in losses.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_no_gradient_reaches_frozen_stages_and_every_other_parameter_has_one() -> None:
    task, (_, gradient) = _model()[0], _trained_on(3, 19)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        names = tuple(entry.key for entry in path)
        assert bool(np.any(leaf != 0)) == task.is_trainable(names), names


def test_content_of_padded_slots_changes_no_loss_and_no_gradient() -> None:
    batch = _batch(3, 19)
    boxes, bits, classes = batch.boxes.copy(), batch.mask_bits.copy(), batch.classes.copy()
    boxes[:, -1], bits[:, -1], classes[:, -1] = (1.0, 1.0, 60.0, 60.0), 255, 2
    changed = batch._replace(boxes=boxes, mask_bits=bits, classes=classes)
    jax.tree.map(np.testing.assert_array_equal, _trained_on(3, 19), _loss_and_gradient()(changed))


def test_the_same_regions_are_sampled_whatever_the_slots_for_objects() -> None:
    model = build_model(tiny_config("resnet18", "pointrend"))
    batch, number = on_device(object_batch()), model.proposals_train.post_nms_topk
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 64, (2, number, 2, 2)), axis=2).reshape(2, number, 4)
    logits = np.sort(rng.normal(size=(2, number)))[:, ::-1].copy()
    valid = np.tile(np.arange(number) < number - 3, (2, 1))
    proposals = on_device(Proposals(corners.astype(np.float32), logits.astype(np.float32), valid))

    @jax.jit
    def sampled(batch: ObjectBatch) -> Any:
        keys = jax.vmap(jax.random.key)(jnp.arange(2))
        noise: Any = model.apply({}, keys, batch, method=MaskRCNN.draw_noise)
        samples = model.apply(
            {}, proposals, batch, noise.roi_priority, method=lambda m, *x: m.box_head.sample(*x)
        )
        return samples, noise.anchor_priority, noise.candidates

    more = {
        name: np.pad(x, [(0, 0), (0, 7), *[(0, 0)] * (np.ndim(x) - 2)])
        for name, x in batch._asdict().items()
        if name in ("boxes", "classes", "mask_bits", "valid")
    }
    found, same = jax.device_get((sampled(batch), sampled(batch._replace(**more))))
    jax.tree.map(np.testing.assert_array_equal, found, same)
    # The class of background comes after all others.
    background = found[0].valid & ~found[0].foreground
    assert background.any()
    assert (found[0].classes[background] == NUM_CLASSES).all()


def test_the_mask_head_trains_alike_on_all_slots_and_on_a_part() -> None:
    """An image with few objects needs 16 slots alone, and is given 32 beside one with many."""
    both, few, many, none = (_trained_on(*n) for n in ((3, 19), (3, 0), (0, 19), (0, 0)))
    assert both[0][1]["loss_mask"].denominator == 22 * 7**2

    def adds_up(both: Any, few: Any, many: Any, none: Any) -> None:
        atol = 1e-4 * max(1e-3, float(np.abs(both).max()))
        np.testing.assert_allclose(both + none, few + many, rtol=1e-4, atol=atol)

    jax.tree.map(adds_up, both, few, many, none)


def test_one_program_for_all_slots_trains_as_those_for_parts_do(
    trace_for: Callable[[str], None],
) -> None:
    config = tiny_config()
    config.model.box.samples_per_image, config.model.box.positive_fraction = 64, 0.5
    head, model = tiny_head(config), build_model(config)
    num_images, objects = head.batch.valid.shape

    def in_slots(x: jax.Array) -> jax.Array:
        """[B * objects, ...] in the first of 32 slots an image, which repeat it to the end."""
        by_image = x.reshape(num_images, objects, *x.shape[1:])
        return jnp.tile(by_image, [1, 32 // objects] + [1] * (x.ndim - 1)).reshape(-1, *x.shape[1:])

    regions, candidates = jax.tree.map(in_slots, (head.regions, head.candidates))
    first = jnp.tile(jnp.arange(32) < objects, num_images)
    regions = regions._replace(valid=regions.valid & first)

    def evaluate(platform: str) -> tuple[Any, int]:
        trace_for(platform)

        def total(params: Any, pyramid: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
            terms: Any = model.apply(
                {"params": {"mask_head": params}},
                pyramid, regions, head.batch, candidates, method="_mask_losses",
            )  # fmt: skip
            return sum((term.total for term in terms.values()), jnp.zeros(())), terms

        traced = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True)).trace(
            head.variables["params"], head.pyramid
        )
        program = traced.lower().compile()
        branches = str(traced.jaxpr).count("cond[")
        return jax.device_get(program(head.variables["params"], head.pyramid)), branches

    (parts, num_parts), (whole, num_whole) = evaluate("cpu"), evaluate("tpu")
    assert (num_parts > 0, num_whole) == (True, 0)
    assert parts[0][1]["loss_mask"].denominator == 6 * 7**2

    def same(ours: Any, theirs: Any) -> None:
        atol = 1e-5 * max(1e-3, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=atol)

    jax.tree.map(same, whole, parts)


@pytest.mark.parametrize(
    ("slots", "numbers"),
    [(128, [32, 64, 128]), (32, [16, 32]), (31, [31]), (16, [16]), (1, [1])],
)
def test_parts_of_the_slots_are_halves_and_quarters_of_at_least_16(
    slots: int, numbers: list[int]
) -> None:
    assert slot_numbers(slots) == numbers


def test_images_without_objects_train_as_negatives() -> None:
    (loss, losses), gradient = _trained_on(0, 0)
    assert np.isfinite(loss)
    assert losses["loss_rpn_cls"].total > 0
    assert losses["loss_cls"].total > 0
    for name in losses.keys() - {"loss_rpn_cls", "loss_cls"}:
        assert losses[name].total == 0.0, name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("mask_head", ["conv", "implicit"])
def test_the_other_heads_learn_nothing_from_images_without_objects(mask_head: str) -> None:
    head = tiny_head(tiny_config(mask_head=mask_head))
    program = jax.jit(jax.value_and_grad(head.losses, (0, 1), has_aux=True))

    def function(regions: Regions) -> Any:
        return jax.device_get(program(head.variables["params"], head.pyramid, regions))

    regions = jax.device_get(head.regions)
    # As the network gives the slots that hold no foreground sample.
    none = regions._replace(boxes=np.zeros_like(regions.boxes), valid=np.zeros_like(regions.valid))
    (total, terms), gradient = function(none)
    assert total == 0.0
    assert {float(term.denominator) for term in terms.values()} == {0.0}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    (total, _), gradient = function(regions)
    assert total > 0
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[0]))


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        (
            "model.box.samples_per_image",
            0,
            r"box\.samples_per_image must be .* from 1 to .*got 0",
        ),
        (
            "model.box.positive_fraction",
            1.5,
            r"box\.positive_fraction must be a number above 0 and at most 1, got 1.5",
        ),
        ("model.box.positive_fraction", 0.01, r"must leave the mask head a sample .* 16 \* 0.01"),
        ("model.rpn.positive_fraction", float("nan"), r"rpn\.positive_fraction .* got nan"),
        (
            "model.rpn.post_nms_topk_eval",
            0,
            r"rpn\.post_nms_topk_eval must be .* from 1",
        ),
        (
            "model.box.detections_per_image",
            -1,
            r"box\.detections_per_image must be .* from 1",
        ),
    ],
)
def test_samples_that_cannot_be_taken_are_refused(field: str, value: Any, match: str) -> None:
    config = tiny_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=match):
        build_model(config)
