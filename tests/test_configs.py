"""Every configuration builds its model, and is what its docstring and the publications say."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.config import load_config
from pointrend_jax.data.sources.categories import class_names
from pointrend_jax.importers.detectron2 import detectron2_rules
from pointrend_jax.importers.published import PUBLISHED
from pointrend_jax.importers.take_tensors import check_modules_exist
from pointrend_jax.layers.deeplabv3 import DeepLabV3Head
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.optimizer import build_optimizer, build_schedule
from pointrend_jax.training.trees import array_shapes
from tests.shared import REPOSITORY

_NO_EXPERIMENTS = ("base", "presets", "tiny")
CONFIGS = sorted(p for p in (REPOSITORY / "configs").glob("*.py") if p.stem not in _NO_EXPERIMENTS)

# Cityscapes val as published. Paper: arXiv 1912.08193, tables 1, 6 and 7. Detectron2:
# projects/PointRend and projects/DeepLab, README.
PUBLISHED_ON_CITYSCAPES = {
    "mask_rcnn_r50_fpn_1x_cityscapes": ("33.0",),
    "pointrend_rcnn_r50_fpn_1x_cityscapes": ("35.8", "35.9"),
    "deeplab_v3_r103_cityscapes_paper": ("77.2", "77.8"),
    "pointrend_deeplab_v3_r103_cityscapes_paper": ("78.4",),
    "semantic_r101_fpn_cityscapes_paper": ("77.7",),
    "pointrend_semantic_r101_fpn_cityscapes_paper": ("78.6",),
    "semantic_r101_fpn_p3_cityscapes_paper": ("77.4",),
    "pointrend_semantic_r101_fpn_p3_cityscapes_paper": ("78.5",),
    "pointrend_semantic_r101_fpn_cityscapes": ("78.9",),
    "deeplab_v3_r103_cityscapes": ("78.5",),
    "deeplab_v3_plus_r103_cityscapes": ("80.0",),
}

# What the recipes share, and where each is its own.
_SEMANTIC_FPN = {
    "data.crop_hw": (512, 1024),
    "data.crop_max_category_area": 0.75,
    "data.color_augmentation": True,
    "model.backbone": "resnet101",
    "model.norm": "frozen",
    "model.output_stride": 32,
    "model.semantic.coarse_head": "semantic_fpn",
    "model.semantic.norm": "group_norm",
    "model.semantic.conv_dim": 128,
    "model.semantic.loss": "cross_entropy",
    "model.semantic.train_num_points": 2048,
    "model.semantic.point_features": ("p2",),
    "train.schedule": "multistep",
    "train.steps": 65_000,
    "train.milestones": (40_000, 55_000),
    "train.batch_size": 32,
    "train.rate_multipliers": (),
}
_DEEPLAB = {
    "data.crop_max_category_area": 1.0,
    "data.color_augmentation": False,
    "model.backbone": "resnet103",
    "model.norm": "batch_norm",
    "model.output_stride": 16,
    "model.multi_grid": (1, 2, 4),
    "model.semantic.coarse_head": "deeplabv3",
    "model.semantic.norm": "batch_norm",
    "model.semantic.aspp_dilations": (6, 12, 18),
    "model.semantic.aspp_dim": 256,
    "train.schedule": "poly",
    "train.poly_power": 0.9,
    "train.steps": 90_000,
    "train.batch_size": 16,
}
_ALL = {
    "model.freeze_at": 0,
    "data.flip_probability": 0.5,
    "data.train_max_size": 4096,
    "data.eval_min_size": 1024,
    "data.max_size": 2048,
    "train.learning_rate": 0.01,
    "train.weight_decay": 1e-4,
    "train.momentum": 0.9,
    "train.warmup_steps": 1000,
    "model.semantic.oversample_ratio": 3.0,
    "model.semantic.importance_sample_ratio": 0.75,
    "eval.boundary_dilation": 0.005,
}
_DETECTRON2 = {
    "data.train_min_sizes": (512, 768, 1024, 1280, 1536, 1792, 2048),
    "model.semantic.uncertainty": "logits",
    "model.semantic.coarse_each_layer": False,
    "model.semantic.subdivision_num_points": 8192,
}
_PAPER = {
    "data.train_min_sizes": tuple(range(512, 2049, 32)),
    "model.semantic.uncertainty": "probabilities",
    "model.semantic.coarse_each_layer": True,
    "model.semantic.subdivision_num_points": 8096,
}
_DEEPLAB_DETECTRON2 = {
    "data.crop_hw": (512, 1024),
    "model.semantic.loss": "hard_pixels",
    "model.semantic.hard_pixel_fraction": 0.2,
    "model.semantic.pointrend": False,
    "train.rate_multipliers": (),
}
_DEEPLAB_PAPER = {
    "data.crop_hw": (768, 768),
    "model.semantic.loss": "cross_entropy",
    "model.semantic.train_num_points": 768 * 768 // 256,
    "model.semantic.subdivision_steps": 4,
    "model.semantic.point_features": ("res2",),
    "train.rate_multipliers": (("coarse_head/aspp", 10.0), ("coarse_head/predictor", 10.0)),
}
_ALL_LEVELS = {
    "model.semantic.levels": ("p2", "p3", "p4", "p5"),
    "model.semantic.subdivision_steps": 2,
}
_FROM_P3 = {
    "model.semantic.levels": ("p3", "p4", "p5"),
    "model.semantic.subdivision_steps": 3,
}
_WITH, _WITHOUT = {"model.semantic.pointrend": True}, {"model.semantic.pointrend": False}
RECIPES: dict[str, dict[str, Any]] = {
    "pointrend_semantic_r101_fpn_cityscapes": (_SEMANTIC_FPN | _DETECTRON2 | _ALL_LEVELS | _WITH),
    "pointrend_semantic_r101_fpn_cityscapes_paper": _SEMANTIC_FPN | _PAPER | _ALL_LEVELS | _WITH,
    "semantic_r101_fpn_cityscapes_paper": _SEMANTIC_FPN | _PAPER | _ALL_LEVELS | _WITHOUT,
    "pointrend_semantic_r101_fpn_p3_cityscapes_paper": _SEMANTIC_FPN | _PAPER | _FROM_P3 | _WITH,
    "semantic_r101_fpn_p3_cityscapes_paper": _SEMANTIC_FPN | _PAPER | _FROM_P3 | _WITHOUT,
    "deeplab_v3_r103_cityscapes": _DEEPLAB | _DETECTRON2 | _DEEPLAB_DETECTRON2,
    "deeplab_v3_plus_r103_cityscapes": (
        _DEEPLAB
        | _DETECTRON2
        | _DEEPLAB_DETECTRON2
        | {"model.semantic.coarse_head": "deeplabv3plus", "model.semantic.low_level_dim": 48}
    ),
    "pointrend_deeplab_v3_r103_cityscapes_paper": _DEEPLAB | _PAPER | _DEEPLAB_PAPER | _WITH,
    "deeplab_v3_r103_cityscapes_paper": _DEEPLAB | _PAPER | _DEEPLAB_PAPER | _WITHOUT,
}


def _path(name: str) -> Path:
    return REPOSITORY / "configs" / f"{name}.py"


@cache
def _config(name: str) -> Config:
    return load_config(_path(name))


def _docstring(name: str) -> str:
    return ast.get_docstring(ast.parse(_path(name).read_text())) or ""


SEMANTIC = [path.stem for path in CONFIGS if _config(path.stem).task == "semantic"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_and_is_named_like_its_file(path: Path) -> None:
    config = _config(path.stem)
    assert config.name == path.stem
    build_task(config)
    assert len(class_names(config.data.categories, config.num_classes)) == config.num_classes
    docstring = _docstring(path.stem)
    assert f"configs/{path.stem}.py" in docstring or "make demo" in docstring
    assert any(word in docstring.lower() for word in ("measured", "not a coco result", "results"))


@pytest.mark.parametrize("name", PUBLISHED_ON_CITYSCAPES)
def test_published_cityscapes_model_has_its_config_and_result(name: str) -> None:
    unit = "mIoU" if _config(name).task == "semantic" else "mask AP"
    published = " ".join(_docstring(name).split("Published")[1].split())
    assert f"{unit} {PUBLISHED_ON_CITYSCAPES[name][0]}" in published
    assert all(result in published for result in PUBLISHED_ON_CITYSCAPES[name])
    assert "Not measured with this code." in published


def test_every_cityscapes_config_is_of_a_published_model() -> None:
    of_cityscapes = {p.stem for p in CONFIGS if _config(p.stem).data.source == "cityscapes"}
    assert of_cityscapes == PUBLISHED_ON_CITYSCAPES.keys()


# Source: Detectron2 configs/LVISv{1,0.5}-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml.
@pytest.mark.parametrize(
    ("version", "num_classes", "steps"), [("v1", 1203, 180_000), ("v0_5", 1230, 90_000)]
)
def test_lvis_recipe_is_that_of_detectron2(version: str, num_classes: int, steps: int) -> None:
    config = _config(f"pointrend_rcnn_r50_fpn_1x_lvis_{version}")
    assert (config.data.source, config.num_classes) == ("lvis", num_classes)
    assert config.data.train_annotations.endswith(f"lvis_{version.replace('_', '.')}_train.json")
    assert config.data.eval_annotations.endswith(f"lvis_{version.replace('_', '.')}_val.json")
    assert config.data.repeat_threshold == 0.001
    assert config.data.filter_empty_annotations
    assert config.model.box.score_threshold == 0.0001
    assert config.model.box.detections_per_image == 300
    assert (config.train.steps, config.train.batch_size) == (steps, 16)
    rates = [float(build_schedule(config)(i)) for i in (steps * 2 // 3 - 1, steps * 8 // 9 - 1)]
    assert rates == pytest.approx([0.02, 0.002], rel=1e-5)
    docstring = _docstring(config.name)
    assert f"{steps // 1000}k steps" in docstring
    assert "Not measured with this code." in docstring


@pytest.mark.parametrize("weights", [w for w in PUBLISHED if w.config], ids=lambda w: w.config)
def test_published_result_of_a_checkpoint_stands_in_its_config(weights: Any) -> None:
    docstring = " ".join(_docstring(weights.config).split())
    # Of AP and AP*, AP.
    assert weights.result.split(",")[0].split()[-1] in docstring


@pytest.mark.parametrize("name", RECIPES)
def test_semantic_recipe_is_the_published_one(name: str) -> None:
    flat = dict(_fields(_config(name)))
    wanted = _ALL | RECIPES[name]
    assert {field: flat[field] for field in wanted} == wanted


def test_every_semantic_cityscapes_config_has_a_recipe() -> None:
    assert {name for name in SEMANTIC if "cityscapes" in name} == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_training_starts_and_ends_at_the_published_rate(name: str) -> None:
    config = _config(name)
    schedule = build_schedule(config)
    # The paper warms up from a rate of 0.001, Detectron2 from a thousandth of its rate.
    first = 1e-3 if name.endswith("_paper") else 1e-5
    assert float(schedule(0)) == pytest.approx(first, rel=1e-5)
    if config.train.schedule == "poly":
        assert float(schedule(45_000)) == pytest.approx(0.01 * 0.5**0.9, rel=1e-5)
        assert float(schedule(90_000)) == 0.0
    else:
        rates = [float(schedule(step)) for step in (39_999, 54_999, 64_999)]
        assert rates == pytest.approx([1e-2, 1e-3, 1e-4], rel=1e-5)


@pytest.mark.parametrize("name", SEMANTIC)
def test_semantic_docstring_tells_the_truth(name: str) -> None:
    config, docstring = _config(name), " ".join(_docstring(name).split())
    model = build_semantic_model(config)
    title = docstring.split(".")[0]
    assert ("with PointRend" in title) == config.model.semantic.pointrend
    for depth in re.findall(r"\bR(\d+)\b", title):
        assert config.model.backbone == f"resnet{depth}"
    if config.data.source == "cityscapes":
        weights = config.model.backbone.replace("resnet", "R-")
        assert re.fullmatch(rf"detectron2://.*/{weights}\.pkl", config.init.weights)
    for steps in re.findall(r"(\d+)k steps", title):
        assert config.train.steps == 1000 * int(steps)
    for stride in re.findall(r"of output stride (\d+)", title):
        assert config.model.output_stride == int(stride)
    for first in re.findall(r"P(\d)-P5", title):
        assert config.model.semantic.levels[0] == f"p{first}"
    for height, width in re.findall(r"(\d+)x(\d+) output", docstring):
        stride = model.coarse_head.stride
        assert (int(height), int(width)) == (1024 // stride, 2048 // stride)


@pytest.mark.parametrize(
    "name", [name for name in SEMANTIC if _config(name).model.semantic.pointrend]
)
def test_rendering_ends_at_the_resolution_of_the_input(name: str) -> None:
    coarse_head = build_semantic_model(_config(name)).coarse_head
    assert coarse_head.stride == 2 ** _config(name).model.semantic.subdivision_steps


@pytest.mark.parametrize("name", SEMANTIC)
def test_crops_and_canvases_fit_the_strides(name: str) -> None:
    data = _config(name).data
    sides = [*data.crop_hw, *(side for bucket in data.buckets for side in bucket)]
    assert all(side % 32 == 0 for side in sides)


def test_the_modules_with_their_own_rate_are_in_the_model() -> None:
    config = _config("pointrend_deeplab_v3_r103_cityscapes_paper")
    task = build_task(config)
    build_optimizer(config, task.shapes()["params"], task.is_trainable)


def test_output_stride_8_has_the_parameters_of_16_and_twice_the_rates_of_aspp() -> None:
    of_16 = load_config(_path("deeplab_v3_r103_cityscapes_paper"))
    of_8 = of_16.copy_and_resolve_references()
    of_8.model.output_stride = 8
    head = build_semantic_model(of_8).coarse_head
    assert isinstance(head, DeepLabV3Head)
    assert (head.stride, head.aspp.dilations) == (8, (12, 24, 36))
    shapes = [array_shapes(build_task(config).shapes()) for config in (of_16, of_8)]
    assert shapes[0] == shapes[1]


def test_the_fine_tuning_config_resets_exactly_what_the_classes_change() -> None:
    coco = _config("pointrend_rcnn_r50_fpn_3x_coco")
    people = _config("pennfudan_from_coco")
    of_coco, of_people = (array_shapes(build_task(config).shapes()) for config in (coco, people))
    check_modules_exist(tuple(people.init.reset), of_people)
    changed = {path for path, shape in of_people.items() if of_coco[path] != shape}
    reset = {
        path
        for path in of_people
        if any(f"/{module}/" in f"/{path}" for module in people.init.reset)
    }
    # The biases of the point head's hidden layers keep their shape, but belong to them.
    assert changed <= reset
    assert all("point_head/fc" in path and path.endswith("bias") for path in reset - changed)
    assert detectron2_rules(of_people).keys() == of_people.keys()


def _fields(config: Config, prefix: str = "") -> list[tuple[str, Any]]:
    """All fields with their path."""
    fields = []
    for name, value in config.items():
        is_group = hasattr(value, "items")
        fields += _fields(value, f"{prefix}{name}.") if is_group else [(prefix + name, value)]
    return fields
