"""The learning rate of every step, and which parameters decay or learn faster."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.optimizer import build_optimizer, build_schedule, warmup_poly
from tests.tiny import tiny_config, tiny_semantic_config

_RATE = 0.25


def _config(**train: Any) -> Config:
    """A constant rate, no decay and no momentum, but for what `train` says."""
    config = tiny_config()
    config.train.learning_rate, config.train.warmup_steps, config.train.milestones = _RATE, 0, ()
    config.train.weight_decay = config.train.momentum = 0.0
    config.train.update(train)
    return config


def _params() -> dict[str, Any]:
    return {
        "backbone": {"conv": {"kernel": np.array([3, -1], np.float32)}},
        "coarse_head": {
            "aspp": {"conv": {"kernel": np.array([0.7, 2], np.float32)}},
            "aspp_like": {"kernel": np.array([0.7, 2], np.float32)},
            "predictor": {"bias": np.array([0.7, 2], np.float32)},
        },
    }


def _trained(config: Config, steps: int, params: Any, gradient: Any, *, fixed: str = "") -> Any:
    """Parameters after `steps` with the same gradient."""
    optimizer, _ = build_optimizer(config, params, lambda path: path[0] != fixed)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    state = jax.jit(optimizer.init)(params)
    for _ in range(steps):
        params, state = step(params, state)
    return jax.tree.map(np.asarray, params)


# --- learning rate ---


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.01 * 0.001),
        # Half of the warm-up: (1 + 0.001) / 2, times 0.95 ** 0.9 = 0.954885.
        (5, 0.01 * 0.5005 * 0.954885),
        # 0.9 ** 0.9 = 0.909533.
        (10, 0.01 * 0.909533),
        # 0.5 ** 0.9 = 0.535887.
        (50, 0.01 * 0.535887),
        # 0.01 ** 0.9 = 10 ** -1.8 = 0.0158489.
        (99, 0.01 * 0.0158489),
        (100, 0.0),
        (101, 0.0),
    ],
)
def test_poly_rate_is_detectron2s_by_hand(step: int, rate: float) -> None:
    schedule = warmup_poly(0.01, steps=100, warmup_steps=10, warmup_factor=0.001, power=0.9)
    # The constants above have six digits; 1 - step / steps is rounded when compiled.
    for rate_of in (schedule, jax.jit(schedule)):
        np.testing.assert_allclose(rate_of(jnp.asarray(step)), rate, rtol=5e-6, atol=5e-9)


def test_poly_rate_without_warmup_starts_at_its_base() -> None:
    schedule = warmup_poly(0.01, steps=100, warmup_steps=0, warmup_factor=0.001, power=2.0)
    np.testing.assert_allclose([schedule(0), schedule(50)], [0.01, 0.0025], rtol=1e-6)


def test_build_schedule_takes_poly_from_the_config() -> None:
    config = _config(schedule="poly", steps=40, poly_power=2.0, warmup_steps=4, warmup_factor=0.5)
    schedule = build_schedule(config)
    rates = [float(schedule(step)) for step in (0, 2, 20)]
    # A half, and three quarters, of the warm-up; (38 / 40) ** 2 = 0.9025; (20 / 40) ** 2 = 0.25.
    np.testing.assert_allclose(rates, [0.125, 0.25 * 0.75 * 0.9025, 0.0625], rtol=1e-6)


def test_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"schedule must be 'multistep' or 'poly', got 'cosine'"):
        build_schedule(_config(schedule="cosine"))


# --- rate multipliers ---


def test_module_with_a_multiplier_moves_that_many_times_as_far() -> None:
    params = _params()
    gradient = jax.tree.map(lambda x: 0.5 * x + 1, params)
    train = {"momentum": 0.5, "weight_decay": 0.125}
    plain = _trained(_config(**train), 1, params, gradient)
    multipliers = (("coarse_head/aspp", 8.0),)
    faster = _trained(_config(**train, rate_multipliers=multipliers), 1, params, gradient)
    before, once, times = (
        tree["coarse_head"]["aspp"]["conv"]["kernel"] for tree in (params, plain, faster)
    )
    # A float32 sum on either side.
    np.testing.assert_allclose(times - before, 8 * (once - before), rtol=1e-5)
    for tree in (plain, faster):
        del tree["coarse_head"]["aspp"]
    jax.tree.map(np.testing.assert_array_equal, faster, plain)


def test_multiplier_is_of_the_rate_and_not_of_the_gradient() -> None:
    """Momentum and decay see the gradient as it is: as if this module had its own rate."""
    params = _params()
    gradient = jax.tree.map(np.ones_like, params)
    train = {"momentum": 0.9, "weight_decay": 0.1}
    tenth = _trained(
        _config(**train, learning_rate=0.02, rate_multipliers=(("coarse_head/aspp", 10.0),)),
        4,
        params,
        gradient,
    )
    own = _trained(_config(**train, learning_rate=0.2), 4, params, gradient)
    np.testing.assert_allclose(
        tenth["coarse_head"]["aspp"]["conv"]["kernel"],
        own["coarse_head"]["aspp"]["conv"]["kernel"],
        rtol=1e-6,
    )


def test_multipliers_of_a_module_within_another_multiply() -> None:
    params = _params()
    multipliers = (("coarse_head", 2.0), ("coarse_head/predictor", 4.0))
    config = _config(rate_multipliers=multipliers)
    after = _trained(config, 1, params, jax.tree.map(np.ones_like, params))
    moved = jax.tree.map(lambda a, b: a - np.asarray(b), params, after)
    np.testing.assert_allclose(moved["coarse_head"]["predictor"]["bias"], 8 * _RATE, rtol=1e-6)
    np.testing.assert_allclose(moved["coarse_head"]["aspp"]["conv"]["kernel"], 2 * _RATE, rtol=1e-6)
    np.testing.assert_allclose(moved["backbone"]["conv"]["kernel"], _RATE, rtol=1e-6)


def test_multiplier_moves_no_module_that_is_not_trained() -> None:
    params = _params()
    config = _config(rate_multipliers=(("coarse_head", 2.0),), weight_decay=0.5)
    gradient = jax.tree.map(np.ones_like, params)
    after = _trained(config, 2, params, gradient, fixed="coarse_head")
    jax.tree.map(np.testing.assert_array_equal, after["coarse_head"], params["coarse_head"])
    assert (after["backbone"]["conv"]["kernel"] != params["backbone"]["conv"]["kernel"]).all()


@pytest.mark.parametrize("module", ["coarse_head/asp", "aspp", "predictor/bias", ""])
def test_multiplier_of_an_unknown_module_is_refused(module: str) -> None:
    config = _config(rate_multipliers=(("coarse_head", 2.0), (module, 10.0)))
    with pytest.raises(
        ValueError, match=rf"names '{module}'.*backbone/conv, coarse_head/aspp, coarse_head/aspp_li"
    ):
        build_optimizer(config, _params(), lambda _: True)


# --- weight decay and clipping ---


@pytest.mark.parametrize("coarse_head", ["semantic_fpn", "deeplabv3plus"])
def test_kernels_and_biases_decay_and_norms_do_not(coarse_head: str) -> None:
    config = tiny_semantic_config(coarse_head)
    config.model.norm = "batch_norm"
    config.train.update(_config(weight_decay=0.5).train)
    task = build_task(config)
    params = jax.tree.map(lambda s: np.ones(s.shape, s.dtype), task.shapes()["params"])
    after = _trained(config, 1, params, jax.tree.map(np.zeros_like, params))
    ends = set()
    for path, value in jax.tree_util.tree_leaves_with_path(after):
        names = [entry.key for entry in path]
        is_norm = any(word in names[-2] for word in ("norm", "bn"))
        ends.add((is_norm, names[-1]))
        # Without gradients, decay alone moves: by rate * decay of the value.
        wanted = 1.0 if is_norm else 1.0 - _RATE * 0.5
        np.testing.assert_array_equal(value, wanted, err_msg="/".join(names))
    assert ends == {(True, "scale"), (True, "bias"), (False, "kernel"), (False, "bias")}


def test_clipping_scales_the_gradient_of_trained_modules_to_the_norm() -> None:
    params = {
        "head": {"kernel": np.zeros(2, np.float32)},
        "backbone": {"kernel": np.zeros(1, np.float32)},
    }
    gradient = {
        "head": {"kernel": np.array([3, 4], np.float32)},
        "backbone": {"kernel": np.array([1000], np.float32)},
    }
    config = _config(clip_gradient_norm=1.0, rate_multipliers=(("head", 2.0),))
    after = _trained(config, 1, params, gradient, fixed="backbone")
    np.testing.assert_allclose(after["head"]["kernel"], [-0.6 * 2 * _RATE, -0.8 * 2 * _RATE], 1e-6)


def test_adam_moves_every_parameter_by_the_rate_however_small_its_gradient() -> None:
    params = _params()
    gradient = jax.tree.map(lambda x: np.array([1e-3, -50], np.float32)[: x.size], params)
    moved = _trained(_config(optimizer="adam"), 1, params, gradient)
    for before, after in zip(jax.tree.leaves(params), jax.tree.leaves(moved), strict=True):
        # Its epsilon is 1e-8.
        np.testing.assert_allclose(after - before, [-_RATE, _RATE], rtol=1e-4)


def test_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"config\.train\.optimizer must be 'sgd' or 'adam'"):
        build_optimizer(_config(optimizer="lamb"), _params(), lambda path: True)
