"""Which parts of a model are a user's own (`pointrend_jax/extend.py`)."""

from pointrend_jax.models.backbones import BACKBONES
from pointrend_jax.models.mask_heads import MASK_HEADS
from pointrend_jax.models.point_training import (
    MASK_POINT_LOSSES,
    MASK_SAMPLERS,
    SEMANTIC_POINT_LOSSES,
    SEMANTIC_SAMPLERS,
    training_names,
)
from pointrend_jax.models.semantic_heads import SEMANTIC_HEADS
from pointrend_jax.structures import Config

# The modules of a refiner beside its backbone.
_REFINER = ("features", "point_head")


def own_modules(config: Config) -> tuple[str, ...]:
    """The modules of which no other program has names for the arrays, as "backbone": those of a
    user's own, and those of a refiner."""
    model = config.model
    backbone = ("backbone",) if BACKBONES.is_own(model.backbone) else ()
    if config.task == "refine":
        return (*backbone, *_REFINER)
    if config.task == "semantic":
        is_own = SEMANTIC_HEADS.is_own(model.semantic.coarse_head)
        return (*backbone, "coarse_head") if is_own else backbone
    return (*backbone, "mask_head") if MASK_HEADS.is_own(model.mask_head) else backbone


def has_own_parts(config: Config) -> bool:
    """Whether any part of the model or of its training at points is a user's own."""
    if config.task == "refine":
        return BACKBONES.is_own(config.model.backbone)
    if config.task == "semantic":
        sampler, point_loss = training_names(config.model.semantic)
        of_points = SEMANTIC_SAMPLERS.is_own(sampler) or SEMANTIC_POINT_LOSSES.is_own(point_loss)
    else:
        sampler, point_loss = training_names(config.model.mask)
        of_points = MASK_SAMPLERS.is_own(sampler) or MASK_POINT_LOSSES.is_own(point_loss)
    return of_points or own_modules(config) != ()
