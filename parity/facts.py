"""What a kit states without any array: configurations, schedules, the scores of its detections."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from parity.compare import LeftOut, Result, Row, kit_file, row
from parity.config_fields import WORDS, fields_of
from parity.kit import CONFIGS, KitModel, published_config
from pointrend_jax.config import load_config
from pointrend_jax.evaluation.coco import STAT_NAMES, OverlapKind, evaluate_detections, summarize
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.resnet import ResNet
from pointrend_jax.models.backbones import backbone_options
from pointrend_jax.structures import IGNORE_LABEL, Config
from pointrend_jax.tasks.task import module_path
from pointrend_jax.training.optimizer import build_schedule

# The dilations of res4 and res5, by the stride of the output.
_DILATIONS = {32: (1, 1), 16: (1, 2), 8: (2, 4)}

# The schedules of schedules.json that are ours.
_SCHEDULES = {
    "pointrend_rcnn_R_50_FPN_1x_coco": "pointrend_rcnn_r50_fpn_1x_coco",
    "pointrend_rcnn_R_50_FPN_3x_coco": "pointrend_rcnn_r50_fpn_3x_coco",
    "pointrend_rcnn_R_50_FPN_1x_cityscapes": "pointrend_rcnn_r50_fpn_1x_cityscapes",
    "implicit_pointrend_R_50_FPN_1x_coco": "implicit_pointrend_r50_fpn_1x_coco",
    "pointrend_semantic_R_101_FPN_1x_cityscapes": "pointrend_semantic_r101_fpn_cityscapes",
    "deeplab_v3_R_103_os16_mg124_poly_90k_bs16": "deeplab_v3_r103_cityscapes",
}


def configuration_rows(kit: KitModel) -> Iterator[Row]:
    """Every value of the kit's configuration that has a field of ours, and the numbers derived."""
    facts = json.loads((kit.folder / "facts.json").read_text())
    file, values, config = f"{kit.name}/facts", facts["config_values"], published_config(kit.name)
    fields = fields_of(config)
    different = [
        f"{ours} is {_field(config, ours)}, not {_theirs(values, theirs)}"
        for theirs, ours in fields.items()
        if _plain(_field(config, ours)) != _plain(_theirs(values, theirs))
    ]
    label = "; ".join(different) or "all equal"
    yield row(file, f"{len(fields)} values: {label}", len(different), 0, 0)
    mean = _theirs(values, "model.pixel_mean"), _theirs(values, "model.pixel_std")
    ours = kit.model.pixel_mean, kit.model.pixel_std
    yield row(file, "pixel mean and deviation", ours, mean, 0)
    clips = values["SOLVER"]["CLIP_GRADIENTS"]["ENABLED"]
    yield row(file, "gradients are clipped", config.train.clip_gradient_norm > 0, clips, 0)
    yield row(file, "BGR", kit.model.bgr, values["INPUT"]["FORMAT"] == "BGR", 0)
    yield from _backbone_rows(kit, file, values["MODEL"]["RESNETS"], facts["derived"])
    if config.task == "semantic":
        head = values["MODEL"]["SEM_SEG_HEAD"]
        yield row(file, "coarse stride", kit.model.coarse_head.stride, head["COMMON_STRIDE"], 0)
        yield row(file, "ignored label", IGNORE_LABEL, head["IGNORE_VALUE"], 0)
    elif config.model.mask_head != "conv":
        keys = (f"mask_point_subdivision_{k}" for k in ("init_resolution", "steps"))
        golden = [facts["derived"][key] for key in keys]
        yield row(file, "grid and steps after it", kit.model.mask_head.start, golden, 0)


def _backbone_rows(
    kit: KitModel, file: str, resnet: dict[str, Any], derived: dict[str, Any]
) -> Iterator[Row]:
    backbone = kit.model.backbone
    if not isinstance(backbone, ResNet):
        raise TypeError(f"{kit.name} is not built on a ResNet.")
    ours = (
        *(backbone.depth, backbone.stride_in_1x1, backbone.groups, backbone.width_per_group),
        128 if backbone.deep_stem else 64,
    )
    names = ("DEPTH", "STRIDE_IN_1X1", "NUM_GROUPS", "WIDTH_PER_GROUP", "STEM_OUT_CHANNELS")
    yield row(file, "ResNet", ours, [resnet[name] for name in names], 0)
    dilations = _DILATIONS[backbone.output_stride]
    golden = resnet.get("RES4_DILATION", 1), resnet["RES5_DILATION"]
    yield row(file, "dilations of res4 and res5", dilations, golden, 0)
    maps = ("res2", "res3", "res4", "res5")
    strides = dict(zip(maps, backbone_options(kit.config).strides(), strict=True)) | STRIDES
    theirs = derived["backbone_strides"]
    yield row(file, "strides", [strides[name] for name in theirs], list(theirs.values()), 0)
    leaves = jax.tree_util.tree_leaves_with_path(kit.variables["params"])
    numbers = sum(x.size for path, x in leaves if kit.task.is_trainable(module_path(path)))
    yield row(file, "trained numbers", numbers, derived["trainable"], 0)


def schedule_rows(kit: Path) -> Iterator[Result]:
    """Learning rates of the schedules in schedules.json."""
    for name, golden in json.loads((kit / "schedules.json").read_text()).items():
        if name not in _SCHEDULES:
            yield LeftOut(f"schedules/{name}", "no configuration of ours")
            continue
        config = load_config(CONFIGS / f"{_SCHEDULES[name]}.py")
        schedule, rate = build_schedule(config), config.train.learning_rate
        ours = [float(schedule(step)) / rate for step in golden["iteration"]]
        theirs = [rate / golden["base_lr"] for rate in golden["lr"]]
        # float32, and Detectron2's own sums.
        yield row("schedules", name, ours, theirs, 1e-6)


def score_rows(kit: Path) -> Iterator[Row]:
    """Our evaluation of the kit's detections: its 24 numbers.

    Detectron2 left the boxes beside the masks here, so that pycocotools sorted masks into small,
    medium and large by the area of their box; by default ours goes by that of the mask.
    """
    golden = json.loads((kit / "coco_eval.json").read_text())
    truth = load_ground_truth(kit_file(kit, "images/annotations.json"))
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
    """Lists and tuples, 3 and 3.0, [3] and 3, words of theirs and of ours are alike: Detectron2
    nests anchors by level."""
    if isinstance(value, str):
        return WORDS.get(value, value)
    if not isinstance(value, (list, tuple)):
        return value
    items = [_plain(v) for v in value]
    return items[0] if len(items) == 1 else items
