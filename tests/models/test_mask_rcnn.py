"""The whole network: any bucket equals the exact shape, and padding touches nothing."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.regions import Regions
from pointrend_jax.models import mask_rcnn
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.structures import InstanceBatch, InstancePredictions, Proposals
from pointrend_jax.tasks.instance import instance_task
from tests.tiny import GT_SLOTS, images_of, instance_batch, on_device, tiny_config

# Convolutions of another canvas may be split differently by the compiler: rounding, no more.
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-4}


@cache
def _model(backbone: str, mask_head: str) -> tuple[Any, Any, Any]:
    """Task, variables that detect something, jitted prediction."""
    config = tiny_config(backbone, mask_head)
    config.model.box.score_threshold = 0.01
    task = instance_task(build_model(config))
    variables = task.init(0)
    # Larger predictors than at initialisation, so that boxes, scores and masks spread.
    params = variables["params"]
    for head, layer, scale in (
        ("rpn", "objectness", 30),
        ("rpn", "deltas", 10),
        ("box_head", "classifier", 10),
    ):
        params[head][layer]["kernel"] = params[head][layer]["kernel"] * scale
    return task, variables, jax.jit(task.predict)


def _predict(backbone: str, mask_head: str, batch: InstanceBatch) -> InstancePredictions:
    _, variables, predict = _model(backbone, mask_head)
    return jax.device_get(predict(variables, on_device(images_of(batch))))


@pytest.mark.parametrize(
    ("backbone", "mask_head"),
    [
        ("resnet18", "pointrend"),
        ("resnet18", "conv"),
        ("resnet18", "implicit"),
        ("efficientnet_lite0", "pointrend"),
    ],
)
def test_any_bucket_gives_the_detections_of_the_exact_shape(backbone: str, mask_head: str) -> None:
    exact = _predict(backbone, mask_head, instance_batch())
    padded = _predict(backbone, mask_head, instance_batch(canvas=(96, 128)))
    assert exact.detections.valid.sum() >= 6
    for name, ours, theirs in zip(
        exact.detections._fields, padded.detections, exact.detections, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, err_msg=name, **TOLERANCE)
    for ours, theirs in (
        (padded.mask_logits, exact.mask_logits),
        (padded.coarse_logits, exact.coarse_logits),
    ):
        if mask_head == "implicit":
            # Its random MLPs give logits beyond 100 and are as steep, so rounding of a box shows:
            # it is measured in parts of the largest logit, and moves a few points.
            largest = np.abs(theirs).max(axis=(-2, -1), keepdims=True)
            assert (np.abs(ours - theirs) > 1e-3 * largest).mean() <= 1e-3
        else:
            scale = max(1.0, float(np.abs(theirs).max()) / 50)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-4 * scale)


def test_a_batch_of_two_equals_two_of_one() -> None:
    batch = instance_batch()
    together = _predict("resnet18", "pointrend", batch)
    for i in range(2):
        one = jax.tree.map(lambda x, i=i: x[i : i + 1], batch)
        alone = _predict("resnet18", "pointrend", one)
        np.testing.assert_allclose(
            together.detections.boxes[i], alone.detections.boxes[0], **TOLERANCE
        )
        np.testing.assert_allclose(together.mask_logits[i], alone.mask_logits[0], **TOLERANCE)


def test_masks_of_slots_without_detection_stay_zero() -> None:
    _, variables, predict = _model("resnet18", "pointrend")
    images = on_device(images_of(instance_batch()))
    predictions = predict(variables, images._replace(valid=jnp.array([True, False])))
    assert not predictions.detections.valid[1].any()
    assert not predictions.mask_logits[1].any()
    assert predictions.mask_logits[0].any()


def test_detections_are_sorted_inside_the_image_and_of_known_classes() -> None:
    detections = _predict("resnet18", "pointrend", instance_batch()).detections
    scores = np.where(detections.valid, detections.scores, 0)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert detections.boxes.min() >= 0
    assert detections.boxes.max() <= 64
    assert set(np.unique(detections.classes)) <= {0, 1, 2}


def _loss_and_gradient_of(mask_head: str) -> Any:
    task, variables, _ = _model("resnet18", mask_head)

    def total(params: Any, batch: InstanceBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
        terms, _ = task.loss({**variables, "params": params}, batch, jax.random.key(0))
        losses = {
            name: term.total / jnp.maximum(term.denominator, 1) for name, term in terms.items()
        }
        return sum(losses.values(), jnp.zeros(())), losses

    return jax.jit(jax.value_and_grad(total, has_aux=True)), variables["params"]


_loss_and_gradient = cache(_loss_and_gradient_of)


def test_losses_have_the_names_of_the_reference_and_are_finite() -> None:
    function, params = _loss_and_gradient("pointrend")
    (_, losses), gradient = function(params, on_device(instance_batch()))
    names = "loss_rpn_cls loss_rpn_loc loss_cls loss_box_reg loss_mask loss_mask_point"
    assert sorted(losses) == sorted(names.split())
    assert all(float(value) > 0 for value in losses.values())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_no_gradient_reaches_frozen_stages_and_every_other_parameter_has_one() -> None:
    function, params = _loss_and_gradient("pointrend")
    task = _model("resnet18", "pointrend")[0]
    _, gradient = function(params, on_device(instance_batch()))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        names = tuple(entry.key for entry in path)
        assert bool(jnp.any(leaf != 0)) == task.is_trainable(names), names


def test_content_of_padded_slots_changes_no_loss_and_no_gradient() -> None:
    function, params = _loss_and_gradient("pointrend")
    batch = instance_batch()
    boxes, bits, classes = batch.boxes.copy(), batch.mask_bits.copy(), batch.classes.copy()
    boxes[:, -1], bits[:, -1], classes[:, -1] = (1.0, 1.0, 60.0, 60.0), 255, 2
    changed = batch._replace(boxes=boxes, mask_bits=bits, classes=classes)
    (loss, _), gradient = function(params, on_device(batch))
    (other, _), other_gradient = function(params, on_device(changed))
    assert float(loss) == float(other)
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)


def test_the_same_regions_are_sampled_whatever_the_slots_for_objects() -> None:
    model = build_model(tiny_config("resnet18", "pointrend"))
    batch, number = on_device(instance_batch()), model.proposals_train.post_nms_topk
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 64, (2, number, 2, 2)), axis=2).reshape(2, number, 4)
    logits = np.sort(rng.normal(size=(2, number)))[:, ::-1].copy()
    valid = np.tile(np.arange(number) < number - 3, (2, 1))
    proposals = on_device(Proposals(corners.astype(np.float32), logits.astype(np.float32), valid))

    def sampled(batch: InstanceBatch) -> Any:
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
    jax.tree.map(
        np.testing.assert_array_equal, sampled(batch), sampled(on_device(batch._replace(**more)))
    )


def test_the_mask_head_trains_alike_on_all_slots_and_on_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = instance_batch()
    with_all_slots, params = _loss_and_gradient("pointrend")
    with_all_slots(params, on_device(batch))  # traced before what follows
    # 4 slots an image here, which are too few to part otherwise.
    monkeypatch.setattr(mask_rcnn, "_FEWEST_SLOTS", 1)
    function, _ = _loss_and_gradient_of("pointrend")
    sizes = _sizes_of_mask_losses(monkeypatch)
    # One object in each image, or in one: few samples; and as many as there are.
    for objects in ([1, 1], [0, 1], [GT_SLOTS, GT_SLOTS]):
        valid = batch.valid & (np.arange(GT_SLOTS) < np.array(objects)[:, None])
        chosen = on_device(batch._replace(valid=valid))
        (_, losses), gradient = function(params, chosen)
        assert sizes == [2, 4, 8]
        (_, expected), expected_gradient = with_all_slots(params, chosen)
        for name, value in expected.items():
            np.testing.assert_allclose(losses[name], value, rtol=1e-5, err_msg=name)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), gradient, expected_gradient
        )


def _sizes_of_mask_losses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many regions the mask head is traced for, from now on."""
    sizes, losses = [], PointRendMaskHead.losses

    def spied(self: Any, pyramid: Any, regions: Regions, *rest: Any) -> Any:
        sizes.append(regions.boxes.shape[0])
        return losses(self, pyramid, regions, *rest)

    monkeypatch.setattr(PointRendMaskHead, "losses", spied)
    return sizes


@pytest.mark.parametrize("mask_head", ["pointrend", "conv", "implicit"])
def test_images_without_instances_train_as_negatives(mask_head: str) -> None:
    function, params = _loss_and_gradient(mask_head)
    batch = instance_batch()
    empty = batch._replace(valid=np.zeros_like(batch.valid))
    (loss, losses), gradient = function(params, on_device(empty))
    assert np.isfinite(float(loss))
    assert float(losses["loss_rpn_cls"]) > 0
    assert float(losses["loss_cls"]) > 0
    for name in losses.keys() - {"loss_rpn_cls", "loss_cls"}:
        assert float(losses[name]) == 0.0, name
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
