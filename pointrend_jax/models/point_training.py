"""How points are chosen in training, and what a wrong prediction there costs, by name."""

from typing import NamedTuple

from pointrend_jax.layers.training_points import PointLoss, Sampler
from pointrend_jax.ops.losses import sigmoid_cross_entropy, softmax_cross_entropy
from pointrend_jax.pointrend import choose_training_points
from pointrend_jax.registry import Registry
from pointrend_jax.structures import Config

MASK_SAMPLERS: Registry[Sampler] = Registry(
    "config.model.mask.sampler", {"importance": choose_training_points}
)
MASK_POINT_LOSSES: Registry[PointLoss] = Registry(
    "config.model.mask.point_loss", {"cross_entropy": sigmoid_cross_entropy}
)
SEMANTIC_SAMPLERS: Registry[Sampler] = Registry(
    "config.model.semantic.sampler", {"importance": choose_training_points}
)
SEMANTIC_POINT_LOSSES: Registry[PointLoss] = Registry(
    "config.model.semantic.point_loss", {"cross_entropy": softmax_cross_entropy}
)


class PointTraining(NamedTuple):
    """What a PointRend head is told about training."""

    sampler: Sampler
    point_loss: PointLoss


def mask_training(config: Config) -> PointTraining:
    """Of `config.model.mask`. Raises ValueError, naming the field, for an unknown name."""
    sampler, point_loss = training_names(config.model.mask)
    return PointTraining(MASK_SAMPLERS[sampler], MASK_POINT_LOSSES[point_loss])


def semantic_training(config: Config) -> PointTraining:
    """Of `config.model.semantic`. Raises as `mask_training`."""
    sampler, point_loss = training_names(config.model.semantic)
    return PointTraining(SEMANTIC_SAMPLERS[sampler], SEMANTIC_POINT_LOSSES[point_loss])


def require_default(config: Config, field: str, by: str, why: str) -> None:
    """Raises ValueError unless a field that a model does not read has its default.

    Args:
      field: "model.mask.sampler", "model.semantic.point_loss" and so on.
      by: the setting with which it is not read.
    """
    _, group, name = field.split(".")
    default = {"sampler": _SAMPLER, "point_loss": _POINT_LOSS}[name]
    given = config.model[group].get(name, default)
    if given != default:
        raise ValueError(f"config.{field} must be {default!r} for {by}, got {given!r}: {why}.")


_SAMPLER, _POINT_LOSS = "importance", "cross_entropy"


def training_names(group: Config) -> tuple[str, str]:
    """Of a sampler and a point loss; the configuration of an older checkpoint has none."""
    return group.get("sampler", _SAMPLER), group.get("point_loss", _POINT_LOSS)
