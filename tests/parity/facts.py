"""What a kit states without any array: configurations, schedules, the scores of its detections."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.evaluation.coco import STAT_NAMES, OverlapKind, evaluate_detections, summarize
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.flags import load_config
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.resnet import ResNet
from pointrend_jax.structures import Config
from pointrend_jax.training.optimizer import warmup_multistep
from tests.parity.compare import Row, row
from tests.parity.kit import CONFIGS, KitModel

# Detectron2's configuration value to the field of ours that must equal it. All in lower case.
_FIELDS = {
    "model.backbone.freeze_at": "model.freeze_at",
    "model.fpn.out_channels": "model.fpn_channels",
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
    "input.min_size_train": "data.train_min_sizes",
    "input.min_size_test": "data.eval_min_size",
    "input.max_size_test": "data.max_size",
    "input.max_size_train": "data.max_size",
    "model.roi_mask_head.conv_dim": "model.mask.conv_dim",
    "model.roi_mask_head.pooler_resolution": "model.mask.coarse_pooler_resolution",
    "solver.ims_per_batch": "train.batch_size",
    "solver.base_lr": "train.learning_rate",
    "solver.momentum": "train.momentum",
    "solver.weight_decay": "train.weight_decay",
    "solver.gamma": "train.gamma",
    "solver.steps": "train.milestones",
    "solver.max_iter": "train.steps",
    "solver.warmup_iters": "train.warmup_steps",
    "solver.warmup_factor": "train.warmup_factor",
}
_POINT_FIELDS = {
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
_IMPLICIT_FIELDS = {
    "model.implicit_pointrend.params_l2_regularizer": "model.mask.implicit_parameter_decay",
}

# The schedules of schedules.json that are ours.
_SCHEDULES = {
    "pointrend_rcnn_R_50_FPN_1x_coco": "pointrend_rcnn_r50_fpn_1x_coco",
    "pointrend_rcnn_R_50_FPN_3x_coco": "pointrend_rcnn_r50_fpn_3x_coco",
    "pointrend_rcnn_R_50_FPN_1x_cityscapes": "pointrend_rcnn_r50_fpn_1x_cityscapes",
    "implicit_pointrend_R_50_FPN_1x_coco": "implicit_pointrend_r50_fpn_1x_coco",
}


def configuration_rows(kit: KitModel) -> Iterator[Row]:
    """Every value of the kit's configuration that has a field of ours, and the numbers derived."""
    facts = json.loads((kit.folder / "facts.json").read_text())
    file, values = f"{kit.name}/facts", facts["config_values"]
    fields = dict(_FIELDS)
    if kit.config.model.mask_head != "conv":
        fields |= _POINT_FIELDS
    if kit.config.model.mask_head == "implicit":
        fields |= _IMPLICIT_FIELDS
    different = [
        f"{ours} is {_field(kit.config, ours)}, not {_theirs(values, theirs)}"
        for theirs, ours in fields.items()
        if _plain(_field(kit.config, ours)) != _plain(_theirs(values, theirs))
    ]
    label = "; ".join(different) or "all equal"
    yield row(file, f"{len(fields)} values: {label}", len(different), 0, 0)
    mean = _theirs(values, "model.pixel_mean"), _theirs(values, "model.pixel_std")
    yield row(
        file, "pixel mean and deviation", (kit.model.pixel_mean, kit.model.pixel_std), mean, 0
    )
    clips = values["SOLVER"]["CLIP_GRADIENTS"]["ENABLED"]
    yield row(file, "gradients are clipped", kit.config.train.clip_gradient_norm > 0, clips, 0)
    yield row(file, "BGR", kit.model.bgr, values["INPUT"]["FORMAT"] == "BGR", 0)
    resnet = values["MODEL"]["RESNETS"]
    backbone = kit.model.backbone
    if not isinstance(backbone, ResNet):
        raise TypeError(f"{kit.name} is not built on a ResNet.")
    ours = (backbone.depth, backbone.stride_in_1x1, backbone.groups, backbone.width_per_group)
    names = ("DEPTH", "STRIDE_IN_1X1", "NUM_GROUPS", "WIDTH_PER_GROUP")
    yield row(file, "ResNet", ours, [resnet[name] for name in names], 0)
    derived = facts["derived"]
    strides = [derived["backbone_strides"][level] for level in STRIDES]
    yield row(file, "strides", list(STRIDES.values()), strides, 0)
    if kit.config.model.mask_head != "conv":
        start = kit.model.mask_head.start  # type: ignore[union-attr]
        golden = [derived[f"mask_point_subdivision_{k}"] for k in ("init_resolution", "steps")]
        yield row(file, "grid and steps after it", start, golden, 0)


def schedule_rows(kit: Path) -> tuple[list[Row], list[str]]:
    """Learning rates of the schedules in schedules.json, and which are left out."""
    rows, left_out = [], []
    for name, golden in json.loads((kit / "schedules.json").read_text()).items():
        if name not in _SCHEDULES:
            left_out.append(f"schedules/{name}: not built yet")
            continue
        train = load_config(CONFIGS / f"{_SCHEDULES[name]}.py").train
        schedule = warmup_multistep(
            train.learning_rate,
            warmup_steps=train.warmup_steps,
            warmup_factor=train.warmup_factor,
            milestones=tuple(train.milestones),
            gamma=train.gamma,
        )
        ours = [float(schedule(step)) / train.learning_rate for step in golden["iteration"]]
        theirs = [rate / golden["base_lr"] for rate in golden["lr"]]
        # float32, and Detectron2's own sums.
        rows.append(row("schedules", name, ours, theirs, 1e-6))
    return rows, left_out


def score_rows(kit: Path) -> Iterator[Row]:
    """Our evaluation of the kit's detections: its 24 numbers.

    Detectron2 left the boxes beside the masks here, so that pycocotools sorted masks into small,
    medium and large by the area of their box; by default ours goes by that of the mask.
    """
    golden = json.loads((kit / "coco_eval.json").read_text())
    truth = load_ground_truth(kit / "images" / "annotations.json")
    kinds: tuple[tuple[OverlapKind, str], ...] = (("box", "bbox"), ("mask", "segm"))
    for kind, theirs in kinds:
        evaluation = evaluate_detections(truth, golden["detections"], kind, area_of_detection="box")
        stats = summarize(evaluation)
        ours = np.array([stats[name] for name in STAT_NAMES], np.float64)
        numbers = list(golden["metrics"][theirs].values())
        yield row("coco_eval", f"12 numbers of {theirs}", ours, numbers, 1e-12)


def _field(config: Config, path: str) -> Any:
    value = config
    for part in path.split("."):
        value = value[part]
    return value


def _theirs(values: dict[str, Any], path: str) -> Any:
    value: Any = values
    for part in path.upper().split("."):
        value = value[part]
    return value


def _plain(value: Any) -> Any:
    """Lists and tuples, 3 and 3.0, [3] and 3 are alike: Detectron2 nests anchors by level."""
    if not isinstance(value, (list, tuple)):
        return value
    items = [_plain(v) for v in value]
    return items[0] if len(items) == 1 else items
