"""What prediction and training become for a GPU and a TPU, lowered on whatever there is.

After each round of a loop that the data ends, a GPU's host asks whether another follows; so which
loops there are is written down here, and one more, or one less, must be entered by hand.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.configs import base
from pointrend_jax.devices.backend import compiler_options, deterministic, forms, traced_for
from pointrend_jax.layers.resnet import stem_pool
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.ops import top_k
from pointrend_jax.structures import Config, CropBatch, ImageBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import on_local_devices, on_one_device
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.step import StepOptions, initial_state
from tests.lowered import data_dependent_loops, lowered_for, operations, unordered_scatters
from tests.tiny import (
    images_of,
    object_batch,
    on_device,
    semantic_batch,
    tiny_config,
    tiny_semantic_config,
    tiny_variables,
)
from tests.tiny_parts import task_on_patches, tiny_head
from tests.tiny_refiner import refiner_config

# NMS: over blocks of proposals, and of detections. ROIAlign on a GPU, in a branch for boxes that
# find no window: over the samples of a bin; for the gradient, whose place is that of the operation,
# over the pixels of a bin and, by axis, the samples beside one. Where a TPU decides by itself: over
# the tiles of the largest box of a chunk, and over regions that are encoded together, and those of
# them that are finished together.
_OF_PREDICTION = {
    "gpu": Counter({"ops/nms.py": 2, "ops/roi_loop.py": 1}),
    "tpu": Counter({"ops/nms.py": 2, "ops/roi_tiles.py": 1, "ops/chunks.py": 2}),
}
_OF_TRAINING = {
    "gpu": Counter({"ops/nms.py": 1, "ops/roi_loop.py": 1, "ops/roi_align.py": 3}),
    "tpu": Counter({"ops/nms.py": 1, "ops/roi_tiles.py": 1, "ops/roi_align.py": 1}),
}
# Of 800 x 1216, as COCO is predicted. Anchors of p2 to p6, of which 1000 of each level are wanted;
# those of all levels in the order of their scores; classes of 1000 proposals, of which 20 are
# wanted each; proposals and detections by their size; pixels of masks of sides 56, 112 and 224, of
# which 784 are. What is long is counted on a GPU, and sorted when it was chosen.
_SORTED_ON_A_GPU = Counter([*3 * [1000], 2850, 741, 4741, 20000, 1000, 100, 3136, *2 * [784]])


@cache
def _instance_step(platform: str, *, deterministic: bool = False) -> Any:
    """The lowered training step on a quick backbone: no backbone has a loop, nor a scatter but the
    gradient of pooling."""
    task = task_on_patches(tiny_config())
    return _step(task, tiny_config(), object_batch(), platform, deterministic=deterministic)


def _step(task: Task, config: Config, batch: Any, platform: str, *, deterministic: bool) -> Any:
    variables, options = tiny_variables(task), StepOptions(deterministic=deterministic)
    optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)
    state = initial_state(variables, optimizer, options)
    step = build_replicas("shard_map", task, optimizer, options).step
    return lowered_for(platform, step, state, on_device(batch), jax.random.key(0))


def _gradient(
    function: Callable[..., Any], *arguments: Any, deterministic_step: bool = True
) -> Any:
    """The lowered gradient of the sum of all that `function` gives, by its first argument."""

    def total(*given: Any) -> jax.Array:
        return sum((jnp.sum(x) for x in jax.tree.leaves(function(*given))), jnp.zeros(()))

    with deterministic(deterministic_step):
        return lowered_for("gpu", jax.grad(total), *arguments)


@pytest.mark.parametrize("platform", _OF_PREDICTION)
def test_the_loops_of_a_prediction_that_data_ends_are_known(platform: str) -> None:
    with traced_for(platform):
        task = task_on_patches(tiny_config())
    assert (task.deliver is not None) == (platform == "gpu")
    batch, sizes = on_device((images_of(object_batch()), np.full((2, 2), 60, np.int32)))

    def predict(variables: Variables, batch: ImageBatch, sizes: jax.Array) -> Any:
        predictions = task.predict(variables, batch)
        return task.deliver(predictions, batch, sizes, (64, 96)) if task.deliver else predictions

    module = lowered_for(platform, predict, tiny_variables(task), batch, sizes)
    assert data_dependent_loops(module) == _OF_PREDICTION[platform]


@pytest.mark.parametrize("platform", _OF_TRAINING)
def test_the_loops_of_a_training_step_that_data_ends_are_known(platform: str) -> None:
    assert data_dependent_loops(_instance_step(platform)) == _OF_TRAINING[platform]


def test_a_prediction_for_a_gpu_sorts_no_long_axis_but_what_was_chosen_of_it() -> None:
    with traced_for("gpu"):
        task = task_on_patches(base.get_config())
    sides = jax.ShapeDtypeStruct((1, 2), np.int32)
    images = jax.ShapeDtypeStruct((1, 800, 1216, 3), np.uint8)
    batch = ImageBatch(images, sides, sides, jax.ShapeDtypeStruct((1,), bool))
    module = lowered_for("gpu", task.predict, {"buffers": {}} | task.shapes(), batch)
    sorts = [*operations(module, "chlo.top_k"), *operations(module, "stablehlo.sort")]
    assert Counter(sort.operands[0].type.shape[-1] for sort in sorts) == _SORTED_ON_A_GPU


def test_what_a_prediction_for_a_gpu_counts_is_what_a_sort_would_give_it(
    trace_for: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_for("gpu")
    task, batch = task_on_patches(tiny_config()), on_device(images_of(object_batch()))
    count, given = top_k.top_k_by_count, []

    def recorded(x: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
        found = count(x, k)
        jax.debug.callback(lambda *arrays: given.append(arrays), x, *found)
        return found

    monkeypatch.setattr(top_k, "top_k_by_count", recorded)
    # Of tiny maps too.
    monkeypatch.setattr(top_k, "_SHORT", 0)
    jax.block_until_ready(jax.jit(task.predict)(tiny_variables(task), batch))
    jax.effects_barrier()
    # Anchors of the finest level, and pixels of masks of sides 28 and 56.
    assert {(x.shape[-1], index.shape[-1]) for x, _, index in given} == {
        (768, 60), (784, 196), (3136, 196)
    }  # fmt: skip
    for x, values, index in given:
        expected, places = jax.lax.top_k(x, index.shape[-1])
        np.testing.assert_array_equal(index, places)
        np.testing.assert_array_equal(np.asarray(values), np.asarray(expected))


def test_a_deterministic_step_of_instances_scatters_nothing_in_any_order() -> None:
    assert unordered_scatters(_instance_step("gpu", deterministic=True)) == Counter()
    # Another step adds the gradients of points so.
    assert unordered_scatters(_instance_step("gpu"))["ops/points.py"] > 0


@pytest.mark.parametrize("mask_head", ["pointrend", "implicit"])
def test_a_deterministic_step_of_labelled_points_scatters_nothing_in_any_order(
    mask_head: str,
) -> None:
    config, batch = tiny_config(mask_head=mask_head), object_batch()
    config.data.supervision = "points"
    # Of each object one point outside, one inside and one that does not count.
    corners, labels = np.stack([batch.boxes[..., :2]] * 3, axis=2), np.asarray([0, 1, -1])
    batch = batch._replace(
        mask_bits=None,
        point_coords=corners + np.asarray([[-1], [5], [9]], np.float32),
        point_labels=np.broadcast_to(labels.astype(np.int32), corners.shape[:3]),
    )
    module = _step(task_on_patches(config), config, batch, "gpu", deterministic=True)
    assert unordered_scatters(module) == Counter()


def test_a_deterministic_step_of_a_refiner_scatters_nothing_in_any_order() -> None:
    config, seen = refiner_config(), semantic_batch()
    masks = np.where(seen.labels == 1, 255, 0).astype(np.uint8)
    batch = CropBatch(*seen[:4], given=np.roll(masks, 3, axis=1), truth=masks)
    module = _step(build_task(config), config, batch, "gpu", deterministic=True)
    assert unordered_scatters(module) == Counter()
    assert not list(operations(module, "stablehlo.select_and_scatter"))


@pytest.mark.parametrize("mask_head", ["implicit", "conv"])
def test_the_other_mask_heads_scatter_nothing_in_any_order(mask_head: str) -> None:
    head = tiny_head(tiny_config(mask_head=mask_head))

    def losses(maps_and_params: Any) -> Any:
        pyramid, params = maps_and_params
        return head.losses(params, pyramid, head.regions)[0]

    module = _gradient(losses, (head.pyramid, head.variables["params"]))
    assert unordered_scatters(module) == Counter()


def test_a_deterministic_step_of_label_maps_scatters_nothing_in_any_order() -> None:
    config = tiny_semantic_config()
    module = _step(build_task(config), config, semantic_batch(), "gpu", deterministic=True)
    assert unordered_scatters(module) == Counter()
    # The gradient of XLA's max-pooling, which it refuses to compile for such a step.
    assert not list(operations(module, "stablehlo.select_and_scatter"))


@pytest.mark.parametrize("coarse_head", ["deeplabv3", "deeplabv3plus"])
def test_the_heads_of_deeplab_scatter_nothing_in_any_order(coarse_head: str) -> None:
    config = tiny_semantic_config(coarse_head)
    config.model.semantic.norm = "none"
    head: Any = build_semantic_model(config).coarse_head
    maps = {"res2": jnp.ones((2, 16, 16, 8)), "res5": jnp.ones((2, 4, 4, 8))}
    padded_hw, keys = jnp.full((2, 2), 64), jax.random.split(jax.random.key(0), 2)
    shapes = jax.eval_shape(head.init, keys[0], maps, padded_hw)
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    given = (maps, variables)
    module = _gradient(lambda given: head.apply(given[1], given[0], padded_hw, keys), given)
    assert unordered_scatters(module) == Counter()


def test_another_step_adds_the_gradients_of_pooling_in_any_order() -> None:
    module = _gradient(stem_pool, jnp.ones((1, 8, 8, 2)), deterministic_step=False)
    assert list(operations(module, "stablehlo.select_and_scatter"))


def test_a_loop_to_a_number_in_the_data_is_told_from_one_to_a_constant() -> None:
    def double(_: jax.Array, x: jax.Array) -> jax.Array:
        return 2 * x

    def loops(number: jax.Array) -> jax.Array:
        x = jax.lax.fori_loop(0, 7, double, number)
        return jax.lax.fori_loop(0, number, double, x)

    module = lowered_for("gpu", loops, jnp.asarray(3))
    assert data_dependent_loops(module).total() == 1


@pytest.mark.parametrize("same_kernels", [False, True])
def test_xla_knows_the_options_that_a_gpu_is_given(
    same_kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiler_options(deterministic=same_kernels) == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    options = compiler_options(deterministic=same_kernels)
    monkeypatch.undo()
    assert len(options) == (3 if same_kernels else 1)
    doubled = jax.jit(lambda x: 2 * x, compiler_options=options)
    assert doubled(jnp.asarray(3)) == 6
    for wrong in ({"xla_gpu_no_such_option": 1}, dict.fromkeys(options, "NO_SUCH_VALUE")):
        with pytest.raises(jax.errors.JaxRuntimeError, match=r"(?i)no_such"):
            jax.jit(lambda x: 3 * x, compiler_options=wrong)(1)


def test_a_tpu_calls_operations_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = compiler_options("tpu")
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compiler_options() == calls == {"xla_tpu_enable_deduplicated_calls": True}
    assert compiler_options(deterministic=True) == calls


@pytest.mark.parametrize(
    ("platform", "variable", "flag"),
    [
        ("gpu", "XLA_FLAGS", "--xla_gpu_enable_command_buffer="),
        ("tpu", "LIBTPU_INIT_ARGS", "--xla_tpu_enable_deduplicated_calls=false"),
    ],
)
def test_what_the_environment_says_of_an_option_holds(
    platform: str, variable: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "--xla_force_host_platform_device_count=2")
    assert compiler_options(platform)
    monkeypatch.setenv(variable, flag)
    assert compiler_options(platform) == {}
    assert len(compiler_options(platform, deterministic=True)) == (2 if platform == "gpu" else 0)


@pytest.mark.parametrize(
    ("platform", "strategy"), [("gpu", "pmap"), ("gpu", "shard_map"), ("tpu", "pmap")]
)
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize(
    "flags",
    ["", "--xla_gpu_enable_command_buffer= --xla_tpu_enable_deduplicated_calls=false"],
)
def test_the_step_and_predictions_have_the_options_of_an_accelerator(
    platform: str, strategy: str, wanted: bool, flags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def recorded(function: Any, **options: Any) -> Any:
        given.append(options["compiler_options"])
        return function

    task = task_on_patches(tiny_config())
    variables = tiny_variables(task)
    optimizer, _ = build_optimizer(tiny_config(), variables["params"], task.is_trainable)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "jit", recorded)
    monkeypatch.setenv("XLA_FLAGS" if platform == "gpu" else "LIBTPU_INIT_ARGS", flags)
    build_replicas(strategy, task, optimizer, StepOptions(deterministic=wanted))
    assert given == [compiler_options(deterministic=wanted)]
    given.clear()
    # Others may hold programs of the task itself already.
    task = task._replace(deliver=lambda *given: given)
    on_one_device(task, variables, 1)
    on_local_devices(task, variables, 1)
    assert given == 4 * [compiler_options()]


def test_outside_of_a_deterministic_step_nothing_is_added_exactly() -> None:
    assert not forms().adds_exactly
    with deterministic():
        assert forms().adds_exactly
        with deterministic(False):
            assert not forms().adds_exactly
    assert not forms().adds_exactly
