"""One step on one device and on two, and the optimiser's rules."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.compilations import counted_compilations
from benchmarks.hlo_collectives import collectives_of
from pointrend_jax.devices.placement import shard
from pointrend_jax.tasks.task import module_path
from pointrend_jax.training.optimizer import build_optimizer, warmup_multistep
from pointrend_jax.training.replicas import Replicas, build_replicas
from pointrend_jax.training.step import TrainState
from tests.tiny import object_batch, semantic_batch, tiny_config
from tests.tiny_training import SEED, Training, quick_training, tiny_training

_STEPS = 3


class _Steps(NamedTuple):
    """Three steps: the states before them and after each, and the compiled program as text."""

    states: tuple[TrainState, ...]
    text: str


def _steps(training: Training, replicas: Replicas, make_batch: Any) -> _Steps:
    before = training.state()
    state, key = replicas.replicate((before, jax.random.key(SEED)))
    batches = [replicas.place(make_batch(seed=seed)) for seed in range(_STEPS)]
    step: Any = replicas.step
    # Once for what it says and what it does.
    program, states = step.lower(state, batches[0], key).compile(), [jax.device_get(before)]
    for batch in batches:
        state, _ = program(state, batch, key)
        # The next step frees it.
        states.append(jax.device_get(state))
    return _Steps(tuple(states), program.as_text())


def _on_one_device(training: Training) -> Replicas:
    devices = (jax.devices()[0],)
    return build_replicas("shard_map", training.task, training.optimizer, devices=devices)


@cache
def _of_instances_on_one() -> _Steps:
    return _steps(tiny_training(), _on_one_device(tiny_training()), object_batch)


@cache
def _of_label_maps_on_one() -> _Steps:
    return _steps(quick_training(), _on_one_device(quick_training()), semantic_batch)


@cache
def _of_instances_on_two() -> _Steps:
    training = tiny_training()
    replicas = build_replicas("pmap", training.task, training.optimizer)
    return _steps(training, replicas, object_batch)


def _assert_close(ours: TrainState, theirs: TrainState) -> None:
    # Sums run in another order: rounding, grown over three steps.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        ours.params,
        theirs.params,
    )


def test_two_devices_give_the_parameters_of_one_after_three_steps_of_instances() -> None:
    after = _of_instances_on_two().states[-1]
    assert int(after.step) == _STEPS
    _assert_close(after, _of_instances_on_one().states[-1])


@pytest.mark.parametrize("strategy", ["pmap", "shard_map"])
def test_two_devices_give_the_parameters_of_one_after_three_steps_of_one_program(
    strategy: str,
) -> None:
    training = quick_training()
    replicas = build_replicas(strategy, training.task, training.optimizer)
    state, key = replicas.replicate((training.state(), jax.random.key(SEED)))
    batches = [replicas.place(semantic_batch(seed=seed)) for seed in range(_STEPS)]
    with counted_compilations() as compiled:
        for batch in batches:
            state, _ = replicas.step(state, batch, key)
    assert len(compiled) == 1, compiled
    assert int(state.step) == _STEPS
    _assert_close(state, _of_label_maps_on_one().states[-1])


def test_each_step_draws_points_of_its_own() -> None:
    training = quick_training()
    replicas, found = _on_one_device(training), []
    for step in (0, 1):
        before = training.state()._replace(step=jnp.asarray(step, jnp.int32))
        state, key = replicas.replicate((before, jax.random.key(SEED)))
        found.append(replicas.step(state, replicas.place(semantic_batch()), key)[1])
    assert found[0]["loss_sem_seg"] == found[1]["loss_sem_seg"]
    assert found[0]["loss_sem_seg_point"] != found[1]["loss_sem_seg_point"]


def test_one_message_carries_the_trained_gradients_and_the_losses() -> None:
    task, state = tiny_training().task, tiny_training().state()
    trained = [
        x.nbytes
        for path, x in jax.tree_util.tree_leaves_with_path(state.params)
        if task.is_trainable(module_path(path))
    ]
    largest, *denominators = collectives_of(_of_instances_on_two().text)
    losses = 7
    assert largest.kind == "all-reduce"
    assert len(largest.shapes) == len(trained) + losses
    assert largest.bytes == sum(trained) + 4 * losses
    # Counts of the batch, before the losses are divided.
    assert sum(collective.bytes for collective in denominators) <= 6 * 4


def test_a_strategy_that_there_is_not_is_refused() -> None:
    training = quick_training()
    with pytest.raises(ValueError, match="must be 'pmap' or 'shard_map', got 'threads'"):
        build_replicas("threads", training.task, training.optimizer)


def test_frozen_stages_do_not_move_and_all_else_does() -> None:
    task = tiny_training().task
    before, _, after, _ = _of_instances_on_one().states
    paths = jax.tree_util.tree_leaves_with_path(before.params)
    for (path, old), new in zip(paths, jax.tree.leaves(after.params), strict=True):
        names = tuple(entry.key for entry in path)
        assert bool(np.any(old != new)) == task.is_trainable(names), names
    jax.tree.map(np.testing.assert_array_equal, before.buffers, after.buffers)


def test_a_batch_that_does_not_divide_by_the_devices_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 2"):
        shard(object_batch(batch_size=3), 2)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0001), (5, 0.05005), (10, 0.1), (19, 0.1), (20, 0.01), (30, 0.001)]
)
def test_learning_rate_warms_up_and_steps_down(step: int, rate: float) -> None:
    schedule = warmup_multistep(
        0.1, warmup_steps=10, warmup_factor=0.001, milestones=(20, 30), gamma=0.1
    )
    np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)


def test_milestones_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        warmup_multistep(0.1, warmup_steps=0, warmup_factor=1.0, milestones=(3, 2), gamma=0.1)


def test_sgd_with_momentum_and_decay_by_hand() -> None:
    config = tiny_config()
    config.train.learning_rate, config.train.warmup_steps, config.train.milestones = 0.1, 0, ()
    config.train.weight_decay, config.train.momentum = 0.5, 0.9
    params = {"head": {"kernel": jnp.array([2.0])}, "backbone": {"stem": jnp.array([2.0])}}
    optimizer, _ = build_optimizer(config, params, lambda path: path[0] != "backbone")
    opt_state = optimizer.init(params)
    gradient = jax.tree.map(jnp.ones_like, params)
    value, buffer = 2.0, 0.0
    for _ in range(2):
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)
        buffer = 0.9 * buffer + 1.0 + 0.5 * value
        value -= 0.1 * buffer
        np.testing.assert_allclose(params["head"]["kernel"], [value], rtol=1e-6)
        np.testing.assert_array_equal(params["backbone"]["stem"], [2.0])
