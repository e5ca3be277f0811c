"""Semantic models and Detectron2's names: every array has one, no name is left over, both ways."""

import json
from functools import cache

import numpy as np
import pytest

from pointrend_jax.config import load_config
from pointrend_jax.importers.detectron2 import (
    backbone_prefix,
    detectron2_rules,
    export_detectron2,
)
from pointrend_jax.importers.detectron2_names import canonical_names
from pointrend_jax.importers.take_tensors import Shapes, take_tensors
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.trees import array_shapes
from tests.shared import REPOSITORY, shared_path
from tests.tiny import tiny_semantic_config

# Detectron2's model to our config.
MODELS = {
    "pointrend_semantic_R_101_FPN_cityscapes": "pointrend_semantic_r101_fpn_cityscapes",
    "deeplab_v3_R_103_cityscapes": "deeplab_v3_r103_cityscapes",
    "deeplab_v3_plus_R_103_cityscapes": "deeplab_v3_plus_r103_cityscapes",
}
HEADS = ("semantic_fpn", "deeplabv3", "deeplabv3plus")
STATISTICS = ("running_mean", "running_var")


@cache
def _config_shapes(name: str) -> Shapes:
    config = load_config(REPOSITORY / "configs" / f"{name}.py")
    return array_shapes(build_task(config).shapes())


@cache
def _tiny_shapes(coarse_head: str, *, norm: str = "frozen", pointrend: bool = True) -> Shapes:
    config = tiny_semantic_config(coarse_head)
    config.model.norm, config.model.semantic.pointrend = norm, pointrend
    return array_shapes(build_task(config).shapes())


