"""A task: what training optimises and what prediction gives, as plain functions of variables."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.structures import Array, ImageBatch, InstanceBatch, InstancePredictions

# {"params": trained (or frozen by stage), "frozen": fixed statistics}, nested by module name.
Variables = dict[str, Any]


class Task(NamedTuple):
    """The whole interface between a network and the loops around it.

    Attributes:
      init: seed to variables.
      shapes: the same tree with a shape and a type for each array; computes nothing.
      loss: (variables, batch, key of the step) to (sum, denominator) by loss name. Pure; sees one
      replica.
      predict: (variables, images) to predictions. Pure.
      explain: (variables, images, regions) to the mask logits of the regions and every rendering
      step.
        Raises ValueError if the model renders nothing.
      is_trainable: tuple of module names, outermost first, to whether the parameter there is
      trained.
    """

    init: Callable[[int], Variables]
    shapes: Callable[[], Variables]
    loss: Callable[[Variables, InstanceBatch, Array], dict[str, LossTerm]]
    predict: Callable[[Variables, ImageBatch], InstancePredictions]
    explain: Callable[[Variables, ImageBatch, Regions], tuple[MaskLogits, list[RenderStep]]]
    is_trainable: Callable[[tuple[str, ...]], bool]
