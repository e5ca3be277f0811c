"""SGD with momentum, warm-up and steps, as Detectron2 trains: which parameters, what decay."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pointrend_jax.structures import Array, Config

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
        progress = jnp.minimum(jnp.asarray(step) / max(warmup_steps, 1), 1.0)
        warmup = warmup_factor * (1.0 - progress) + progress if warmup_steps else 1.0
        return jnp.asarray(base_rate * warmup * gamma**passed, jnp.float32)

    return rate


def module_path(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names on the way to a leaf of a tree of variables."""
    return tuple(entry.key for entry in path)


def build_optimizer(
    config: Config, params: Any, is_trainable: Callable[[tuple[str, ...]], bool]
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimiser of `config.train` for `params`, and its learning rate.

    Weight decay applies to kernels and biases of trained modules; frozen batch norm has no
    parameters. Modules that are not trained get no update at all, momentum and decay included.
    """
    train = config.train
    schedule = warmup_multistep(
        train.learning_rate,
        warmup_steps=train.warmup_steps,
        warmup_factor=train.warmup_factor,
        milestones=tuple(train.milestones),
        gamma=train.gamma,
    )
    clip = optax.identity()
    if train.clip_gradient_norm > 0:
        clip = optax.clip_by_global_norm(train.clip_gradient_norm)
    sgd = optax.chain(
        clip,
        optax.add_decayed_weights(train.weight_decay),
        optax.sgd(schedule, momentum=train.momentum),
    )
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "trained" if is_trainable(module_path(path)) else "fixed", params
    )
    return optax.partition({"trained": sgd, "fixed": optax.set_to_zero()}, labels), schedule