def _random(shapes: Shapes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {path: rng.random(shape, np.float32) for path, shape in shapes.items()}


def _their_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Of Detectron2's tensors, by name; the rules must not use a name twice."""
    rules = detectron2_rules(shapes)
    assert len({rule.name for rule in rules.values()}) == len(rules)
    return {rule.name: rule.layout.their_shape(shapes[path]) for path, rule in rules.items()}


def _head(shapes: Shapes) -> set[str]:
    """What Detectron2 calls the arrays of the heads."""
    prefix = "sem_seg_head."
    return {n.removeprefix(prefix) for n in _their_shapes(shapes) if n.startswith(prefix)}


def _norms(module: str, *, statistics: bool) -> set[str]:
    names = ("weight", "bias", *(STATISTICS if statistics else ()))
    return {f"{module}.weight", *(f"{module}.norm.{name}" for name in names)}


def _layers(*modules: str) -> set[str]:
    return {f"{module}.{array}" for module in modules for array in ("weight", "bias")}


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_of_the_published_model_has_its_place_and_shape(model: str) -> None:
    manifest = json.loads(shared_path(f"parity/models/{model}/manifest.json").read_text())
    theirs = {
        entry["name"]: tuple(entry["shape"])
        for entry in manifest["params"]
        if not entry["name"].endswith("num_batches_tracked")
    }
    assert _their_shapes(_config_shapes(MODELS[model])) == theirs


def test_semantic_fpn_head_has_detectron2s_names() -> None:
    convolutions = ("p2.0", "p3.0", "p4.0", "p4.2", "p5.0", "p5.2", "p5.4")
    names = set().union(*(_norms(c, statistics=False) for c in convolutions))
    names |= _layers("predictor")
    assert _head(_tiny_shapes("semantic_fpn", pointrend=False)) == names
    points = _layers(*(f"point_head.{n}" for n in ("fc1", "fc2", "fc3", "predictor")))
    assert _head(_tiny_shapes("semantic_fpn")) == points | {
        f"coarse_sem_seg_head.{name}" for name in names
    }


def test_deeplab_heads_have_detectron2s_names() -> None:
    aspp = {"convs.4.1.weight", "convs.4.1.bias"}.union(
        *(_norms(c, statistics=True) for c in ("convs.0", "convs.1", "convs.2", "convs.3")),
        _norms("project", statistics=True),
    )
    v3 = _layers("predictor") | {f"aspp.{name}" for name in aspp}
    assert _head(_tiny_shapes("deeplabv3", pointrend=False)) == v3
    decoder = ("project_conv", "fuse_conv.0", "fuse_conv.1")
    v3_plus = (_layers("predictor") | {f"decoder.res5.project_conv.{name}" for name in aspp}).union(
        *(_norms(f"decoder.res2.{conv}", statistics=True) for conv in decoder)
    )
    assert _head(_tiny_shapes("deeplabv3plus", pointrend=False)) == v3_plus


@pytest.mark.parametrize("coarse_head", HEADS)
@pytest.mark.parametrize("norm", ["frozen", "batch_norm"])
def test_export_and_import_give_every_array_back(coarse_head: str, norm: str) -> None:
    shapes = _tiny_shapes(coarse_head, norm=norm)
    arrays = _random(shapes)
    canonical = canonical_names(export_detectron2(arrays), backbone_prefix=backbone_prefix(shapes))
    assert (canonical.scheme, canonical.renamed, canonical.dropped) == ("detectron2", {}, ())
    taken, report = take_tensors(canonical.tensors, detectron2_rules(shapes), shapes)
    assert report.reset == report.left == report.unused == ()
    assert taken.keys() == arrays.keys()
    for path, array in taken.items():
        np.testing.assert_array_equal(array, arrays[path], err_msg=path)


@pytest.mark.parametrize(("of", "to"), [("batch_norm", "frozen"), ("frozen", "batch_norm")])
def test_norms_change_between_trained_and_frozen(of: str, to: str) -> None:
    """The names are the same; scale and bias are parameters of one and buffers of the other."""
    given, wanted = (_tiny_shapes("semantic_fpn", norm=norm) for norm in (of, to))
    arrays = _random(given)
    taken, _ = take_tensors(export_detectron2(arrays), detectron2_rules(wanted), wanted)
    new, old = ("params", "buffers") if to == "batch_norm" else ("buffers", "params")
    bn = "backbone/res3_1/bn2"
    for leaf in ("scale", "bias"):
        np.testing.assert_array_equal(taken[f"{new}/{bn}/{leaf}"], arrays[f"{old}/{bn}/{leaf}"])
        assert f"{old}/{bn}/{leaf}" not in taken
    for leaf in ("mean", "var"):
        np.testing.assert_array_equal(taken[f"buffers/{bn}/{leaf}"], arrays[f"buffers/{bn}/{leaf}"])


def test_counters_of_trained_norms_are_not_needed() -> None:
    shapes = _tiny_shapes("deeplabv3")
    tensors = export_detectron2(_random(shapes))
    norms = [n.removesuffix("running_mean") for n in tensors if n.endswith("running_mean")]
    counters = {f"{norm}num_batches_tracked": np.zeros((), np.int64) for norm in norms}
    canonical = canonical_names(tensors | counters)
    assert canonical.dropped == tuple(sorted(counters))
    take_tensors(canonical.tensors, detectron2_rules(shapes), shapes)


def test_backbone_file_with_a_deep_stem_fills_the_backbone_of_deeplab() -> None:
    shapes = _config_shapes("deeplab_v3_r103_cityscapes")
    stem = {
        "stem.conv1": (64, 3, 3, 3),
        "stem.conv2": (64, 64, 3, 3),
        "stem.conv3": (128, 64, 3, 3),
    }
    file: dict[str, tuple[int, ...]] = {}
    for conv, shape in stem.items():
        norms = ("weight", "bias", *STATISTICS)
        file |= {f"{conv}.weight": shape} | {f"{conv}.norm.{n}": shape[:1] for n in norms}
    prefix = "backbone."
    for name, shape in _their_shapes(shapes).items():
        if name.startswith(f"{prefix}res"):
            file[name.removeprefix(prefix)] = shape
    tensors = {name: np.zeros(shape, np.float16) for name, shape in file.items()}
    canonical = canonical_names(tensors, backbone_prefix=backbone_prefix(shapes))
    assert canonical.scheme == "detectron2_backbone"
    rules = detectron2_rules(shapes)
    arrays, report = take_tensors(canonical.tensors, rules, shapes, only_module="backbone")
    assert arrays.keys() == {path for path in shapes if "/backbone/" in path}
    assert all(name.startswith("sem_seg_head.") for name in report.left)
    assert report.unused == ()


def test_backbone_file_with_a_plain_stem_is_refused_by_deeplab() -> None:
    shapes = _config_shapes("deeplab_v3_r103_cityscapes")
    name = "backbone.stem.conv1.weight"
    rules = {p: r for p, r in detectron2_rules(shapes).items() if "/stem/" in p}
    tensors = {
        r.name: np.zeros(r.layout.their_shape(shapes[p]), np.float32) for p, r in rules.items()
    }
    tensors = {n: t for n, t in tensors.items() if ".conv1." in n}
    tensors[name] = np.zeros((64, 3, 7, 7), np.float32)
    with pytest.raises(ValueError, match=r"missing: backbone\.stem\.conv2\.norm") as error:
        take_tensors(tensors, rules, shapes)
    assert f"shape: {name} is (64, 3, 7, 7), the model needs (64, 3, 3, 3)" in str(error.value)


def test_weights_of_other_classes_say_what_to_reset() -> None:
    shapes = _tiny_shapes("semantic_fpn")
    arrays = _random(shapes)
    for path in [p for p in arrays if p.startswith("params/coarse_head/predictor")]:
        arrays[path] = np.zeros((*arrays[path].shape[:-1], 7), np.float32)
    tensors = export_detectron2(arrays)
    message = (
        r"(?s)of 7 classes.*num_classes is 3.*'coarse_head/predictor','point_head/point_head',"
    )
    with pytest.raises(ValueError, match=message):
        take_tensors(tensors, detectron2_rules(shapes), shapes)
