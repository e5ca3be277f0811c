"""From configuration names to the modules of Mask R-CNN."""

from pointrend_jax.config_rules import check_model_fields
from pointrend_jax.layers.box_head import BoxHead
from pointrend_jax.layers.fpn import FPN
from pointrend_jax.layers.rpn import RPN
from pointrend_jax.models.backbones import build_backbone
from pointrend_jax.models.mask_heads import build_mask_head
from pointrend_jax.models.mask_rcnn import MaskRCNN, ProposalCounts
from pointrend_jax.models.precision import compute_dtype
from pointrend_jax.ops.matching import num_foreground_slots
from pointrend_jax.structures import Config


def build_model(config: Config) -> MaskRCNN:
    """The Mask R-CNN of `config.model`. Raises ValueError, naming the field, for a wrong value."""
    check_model_fields(config, "instance")
    model = config.model
    backbone = build_backbone(config)
    if model.output_stride != 32 or model.norm != "frozen":
        raise ValueError(
            "Mask R-CNN needs config.model.output_stride 32 and config.model.norm 'frozen', got "
            f"{model.output_stride} and {model.norm!r}."
        )
    rpn, box = model.rpn, model.box
    if num_foreground_slots(box.samples_per_image, box.positive_fraction) < 1:
        raise ValueError(
            "config.model.box must leave the mask head a sample an image: samples_per_image times "
            f"positive_fraction is {box.samples_per_image} * {box.positive_fraction}."
        )
    return MaskRCNN(
        backbone=backbone.module,
        fpn=FPN(model.fpn_channels, backbone.spec.map_scales),
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
        mask_head=build_mask_head(config),
        pixel_mean=backbone.pixels.mean,
        pixel_std=backbone.pixels.std,
        bgr=backbone.pixels.bgr,
        compute_dtype=compute_dtype(config),
        proposals_train=ProposalCounts(rpn.pre_nms_topk_train, rpn.post_nms_topk_train),
        proposals_eval=ProposalCounts(rpn.pre_nms_topk_eval, rpn.post_nms_topk_eval),
        train_on_pred_boxes=model.mask.train_on_pred_boxes,
        detections_per_chunk=model.mask.detections_per_chunk,
    )
