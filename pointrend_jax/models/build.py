"""From configuration names to the modules of Mask R-CNN."""

import math

from pointrend_jax.layers.box_head import BoxHead
from pointrend_jax.layers.coarse_mask_head import CoarseMaskHead
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.fpn import FPN
from pointrend_jax.layers.implicit_mask_head import (
    POSITIONAL_FREQUENCIES,
    ImplicitMaskHead,
    ImplicitPointHead,
    ParameterHead,
    PointMLPShape,
)
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.rpn import RPN
from pointrend_jax.models.backbones import BACKBONES, backbone_options
from pointrend_jax.models.mask_rcnn import MaskHead, MaskRCNN, ProposalCounts
from pointrend_jax.models.precision import compute_dtype
from pointrend_jax.ops.matching import num_foreground_slots
from pointrend_jax.pointrend import PointHead
from pointrend_jax.structures import Config


def build_model(config: Config) -> MaskRCNN:
    """The Mask R-CNN of `config.model`. Raises ValueError, naming the field, for a wrong value."""
    model = config.model
    options = backbone_options(config)
    if config.num_classes < 1:
        raise ValueError(f"config.num_classes must be at least 1, got {config.num_classes}.")
    if model.output_stride != 32 or model.norm != "frozen":
        raise ValueError(
            "Mask R-CNN needs config.model.output_stride 32 and config.model.norm 'frozen', got "
            f"{model.output_stride} and {model.norm!r}."
        )
    _check_counts(config)
    backbone = BACKBONES[model.backbone]
    rpn, box = model.rpn, model.box
    return MaskRCNN(
        backbone=backbone.make(options),
        fpn=FPN(model.fpn_channels, backbone.map_scales),
        rpn=RPN(
            anchor_sizes=tuple(rpn.anchor_sizes),
            aspect_ratios=tuple(rpn.aspect_ratios),
            iou_thresholds=tuple(rpn.iou_thresholds),
            samples_per_image=rpn.samples_per_image,
            positive_fraction=rpn.positive_fraction,
            nms_threshold=rpn.nms_threshold,
        ),
        box_head=BoxHead(
            num_classes=config.num_classes,
            pooler_resolution=box.pooler_resolution,
            pooler_sampling_ratio=box.pooler_sampling_ratio,
            fc_dim=box.fc_dim,
            samples_per_image=box.samples_per_image,
            positive_fraction=box.positive_fraction,
            iou_threshold=box.iou_threshold,
            delta_weights=tuple(box.delta_weights),
            score_threshold=box.score_threshold,
            nms_threshold=box.nms_threshold,
            detections_per_image=box.detections_per_image,
        ),
        mask_head=_build_mask_head(config),
        pixel_mean=backbone.pixel_mean,
        pixel_std=backbone.pixel_std,
        bgr=backbone.bgr,
        compute_dtype=compute_dtype(config),
        proposals_train=ProposalCounts(rpn.pre_nms_topk_train, rpn.post_nms_topk_train),
        proposals_eval=ProposalCounts(rpn.pre_nms_topk_eval, rpn.post_nms_topk_eval),
        train_on_pred_boxes=model.mask.train_on_pred_boxes,
        detections_per_chunk=model.mask.detections_per_chunk,
    )


def _check_counts(config: Config) -> None:
    """Raises ValueError for a number of proposals, samples or detections that cannot be."""
    model = config.model
    counts = {"rpn": ("samples_per_image",), "box": ("samples_per_image", "detections_per_image")}
    counts["rpn"] += tuple(
        f"{when}_nms_topk_{use}" for when in ("pre", "post") for use in ("train", "eval")
    )
    for part, names in counts.items():
        for name in names:
            if model[part][name] < 1:
                raise ValueError(
                    f"config.model.{part}.{name} must be at least 1, got {model[part][name]}."
                )
        fraction = model[part].positive_fraction
        # Not `fraction < 0`: a NaN must not pass.
        if not 0 <= fraction <= 1:
            raise ValueError(
                f"config.model.{part}.positive_fraction must be in [0, 1], got {fraction}."
            )
    box = model.box
    if num_foreground_slots(box.samples_per_image, box.positive_fraction) < 1:
        raise ValueError(
            "config.model.box must leave the mask head a sample an image: samples_per_image times "
            f"positive_fraction is {box.samples_per_image} * {box.positive_fraction}."
        )


def _build_mask_head(config: Config) -> MaskHead:
    kind, mask = config.model.mask_head, config.model.mask
    if kind not in ("pointrend", "implicit", "conv"):
        raise ValueError(
            f"config.model.mask_head must be 'pointrend', 'implicit' or 'conv', got {kind!r}."
        )
    for name in ("min_cell_px", "detections_per_chunk"):
        if mask[name] < 0:
            raise ValueError(f"config.model.mask.{name} must be 0 or more, got {mask[name]}.")
    if mask.point_num_fcs < 1:
        raise ValueError(
            f"config.model.mask.point_num_fcs must be at least 1, got {mask.point_num_fcs}."
        )
    if kind == "conv":
        return ConvMaskHead(config.num_classes, mask.conv_dim, mask.conv_pooler_resolution)
    if mask.coarse_pooler_resolution % mask.coarse_resolution:
        raise ValueError(
            "config.model.mask.coarse_pooler_resolution must be a multiple of coarse_resolution, "
            f"got {mask.coarse_pooler_resolution} and {mask.coarse_resolution}."
        )
    unknown = set(mask.point_features) - {"p2", "p3", "p4", "p5", "p6"}
    if unknown or not mask.point_features:
        raise ValueError(
            "config.model.mask.point_features must name levels of p2..p6, "
            f"got {mask.point_features}."
        )
    return _implicit_head(config) if kind == "implicit" else _pointrend_head(config)


def _pointrend_head(config: Config) -> PointRendMaskHead:
    mask = config.model.mask
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
        fine_levels=tuple(mask.point_features),
        train_num_points=mask.train_num_points,
        oversample_ratio=mask.oversample_ratio,
        importance_sample_ratio=mask.importance_sample_ratio,
        subdivision_steps=mask.subdivision_steps,
        subdivision_num_points=mask.subdivision_num_points,
        min_cell_px=mask.min_cell_px,
    )


def _implicit_head(config: Config) -> ImplicitMaskHead:
    mask = config.model.mask
    if math.isqrt(mask.subdivision_num_points) ** 2 != mask.subdivision_num_points:
        raise ValueError(
            "config.model.mask.subdivision_num_points must be a square number for the implicit "
            f"head, which starts from a grid of so many points; got {mask.subdivision_num_points}."
        )
    mlp = PointMLPShape(
        inputs=len(mask.point_features) * config.model.fpn_channels + 2 * POSITIONAL_FREQUENCIES,
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
        fine_levels=tuple(mask.point_features),
        train_num_points=mask.train_num_points,
        subdivision_steps=mask.subdivision_steps,
        subdivision_num_points=mask.subdivision_num_points,
        min_cell_px=mask.min_cell_px,
        parameter_decay=mask.implicit_parameter_decay,
    )
