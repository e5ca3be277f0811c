"""The mask heads of Mask R-CNN by name: from a configuration to the module."""

import math
from collections.abc import Callable

from pointrend_jax.layers.coarse_mask_head import CoarseMaskHead
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.implicit_mask_head import (
    POSITIONAL_FREQUENCIES,
    ImplicitMaskHead,
    ImplicitPointHead,
    ParameterHead,
    PointMLPShape,
)
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.parts import MaskHead, check_module
from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.models.point_training import mask_training, require_default
from pointrend_jax.registry import Registry
from pointrend_jax.structures import Config


def build_mask_head(config: Config) -> MaskHead:
    """That of `config.model.mask_head`. Raises ValueError, naming the field, for a wrong value."""
    head = MASK_HEADS[config.model.mask_head](config)
    check_module(head, MaskHead, f"config.model.mask_head {config.model.mask_head!r}")
    return head


def _check_coarse_grid(config: Config) -> None:
    mask = config.model.mask
    if mask.coarse_pooler_resolution % mask.coarse_resolution:
        raise ValueError(
            "config.model.mask.coarse_pooler_resolution must be a multiple of coarse_resolution, "
            f"got {mask.coarse_pooler_resolution} and {mask.coarse_resolution}."
        )


def _fine_levels(config: Config) -> tuple[str, ...]:
    levels = tuple(config.model.mask.point_features)
    known = {"p2", "p3", "p4", "p5", "p6"}
    if not levels or not set(levels) <= known or len(set(levels)) < len(levels):
        raise ValueError(
            f"config.model.mask.point_features must name levels of p2..p6, each once, got {levels}."
        )
    return levels


def _conv_head(config: Config) -> ConvMaskHead:
    for field in ("model.mask.sampler", "model.mask.point_loss"):
        head = "config.model.mask_head 'conv'"
        require_default(config, field, head, "the dense head trains at every cell")
    mask = config.model.mask
    return ConvMaskHead(config.num_classes, mask.conv_dim, mask.conv_pooler_resolution)


def _pointrend_head(config: Config) -> PointRendMaskHead:
    _check_coarse_grid(config)
    # Configurations of older checkpoints do not say it.
    if config.data.get("supervision") == "points":
        supervision = "config.data.supervision 'points'"
        why = "the points of training are the labelled ones, and none are chosen"
        require_default(config, "model.mask.sampler", supervision, why)
    mask, points = config.model.mask, mask_training(config)
    return PointRendMaskHead(
        coarse_head=CoarseMaskHead(
            num_classes=config.num_classes,
            conv_dim=mask.conv_dim,
            fc_dim=mask.coarse_fc_dim,
            num_fcs=mask.coarse_num_fcs,
            pooler_resolution=mask.coarse_pooler_resolution,
            resolution=mask.coarse_resolution,
        ),
        point_head=PointHead(
            num_classes=config.num_classes,
            fc_dim=mask.point_fc_dim,
            num_fcs=mask.point_num_fcs,
            coarse_each_layer=mask.coarse_each_layer,
        ),
        fine_levels=_fine_levels(config),
        train_num_points=mask.train_num_points,
        oversample_ratio=mask.oversample_ratio,
        importance_sample_ratio=mask.importance_sample_ratio,
        subdivision_steps=mask.subdivision_steps,
        subdivision_num_points=mask.subdivision_num_points,
        min_cell_px=mask.min_cell_px,
        sampler=points.sampler,
        point_loss=points.point_loss,
    )


def _implicit_head(config: Config) -> ImplicitMaskHead:
    _check_coarse_grid(config)
    head = "config.model.mask_head 'implicit'"
    why = "the implicit head trains at uniform points"
    require_default(config, "model.mask.sampler", head, why)
    mask, levels = config.model.mask, _fine_levels(config)
    if math.isqrt(mask.subdivision_num_points) ** 2 != mask.subdivision_num_points:
        raise ValueError(
            "config.model.mask.subdivision_num_points must be a square number for the implicit "
            f"head, which starts from a grid of so many points; got {mask.subdivision_num_points}."
        )
    mlp = PointMLPShape(
        inputs=len(levels) * config.model.fpn_channels + 2 * POSITIONAL_FREQUENCIES,
        hidden=mask.point_fc_dim,
        num_hidden=mask.point_num_fcs,
        outputs=config.num_classes,
    )
    return ImplicitMaskHead(
        parameter_head=ParameterHead(
            num_parameters=mlp.num_parameters,
            conv_dim=mask.conv_dim,
            fc_dim=mask.coarse_fc_dim,
            num_fcs=mask.coarse_num_fcs,
            pooler_resolution=mask.coarse_pooler_resolution,
            conv_stride=mask.coarse_pooler_resolution // mask.coarse_resolution,
        ),
        point_head=ImplicitPointHead(mlp),
        fine_levels=levels,
        train_num_points=mask.train_num_points,
        subdivision_steps=mask.subdivision_steps,
        subdivision_num_points=mask.subdivision_num_points,
        min_cell_px=mask.min_cell_px,
        parameter_decay=mask.implicit_parameter_decay,
        point_loss=mask_training(config).point_loss,
    )


# From the whole configuration to the head.
MaskHeadMaker = Callable[[Config], MaskHead]
_BUILT_IN: dict[str, MaskHeadMaker] = {
    "pointrend": _pointrend_head,
    "implicit": _implicit_head,
    "conv": _conv_head,
}
MASK_HEADS: Registry[MaskHeadMaker] = Registry("config.model.mask_head", _BUILT_IN)
