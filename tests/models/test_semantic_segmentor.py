"""Semantic models: any bucket equals the exact shape, every map counts, devices change nothing."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.semantic_point_head import SemanticPointRend
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.ops.points import point_sample, regular_grid
from pointrend_jax.structures import IGNORE_LABEL, Config, SemanticBatch, SemanticPredictions
from pointrend_jax.tasks.semantic import build_semantic_task
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.step import StepOptions, initial_state
from tests.tiny import (
    drawn_variables,
    images_of,
    on_device,
    semantic_batch,
    tiny_semantic_config,
    tiny_variables,
)
from tests.tiny_parts import task_on_patches

# Convolutions of another canvas may be split differently by the compiler: rounding, no more.
TOLERANCE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
_ALL_OF_A_FIXED_NORM = {"scale", "bias", "mean", "var"}


def _variables(task: Task) -> Any:
    """Random variables whose predictors spread the logits."""
    variables = tiny_variables(task)
    params = variables["params"]
    for predictor, scale in (
        (params["coarse_head"]["predictor"], 1 if "aspp" not in params["coarse_head"] else 1000),
        (params["point_head"]["point_head"]["predictor"], 1000),
    ):
        predictor["kernel"] = predictor["kernel"] * scale
    return variables


@cache
def _model() -> tuple[Any, Any]:
    """SemanticFPN from p3 on, which takes a step of rendering more."""
    config = tiny_semantic_config()
    config.model.semantic.levels = ("p3", "p4", "p5")
    config.model.semantic.subdivision_steps += 1
    task = build_semantic_task(config)
    return _variables(task), jax.jit(task.predict)


def _predict(batch: SemanticBatch) -> SemanticPredictions:
    variables, predict = _model()
    return jax.device_get(predict(variables, on_device(images_of(batch))))


@cache
def _exact() -> SemanticPredictions:
    return _predict(semantic_batch())


def test_any_bucket_gives_the_logits_of_the_exact_shape() -> None:
    exact, padded = _exact(), _predict(semantic_batch(canvas=(96, 128)))
    assert np.ptp(exact.logits) > 1
    # docs/architecture.md promises as much; 1.5e-6 was seen.
    rounding = 1e-5 * np.abs(exact.logits).max()
    apart = np.abs(padded.logits[:, :64, :64] - exact.logits) > rounding
    # A point that is chosen here and not there, as its uncertainty ties with another's.
    assert apart.mean() < 2e-3
    _assert_same_corner(padded.coarse_logits, exact.coarse_logits)


def _assert_same_corner(padded: Any, exact: Any) -> None:
    exact, side = np.asarray(exact), exact.shape[1]
    rounding = 1e-5 * np.abs(exact).max()
    np.testing.assert_allclose(padded[:, :side, :side], exact, rtol=0, atol=rounding)


def test_any_bucket_gives_the_coarse_logits_of_the_exact_shape_by_a_dilated_backbone() -> None:
    config = tiny_semantic_config("deeplabv3plus")
    model, variables = build_semantic_model(config), _variables(build_semantic_task(config))

    def coarse(m: SemanticSegmentor, batch: Any) -> Any:
        return m.coarse(m.maps(batch.images, batch.image_hw, batch.padded_hw), batch.padded_hw)

    predict = jax.jit(lambda variables, batch: model.apply(variables, batch, method=coarse))
    exact, padded = (
        predict(variables, on_device(images_of(semantic_batch(canvas=canvas))))
        for canvas in ((64, 64), (96, 128))
    )
    assert np.ptp(exact) > 1
    _assert_same_corner(padded, exact)


def test_any_bucket_gives_the_mean_of_the_same_windows() -> None:
    config = tiny_semantic_config("deeplabv3")
    config.model.semantic.aspp_pool, config.data.crop_hw = "crop", (32, 32)
    head: Any = build_semantic_model(config).coarse_head
    assert head.aspp.pool_hw == (2, 2)
    maps, padded_hw = np.random.default_rng(0).normal(size=(2, 4, 4, 8)), jnp.full((2, 2), 64)
    exact = {"res5": maps.astype(np.float32)}
    # What lies beyond the image is not read.
    padded = {"res5": np.pad(exact["res5"], ((0, 0), (0, 2), (0, 4), (0, 0)), constant_values=9)}
    shapes = jax.eval_shape(head.init, jax.random.key(0), exact, padded_hw)
    variables = drawn_variables(shapes, {"predictor/kernel": 1000})
    predict = jax.jit(lambda maps: head.apply(variables, maps, padded_hw))
    assert np.ptp(predict(exact)) > 1
    _assert_same_corner(predict(padded), predict(exact))


def test_an_image_has_the_same_result_wherever_it_lies_in_the_batch() -> None:
    batch = semantic_batch()
    both = _exact().logits
    swapped = _predict(jax.tree.map(lambda x: x[::-1], batch)).logits
    apart = ~np.isclose(swapped[::-1], both, **TOLERANCE)
    assert apart.mean() < 2e-3
    assert not np.allclose(both[0], both[1], **TOLERANCE)


def test_points_see_every_map_in_order_at_inference() -> None:
    """With all points rendered the result is the point head on p2, p3 and the coarse logits."""
    config = tiny_semantic_config()
    semantic = config.model.semantic
    semantic.point_features, semantic.subdivision_num_points = ("p2", "p3"), 64 * 64
    points: Any = build_semantic_model(config).point_head
    rng, batch = np.random.default_rng(0), on_device(images_of(semantic_batch()))
    coarse_logits, p2, p3 = on_device(
        [
            rng.normal(size=(2, side, side, channels)).astype(np.float32)
            for side, channels in ((16, 3), (16, 16), (8, 16))
        ]
    )

    def rendered(m: SemanticPointRend) -> Any:
        return m.predict({"p2": p2, "p3": p3}, coarse_logits, batch.images, batch.padded_hw)

    def by_hand(m: SemanticPointRend) -> Any:
        grid = jnp.tile(regular_grid(64)[None], (2, 1, 1))
        coarse, *fine = (point_sample(x, grid) for x in (coarse_logits, p2, p3))
        return m.point_head(jnp.concatenate(fine, axis=-1), coarse)

    shapes = jax.eval_shape(lambda k: points.init(k, method=by_hand), jax.random.key(0))
    variables = drawn_variables(shapes, {"predictor/kernel": 1000})
    apply = jax.jit(lambda v: [points.apply(v, method=how) for how in (rendered, by_hand)])
    ours, theirs = (np.asarray(x).reshape(2, 64, 64, -1) for x in apply(variables))
    assert np.ptp(theirs) > 1
    np.testing.assert_allclose(ours, theirs, **TOLERANCE)


@cache
def _losses_and_gradient() -> Any:
    """Of a batch: its losses, and the gradient of those of points by the first kernel, which reads
    p2, p3 and the coarse logits."""
    config = tiny_semantic_config()
    config.model.semantic.point_features = ("p2", "p3")
    task = task_on_patches(config)
    variables = _variables(task)
    kernel = variables["params"]["point_head"]["point_head"]["fc1"]["kernel"]
    assert kernel.shape[0] == 2 * 16 + 3

    def loss(kernel: jax.Array, batch: SemanticBatch) -> Any:
        params = variables["params"]
        point_head = dict(params["point_head"]["point_head"])
        point_head["fc1"] = point_head["fc1"] | {"kernel": kernel}
        changed = variables | {"params": params | {"point_head": {"point_head": point_head}}}
        terms, _ = task.loss(changed, batch, jax.random.key(0))
        return terms["loss_sem_seg_point"].total, terms

    function = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return lambda batch: jax.device_get(function(kernel, on_device(batch)))


def test_points_see_every_map_in_training() -> None:
    _, gradient = _losses_and_gradient()(semantic_batch())
    norms = [np.abs(gradient[i : i + 16]).max() for i in (0, 16)]
    assert min(norms) > 1e-3 * max(norms)


def test_pixels_without_ground_truth_change_no_loss_and_no_gradient() -> None:
    batch = semantic_batch()
    ignored = batch._replace(labels=np.full_like(batch.labels, IGNORE_LABEL))
    (_, terms), gradient = _losses_and_gradient()(ignored)
    assert sorted(terms) == ["loss_sem_seg", "loss_sem_seg_point"]
    for name, term in terms.items():
        assert (term.total, term.denominator) == (0.0, 0.0), name
    assert not gradient.any()
    (_, some), _ = _losses_and_gradient()(batch)
    assert some["loss_sem_seg"].denominator == np.sum(batch.labels != IGNORE_LABEL)
    assert 0 < some["loss_sem_seg_point"].denominator <= 2 * 32


def _trained(config: Config) -> Any:
    """State and step of a model with batch norm in its head and the loss of hard pixels."""
    config.model.norm, config.model.semantic.aspp_dropout = "batch_norm", 0.3
    config.model.semantic.loss = "hard_pixels"
    config.train.warmup_steps, config.train.learning_rate = 0, 0.01
    task = task_on_patches(config)
    variables = _variables(task)
    optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)
    return task, optimizer, initial_state(variables, optimizer, StepOptions())


def test_two_devices_equal_one_with_the_batch_norm_of_both() -> None:
    task, optimizer, before = _trained(tiny_semantic_config("deeplabv3"))
    key, batches = jax.random.key(7), [semantic_batch(4, seed) for seed in range(2)]
    single = build_replicas("shard_map", task, optimizer, devices=(jax.devices()[0],))
    one, single_key = single.replicate((before, key))
    replicas = build_replicas("pmap", task, optimizer)
    two, placed_key = replicas.replicate((before, key))
    # Sums run in another order: parts of the loss and of the largest number of an array; 2.4e-7 and
    # 1.3e-6 were seen.
    for batch in batches:
        one, losses = single.step(one, single.place(batch), single_key)
        two, metrics = replicas.step(two, replicas.place(batch), placed_key)
        np.testing.assert_allclose(metrics["loss"], losses["loss"], rtol=1e-5)

        def assert_close(a: Any, b: Any) -> None:
            np.testing.assert_allclose(a, b, rtol=0, atol=max(1e-6, 1e-4 * np.abs(b).max()))

        jax.tree.map(assert_close, (two.params, two.buffers), (one.params, one.buffers))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), one.buffers, before.buffers)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_frozen_stages_keep_their_statistics(backbone: str) -> None:
    config = tiny_semantic_config(backbone=backbone)
    config.model.norm, config.model.freeze_at = "batch_norm", 2
    module: Any = build_semantic_model(config).backbone
    pixels, padded_hw = jnp.zeros((1, 32, 32, 3)), jnp.full((1, 2), 32)
    variables = jax.eval_shape(module.init, jax.random.key(0), pixels, padded_hw)
    trained = variables["params"].keys() - set(module.frozen_modules())
    for name, norms in variables["buffers"].items():
        for arrays in norms.values():
            # Those of a fixed norm hold its scale and bias too.
            assert set(arrays) == ({"mean", "var"} if name in trained else _ALL_OF_A_FIXED_NORM)


def test_a_model_without_points_upsamples_its_coarse_logits() -> None:
    config = tiny_semantic_config()
    config.model.semantic.pointrend = False
    task = task_on_patches(config)
    variables = tiny_variables(task)
    assert "point_head" not in variables["params"]
    batch = on_device(images_of(semantic_batch()))
    predictions = jax.jit(task.predict)(variables, batch)
    expected = jax.image.resize(predictions.coarse_logits, (2, 64, 64, 3), "linear")
    np.testing.assert_allclose(predictions.logits, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="pointrend=False"):
        task.explain(variables, batch)


def test_dropout_is_of_the_step_and_only_in_training() -> None:
    config = tiny_semantic_config("deeplabv3")
    config.model.semantic.aspp_dropout = 0.5
    task = task_on_patches(config)
    variables = _variables(task)
    batch = jax.tree.map(lambda x: x[None], on_device(semantic_batch()))

    @jax.jit
    def loss(seed: jax.Array) -> Any:
        def total(batch: SemanticBatch) -> jax.Array:
            return task.loss(variables, batch, jax.random.key(seed))[0]["loss_sem_seg"].total

        return jax.vmap(total, axis_name="data")(batch)

    assert loss(jnp.int32(0)) != loss(jnp.int32(1))
    images = on_device(images_of(semantic_batch()))
    assert "random_bits" not in str(jax.make_jaxpr(task.predict)(variables, images))
