"""bfloat16: what computes in it and what does not, how far its numbers are, and that it trains."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.efficientnet_lite import EfficientNetLite
from pointrend_jax.layers.resnet import ResNet
from pointrend_jax.models.build import build_model
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.structures import Array, Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import with_fixed_as_constants
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.step import StepOptions, TrainState, initial_state
from tests.programs import products
from tests.tiny import (
    drawn_variables,
    images_of,
    object_batch,
    on_device,
    semantic_batch,
    tiny_config,
    tiny_semantic_config,
    tiny_variables,
)
from tests.tiny_parts import task_on_patches, tiny_head

# What float32 keeps: the last layers, and all that computes points or the masks they are for.
_LAST_LAYERS = {"rpn._predict", "deltas", "classifier", "predictor"}
_MODULES = {
    "backbone", "fpn", "rpn", "rpn.losses", "box_head", "coarse_head", "parameter_head",
}  # fmt: skip


def _config(name: str, dtype: str) -> Config:
    config = tiny_config() if name == "pointrend" else tiny_semantic_config(name)
    config.model.compute_dtype = dtype
    config.train.warmup_steps, config.train.milestones = 0, ()
    config.train.learning_rate = 0.01 if config.task == "instance" else 1e-3
    return config


@cache
def _losses(dtype: str) -> tuple[Any, Any]:
    """The losses of instances: their program, and their values on a batch."""
    task = task_on_patches(_config("pointrend", dtype))
    # Larger predictors than at initialisation, so that losses are of what the maps say.
    scales = {"objectness": 30, "deltas": 10, "classifier": 10, "predictor": 100}
    kernels = {f"{layer}/kernel": scale for layer, scale in scales.items()}
    variables = drawn_variables(task.shapes(), {"res2_conv/kernel": 1 / 200} | kernels)
    given = (variables, on_device(object_batch()), jax.random.key(7))
    traced = jax.jit(lambda *given: task.loss(*given)[0]).trace(*given)
    return traced.jaxpr, traced.lower().compile()(*given)


@cache
def _label_maps(dtype: str) -> tuple[Any, Any]:
    """The prediction of label maps: its program, and its result on a batch."""
    task = build_task(_config("semantic_fpn", dtype))
    given = (tiny_variables(task), on_device(images_of(semantic_batch())))
    traced = jax.jit(task.predict).trace(*given)
    return traced.jaxpr, traced.lower().compile()(*given)


@cache
def _trained(steps: int = 6) -> tuple[Any, TrainState, list[dict[str, float]]]:
    """The program of a step of label maps in bfloat16; the state after some steps on one batch, and
    the losses before each."""
    config = _config("semantic_fpn", "bfloat16")
    task = task_on_patches(config)
    variables = tiny_variables(task)
    optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)

    one: Any = build_replicas("shard_map", task, optimizer, devices=(jax.devices()[0],))
    state = initial_state(variables, optimizer, StepOptions())
    state, key = one.replicate((state, jax.random.key(7)))
    traced = one.step.trace(state, one.place(semantic_batch()), key)
    step, losses = traced.lower().compile(), []
    for _ in range(steps):
        state, metrics = step(state, one.place(semantic_batch()), key)
        losses.append({name: float(value) for name, value in metrics.items()})
    return traced.jaxpr, state, losses


def _gradient_of_head(mask_head: str) -> Any:
    """The program of a mask head's losses and gradient, of maps in bfloat16."""
    head = tiny_head(tiny_config(mask_head=mask_head), jnp.bfloat16)
    function = jax.value_and_grad(head.losses, (0, 1), has_aux=True)
    return jax.make_jaxpr(function)(head.variables["params"], head.pyramid, head.regions)


def _gradient_of_part(part: Any, *given: Any) -> Any:
    """The program of the gradient of all that a part gives."""
    shapes = jax.eval_shape(part.init, jax.random.key(0), *given)
    frozen = getattr(part, "frozen_modules", tuple)()

    def total(params: Any, buffers: Any) -> Array:
        variables = {"params": params, "buffers": buffers}
        variables = with_fixed_as_constants(variables, lambda path: path[0] not in frozen)
        maps, _ = part.apply(variables, *given, mutable=["buffers"])
        results = (jnp.asarray(x, jnp.float32) for x in jax.tree.leaves(maps))
        return sum((jnp.sum(x) for x in results), jnp.zeros(()))

    function = jax.vmap(jax.grad(total), in_axes=None, axis_size=1, axis_name="data")
    return jax.make_jaxpr(function)(shapes["params"], shapes.get("buffers", {}))


def _gradient_of_backbone(backbone: Any) -> Any:
    pixels = jnp.zeros((1, 64, 64, 3), jnp.bfloat16)
    return _gradient_of_part(backbone.clone(name="backbone"), pixels, jnp.array([[64, 64]]))


