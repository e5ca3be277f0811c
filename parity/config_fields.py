"""Which field of our configurations stands for which value of Detectron2's.

Detectron2's names are in lower case here.
"""

from pointrend_jax.structures import Config

_COMMON = {
    "model.backbone.freeze_at": "model.freeze_at",
    "model.resnets.norm": "model.norm",
    "input.min_size_train": "data.train_min_sizes",
    "input.min_size_test": "data.eval_min_size",
    "input.max_size_test": "data.max_size",
    "solver.ims_per_batch": "train.batch_size",
    "solver.base_lr": "train.learning_rate",
    "solver.momentum": "train.momentum",
    "solver.weight_decay": "train.weight_decay",
    "solver.max_iter": "train.steps",
    "solver.warmup_iters": "train.warmup_steps",
    "solver.warmup_factor": "train.warmup_factor",
    "solver.lr_scheduler_name": "train.schedule",
}
_MULTISTEP = {
    "solver.gamma": "train.gamma",
    "solver.steps": "train.milestones",
}
_POLY = {
    "solver.poly_lr_power": "train.poly_power",
}
_FPN = {
    "model.fpn.out_channels": "model.fpn_channels",
}
_INSTANCE = {
    "model.anchor_generator.sizes": "model.rpn.anchor_sizes",
    "model.anchor_generator.aspect_ratios": "model.rpn.aspect_ratios",
    "model.rpn.iou_thresholds": "model.rpn.iou_thresholds",
    "model.rpn.batch_size_per_image": "model.rpn.samples_per_image",
    "model.rpn.positive_fraction": "model.rpn.positive_fraction",
    "model.rpn.nms_thresh": "model.rpn.nms_threshold",
    "model.rpn.pre_nms_topk_train": "model.rpn.pre_nms_topk_train",
    "model.rpn.pre_nms_topk_test": "model.rpn.pre_nms_topk_eval",
    "model.rpn.post_nms_topk_train": "model.rpn.post_nms_topk_train",
    "model.rpn.post_nms_topk_test": "model.rpn.post_nms_topk_eval",
    "model.roi_heads.num_classes": "num_classes",
    "model.roi_heads.batch_size_per_image": "model.box.samples_per_image",
    "model.roi_heads.iou_thresholds": "model.box.iou_threshold",
    "model.roi_heads.positive_fraction": "model.box.positive_fraction",
    "model.roi_heads.nms_thresh_test": "model.box.nms_threshold",
    "model.roi_heads.score_thresh_test": "model.box.score_threshold",
    "model.roi_box_head.pooler_resolution": "model.box.pooler_resolution",
    "model.roi_box_head.pooler_sampling_ratio": "model.box.pooler_sampling_ratio",
    "model.roi_box_head.fc_dim": "model.box.fc_dim",
    "model.roi_box_head.bbox_reg_weights": "model.box.delta_weights",
    "model.roi_box_head.train_on_pred_boxes": "model.mask.train_on_pred_boxes",
    "test.detections_per_image": "model.box.detections_per_image",
    "input.max_size_train": "data.max_size",
    "model.roi_mask_head.conv_dim": "model.mask.conv_dim",
    "model.roi_mask_head.pooler_resolution": "model.mask.coarse_pooler_resolution",
}
_POINT = {
    "model.point_head.fc_dim": "model.mask.point_fc_dim",
    "model.point_head.num_fc": "model.mask.point_num_fcs",
    "model.point_head.in_features": "model.mask.point_features",
    "model.point_head.train_num_points": "model.mask.train_num_points",
    "model.point_head.oversample_ratio": "model.mask.oversample_ratio",
    "model.point_head.importance_sample_ratio": "model.mask.importance_sample_ratio",
    "model.point_head.subdivision_steps": "model.mask.subdivision_steps",
    "model.point_head.subdivision_num_points": "model.mask.subdivision_num_points",
    "model.point_head.coarse_pred_each_layer": "model.mask.coarse_each_layer",
    "model.roi_mask_head.fc_dim": "model.mask.coarse_fc_dim",
    "model.roi_mask_head.num_fc": "model.mask.coarse_num_fcs",
    "model.roi_mask_head.output_side_resolution": "model.mask.coarse_resolution",
}
_IMPLICIT = {
    "model.implicit_pointrend.params_l2_regularizer": "model.mask.implicit_parameter_decay",
}
_SEMANTIC = {
    "model.sem_seg_head.num_classes": "num_classes",
    "model.sem_seg_head.norm": "model.semantic.norm",
    "model.sem_seg_head.loss_weight": "model.semantic.coarse_loss_weight",
    "input.max_size_train": "data.train_max_size",
    "input.crop.size": "data.crop_hw",
    "input.crop.single_category_max_area": "data.crop_max_category_area",
}
_SEMANTIC_FPN = {
    "model.sem_seg_head.convs_dim": "model.semantic.conv_dim",
    "model.sem_seg_head.in_features": "model.semantic.levels",
}
_SEMANTIC_POINT = {
    "input.color_aug_ssd": "data.color_augmentation",
    "model.point_head.coarse_sem_seg_head_name": "model.semantic.coarse_head",
    "model.point_head.num_classes": "num_classes",
    "model.point_head.fc_dim": "model.semantic.point_fc_dim",
    "model.point_head.num_fc": "model.semantic.point_num_fcs",
    "model.point_head.in_features": "model.semantic.point_features",
    "model.point_head.train_num_points": "model.semantic.train_num_points",
    "model.point_head.oversample_ratio": "model.semantic.oversample_ratio",
    "model.point_head.importance_sample_ratio": "model.semantic.importance_sample_ratio",
    "model.point_head.subdivision_steps": "model.semantic.subdivision_steps",
    "model.point_head.subdivision_num_points": "model.semantic.subdivision_num_points",
    "model.point_head.coarse_pred_each_layer": "model.semantic.coarse_each_layer",
}
_DEEPLAB = {
    "model.resnets.res5_multi_grid": "model.multi_grid",
    "model.sem_seg_head.name": "model.semantic.coarse_head",
    "model.sem_seg_head.convs_dim": "model.semantic.aspp_dim",
    "model.sem_seg_head.aspp_channels": "model.semantic.aspp_dim",
    "model.sem_seg_head.aspp_dilations": "model.semantic.aspp_dilations",
    "model.sem_seg_head.aspp_dropout": "model.semantic.aspp_dropout",
    "model.sem_seg_head.project_channels": "model.semantic.low_level_dim",
    "model.sem_seg_head.loss_type": "model.semantic.loss",
}

# Words of theirs for ours.
WORDS = {
    "BN": "batch_norm",
    "FrozenBN": "frozen",
    "GN": "group_norm",
    "DeepLabV3Head": "deeplabv3",
    "DeepLabV3PlusHead": "deeplabv3plus",
    "SemSegFPNHead": "semantic_fpn",
    "WarmupMultiStepLR": "multistep",
    "WarmupPolyLR": "poly",
    "hard_pixel_mining": "hard_pixels",
}


def fields_of(config: Config) -> dict[str, str]:
    """Detectron2's names to the fields of ours that must equal them, of such a model."""
    fields = _COMMON | (_POLY if config.train.schedule == "poly" else _MULTISTEP)
    if config.task == "semantic":
        fields |= _SEMANTIC
        has_fpn = config.model.semantic.coarse_head == "semantic_fpn"
        fields |= _FPN | _SEMANTIC_FPN if has_fpn else _DEEPLAB
        return fields | (_SEMANTIC_POINT if config.model.semantic.pointrend else {})
    fields |= _FPN | _INSTANCE
    if config.model.mask_head != "conv":
        fields |= _POINT
    return fields | (_IMPLICIT if config.model.mask_head == "implicit" else {})
