"""Tiny trainings that several files of tests share: their programs are compiled once for all."""

from functools import cache
from typing import NamedTuple

import optax

import tests.quick_parts  # noqa: F401  (adds the parts)
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.optimizer import Schedule, build_optimizer
from pointrend_jax.training.step import StepOptions, TrainState, initial_state
from tests.tiny import quick_semantic_config, tiny_config, tiny_variables

# What `training.loop` and `training.step` are given besides.
SEED = 3


class Training(NamedTuple):
    """Everything that a step needs."""

    config: Config
    task: Task
    variables: Variables
    optimizer: optax.GradientTransformation
    schedule: Schedule

    def state(self) -> TrainState:
        """Before the first step."""
        return initial_state(self.variables, self.optimizer, StepOptions())


@cache
def tiny_training() -> Training:
    """PointRend of instances, two images a step, after five steps of warm-up."""
    config = tiny_config("patches")
    config.model.freeze_at = 2
    return _training(config)


@cache
def quick_training() -> Training:
    """The same of label maps: for what is about all but the network."""
    return _training(quick_semantic_config())


def _training(config: Config) -> Training:
    config.train.learning_rate, config.train.warmup_steps, config.train.milestones = 0.02, 5, ()
    task = build_task(config)
    variables = tiny_variables(task)
    optimizer, schedule = build_optimizer(config, variables["params"], task.is_trainable)
    return Training(config, task, variables, optimizer, schedule)