def _gradient_in_network(name: str) -> Any:
    """Of the RPN or the box head, on maps in bfloat16."""
    part: Any = getattr(build_model(tiny_config()), name).clone(name=name)
    given = [tiny_head(tiny_config(), jnp.bfloat16).pyramid, jnp.array([[64, 64]] * 2)]
    if name == "box_head":
        given.insert(1, on_device(object_batch().boxes))
    return _gradient_of_part(part, *given)


def _gradient_of_deeplab() -> Any:
    head: Any = build_semantic_model(tiny_semantic_config("deeplabv3plus")).coarse_head
    maps = {
        "res2": jnp.zeros((1, 16, 16, 64), jnp.bfloat16),
        "res5": jnp.zeros((1, 4, 4, 512), jnp.bfloat16),
    }
    return _gradient_of_part(head.clone(name="coarse_head"), maps, jnp.array([[64, 64]]))


_IN_BFLOAT16: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "losses of instances": (
        lambda: _losses("bfloat16")[0],
        {"backbone", "fpn", "rpn", "box_head", "coarse_head"},
    ),
    "a step of label maps": (lambda: _trained()[0], {"backbone", "fpn", "coarse_head"}),
    "rpn": (lambda: _gradient_in_network("rpn"), {"rpn", "rpn._predict"}),
    "box_head": (lambda: _gradient_in_network("box_head"), {"box_head", "fc1", "classifier"}),
    "pointrend": (lambda: _gradient_of_head("pointrend"), {"coarse_head", "fc1"}),
    "implicit": (lambda: _gradient_of_head("implicit"), {"parameter_head", "point_head"}),
    "conv": (lambda: _gradient_of_head("conv"), {"mask_head", "conv4", "deconv"}),
    "resnet18": (lambda: _gradient_of_backbone(ResNet(18, freeze_at=3)), {"backbone", "res5_1"}),
    "efficientnet_lite0": (
        lambda: _gradient_of_backbone(EfficientNetLite(0, freeze_at=4)),
        {"backbone", "block15"},
    ),
    "deeplabv3plus": (_gradient_of_deeplab, {"coarse_head", "aspp", "fuse1_conv"}),
}


@pytest.mark.parametrize(("program", "modules"), _IN_BFLOAT16.values(), ids=_IN_BFLOAT16)
def test_maps_compute_in_bfloat16_and_points_and_last_layers_in_float32(
    program: Callable[[], Any], modules: set[str]
) -> None:
    jaxpr = program()
    seen = set()
    for product in products(jaxpr):
        around = product.modules
        seen |= around
        # What belongs to no layer cuts masks out of the ground truth, or samples maps at points.
        layers = around & _MODULES
        if "mask_head" in around and any(part.startswith(("conv", "deconv")) for part in around):
            layers.add("mask_head")
        in_float32 = around & (_LAST_LAYERS | {"point_head"}) or not layers
        assert product.dtypes == {"float32" if in_float32 else "bfloat16"}, around
    assert modules <= seen


def test_float32_has_no_bfloat16_anywhere() -> None:
    for program in (_losses, _label_maps):
        assert "bf16" in str(program("bfloat16")[0])
        assert "bf16" not in str(program("float32")[0])


def test_losses_of_bfloat16_are_near_those_of_float32() -> None:
    ours, theirs = (_losses(dtype)[1] for dtype in ("bfloat16", "float32"))
    for name, term in theirs.items():
        # Eight bits are 0.4 %, of one number; 0.36 % was seen.
        np.testing.assert_allclose(ours[name].total, term.total, rtol=0.01, err_msg=name)
        assert ours[name].total.dtype == jnp.float32


def test_bfloat16_trains_and_leaves_the_state_in_float32() -> None:
    _, state, losses = _trained()
    assert losses[-1]["loss"] < 0.9 * losses[0]["loss"]
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {jnp.dtype(jnp.float32)}


def test_labels_of_bfloat16_are_mostly_those_of_float32() -> None:
    ours, theirs = (_label_maps(dtype)[1] for dtype in ("bfloat16", "float32"))
    assert ours.logits.dtype == ours.coarse_logits.dtype == jnp.float32
    same = jnp.argmax(ours.logits, axis=-1) == jnp.argmax(theirs.logits, axis=-1)
    # 99.7 % were seen.
    assert 0.97 < same.mean() < 1.0


@pytest.mark.parametrize("name", ["pointrend", "semantic_fpn"])
def test_another_compute_dtype_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"compute_dtype must be one of .*'bfloat16'.* got 'half'"):
        build_task(_config(name, "half"))
