"""A task: what training optimises and what prediction gives, as plain functions of variables."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.structures import Array, ImageBatch

# {"params": trained (or kept by stage), "buffers": statistics and other arrays that no optimizer
# touches}, nested by module name.
Variables = dict[str, Any]

# A decorator: equal arguments give the same object again. What jax has traced and compiled belongs
# to the very function that was given to it, so a task, or a program of one, that is made anew for
# the next evaluation or predictor would be compiled anew.
kept = lru_cache(maxsize=8)


class Task(NamedTuple):
    """The whole interface between a network and the loops around it.

    Attributes:
      init: seed to variables.
      shapes: the same tree with a shape and a type for each array; computes nothing.
      loss: (variables, batch, key of the step) to (sum, denominator) by loss name, and the buffers
        after it. Pure; sees one replica.
      predict: (variables, images) to `InstancePredictions` or `SemanticPredictions`. Pure.
      explain: every rendering step: (variables, images, regions) to the mask logits of the regions
        and the steps, or (variables, images) to the steps of a semantic model. Raises ValueError if
        the model renders nothing.
      is_trainable: tuple of module names, outermost first, to whether the parameter there is
      trained.
    """

    init: Callable[[int], Variables]
    shapes: Callable[[], Variables]
    loss: Callable[[Variables, Any, Array], tuple[dict[str, LossTerm], Variables]]
    predict: Callable[[Variables, ImageBatch], Any]
    explain: Callable[..., Any]
    is_trainable: Callable[[tuple[str, ...]], bool]
