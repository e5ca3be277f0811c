"""SGD or Adam: the learning rate of each step, and the parameters that move and decay."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pointrend_jax.console import tell
from pointrend_jax.structures import Array, Config
from pointrend_jax.tasks.task import module_path

Schedule = Callable[[Array | int], Array]


def warmup_multistep(
    base_rate: float,
    *,
    warmup_steps: int,
    warmup_factor: float,
    milestones: Sequence[int],
    gamma: float,
) -> Schedule:
    """The learning rate of step 0, 1, ...: a line from `warmup_factor` of it, then steps of
    `gamma`.

    Source: Detectron2 WarmupMultiStepLR (linear).
    """
    if list(milestones) != sorted(milestones):
        raise ValueError(f"config.train.milestones must ascend, got {tuple(milestones)}.")

    def rate(step: Array | int) -> Array:
        passed = sum((jnp.asarray(step) >= m for m in milestones), jnp.zeros((), jnp.int32))
        warmup = _warmup(step, warmup_steps, warmup_factor)
        return jnp.asarray(base_rate * warmup * gamma**passed, jnp.float32)

    return rate


def warmup_poly(
    base_rate: float, *, steps: int, warmup_steps: int, warmup_factor: float, power: float
) -> Schedule:
    """The learning rate of step 0, 1, ...: falls as (1 - step / steps) ** power, under the same
    warm-up.

    Source: Detectron2 projects/DeepLab, WarmupPolyLR.
    """

    def rate(step: Array | int) -> Array:
        left = jnp.maximum(1.0 - jnp.asarray(step) / steps, 0.0)
        warmup = _warmup(step, warmup_steps, warmup_factor)
        return jnp.asarray(base_rate * warmup * left**power, jnp.float32)

    return rate


def _warmup(step: Array | int, warmup_steps: int, warmup_factor: float) -> Array | float:
    if not warmup_steps:
        return 1.0
    progress = jnp.minimum(jnp.asarray(step) / warmup_steps, 1.0)
    return warmup_factor * (1.0 - progress) + progress


def build_schedule(config: Config) -> Schedule:
    """The learning rate of `config.train`. Raises ValueError for an unknown schedule."""
    train = config.train
    if train.schedule == "multistep":
        return warmup_multistep(
            train.learning_rate,
            warmup_steps=train.warmup_steps,
            warmup_factor=train.warmup_factor,
            milestones=tuple(train.milestones),
            gamma=train.gamma,
        )
    if train.schedule == "poly":
        return warmup_poly(
            train.learning_rate,
            steps=train.steps,
            warmup_steps=train.warmup_steps,
            warmup_factor=train.warmup_factor,
            power=train.poly_power,
        )
    raise ValueError(
        f"config.train.schedule must be 'multistep' or 'poly', got {train.schedule!r}."
    )


def scaled_to_batch(config: Config) -> Config:
    """`config` with the schedule brought from `train.reference_batch_size` to `train.batch_size`.

    The linear rule: k times the images a step, k times the learning rate, 1 / k of the steps, so
    that as many images are seen. So it is with the warm-up, the milestones and the intervals of
    evaluations and checkpoints, but not with `train.log_every`. Says so.

    Source: Goyal et al. 2017; Detectron2 DefaultTrainer.auto_scale_workers.
    """
    reference, batch_size = config.train.reference_batch_size, config.train.batch_size
    if reference in (0, batch_size):
        return config
    if reference < 0 or batch_size < 1:
        raise ValueError(
            "config.train.batch_size must be positive and reference_batch_size not negative, got "
            f"{batch_size} and {reference}."
        )
    factor = batch_size / reference
    scaled = config.copy_and_resolve_references()
    with scaled.unlocked():
        train = scaled.train
        train.reference_batch_size = 0
        train.learning_rate *= factor
        for name in ("steps", "warmup_steps", "eval_every", "checkpoint_every", "keep_every"):
            train[name] = math.ceil(train[name] / factor)
        train.milestones = tuple(math.ceil(m / factor) for m in train.milestones)
    tell(
        f"schedule of {reference} images a step brought to {batch_size}: learning rate "
        f"{train.learning_rate:.4g}, {train.steps} steps, {train.warmup_steps} of warm-up, "
        f"milestones {train.milestones}"
    )
    return scaled.lock()


def build_optimizer(
    config: Config, params: Any, is_trainable: Callable[[tuple[str, ...]], bool]
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimiser of `config.train` for `params`, and its learning rate.

    Weight decay applies to kernels and biases of trained modules, not to the scale and bias of a
    norm. Modules that are not trained get no update at all, momentum and decay included.
    """
    train = config.train
    schedule = build_schedule(config)
    clip = optax.identity()
    if train.clip_gradient_norm > 0:
        clip = optax.clip_by_global_norm(train.clip_gradient_norm)
    chain = optax.chain(
        clip,
        optax.add_decayed_weights(train.weight_decay, mask=_decayed),
        _rule(train.optimizer, schedule, train.momentum),
        _multiply_rates(tuple(train.rate_multipliers), params),
    )
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "trained" if is_trainable(module_path(path)) else "fixed", params
    )
    return optax.partition({"trained": chain, "fixed": optax.set_to_zero()}, labels), schedule


def _rule(name: str, schedule: Schedule, momentum: float) -> optax.GradientTransformation:
    if name == "sgd":
        return optax.sgd(schedule, momentum=momentum)
    if name == "adam":
        return optax.adam(schedule, b1=momentum)
    raise ValueError(f"config.train.optimizer must be 'sgd' or 'adam', got {name!r}.")


def _decayed(params: Any) -> Any:
    """False for norms, which are the modules with a `scale`."""
    if not isinstance(params, Mapping):
        return True
    if "scale" in params:
        return jax.tree.map(lambda _: False, params)
    return {name: _decayed(child) for name, child in params.items()}


def _multiply_rates(
    multipliers: Sequence[tuple[str, float]], params: Any
) -> optax.GradientTransformation:
    """Scales the updates of modules. Raises ValueError for a module that is not there."""
    if not multipliers:
        return optax.identity()
    paths = ["/".join(module_path(path)) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for module, _ in multipliers:
        if not any(path.startswith(f"{module}/") for path in paths):
            tops = sorted({"/".join(path.split("/")[:2]) for path in paths})
            raise ValueError(
                f"config.train.rate_multipliers names {module!r}, of which the model has no "
                f"parameters; it has {', '.join(tops)}."
            )

    def factor(path: tuple[Any, ...]) -> float:
        name = "/".join(module_path(path))
        return math.prod(f for module, f in multipliers if name.startswith(f"{module}/"))

    def scale(updates: Any, _: Any = None) -> Any:
        # Modules that are not trained are masked out and have no factor.
        return jax.tree_util.tree_map_with_path(lambda path, u: u * factor(path), updates)

    return optax.stateless(scale)
