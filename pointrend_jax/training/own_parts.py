"""Whether parts of a user's own fit the model, asked before data is read."""

from pointrend_jax.models.own_parts import has_own_parts
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.memory import batch_shapes, kept_for_gradient


def check_own_parts(config: Config) -> None:
    """Traces a prediction and a training step if the model of `config` has parts of a user's own.

    Nothing is computed; it takes some seconds.

    Raises: ValueError if a part gives something else than it must (`layers/parts.py`,
      `layers/training_points.py`).
    """
    if has_own_parts(config):
        task = build_task(config)
        kept_for_gradient(task, task.shapes(), batch_shapes(config))
