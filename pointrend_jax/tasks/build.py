"""The task that a configuration names."""

from pointrend_jax.structures import Config
from pointrend_jax.tasks.instance import build_instance_task
from pointrend_jax.tasks.refine import build_refine_task
from pointrend_jax.tasks.semantic import build_semantic_task
from pointrend_jax.tasks.task import Task


def build_task(config: Config) -> Task:
    """The task of `config.task` with the model of `config.model`.

    Raises: ValueError, naming the field, for a wrong value.
    """
    if config.task == "instance":
        return build_instance_task(config)
    if config.task == "semantic":
        return build_semantic_task(config)
    if config.task == "refine":
        return build_refine_task(config)
    raise ValueError(
        f"config.task must be 'instance', 'semantic' or 'refine', got {config.task!r}."
    )
