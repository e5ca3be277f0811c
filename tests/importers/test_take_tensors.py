"""Strict transfer of tensors: what does not fit is listed, all of it, and stops."""

import numpy as np
import pytest

from pointrend_jax.importers.detectron2 import detectron2_rules, export_detectron2
from pointrend_jax.importers.detectron2_names import canonical_names
from pointrend_jax.importers.layouts import (
    CONV,
    CONV_TRANSPOSE,
    DENSE,
    POINTWISE,
    Layout,
    flattened_inputs,
    flattened_outputs,
)
from pointrend_jax.importers.take_tensors import own_rules, take_tensors

LAYOUTS: dict[str, tuple[Layout, tuple[int, ...]]] = {
    "conv": (CONV, (3, 3, 4, 6)),
    "dense": (DENSE, (4, 6)),
    "pointwise": (POINTWISE, (4, 6)),
    "transposed conv": (CONV_TRANSPOSE, (2, 2, 4, 6)),
    "flattened inputs": (flattened_inputs(4), (36, 6)),
    "flattened outputs": (flattened_outputs(4), (5, 36)),
    "flattened bias": (flattened_outputs(4), (36,)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_and_back_is_nothing(name: str) -> None:
    layout, shape = LAYOUTS[name]
    ours = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    theirs = layout.store(ours)
    assert theirs.shape == layout.their_shape(shape)
    np.testing.assert_array_equal(layout.load(theirs, shape), ours)


def test_flattened_features_give_the_same_product() -> None:
    rng = np.random.default_rng(0)
    maps, kernel = rng.normal(size=(3, 3, 4)), rng.normal(size=(36, 6))
    theirs = flattened_inputs(4).store(kernel)
    chw = maps.transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(theirs @ chw, maps.reshape(-1) @ kernel)


def test_flattened_outputs_are_the_same_map() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=5), rng.normal(size=(5, 36))
    theirs = (flattened_outputs(4).store(kernel) @ x).reshape(4, 3, 3)
    np.testing.assert_allclose(theirs.transpose(1, 2, 0), (x @ kernel).reshape(3, 3, 4))


SHAPES = {
    "params/box_head/classifier/kernel": (8, 4),
    "params/box_head/classifier/bias": (4,),
    "params/rpn/conv/kernel": (3, 3, 8, 8),
}
NAMES = {
    "roi_heads.box_predictor.cls_score.weight": (4, 8),
    "roi_heads.box_predictor.cls_score.bias": (4,),
    "proposal_generator.rpn_head.conv.weight": (8, 8, 3, 3),
}


def _tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in NAMES.items()}


def test_rules_name_every_tensor_and_export_is_the_inverse() -> None:
    tensors = _tensors()
    arrays, report = take_tensors(tensors, detectron2_rules(SHAPES), SHAPES)
    assert {path: a.shape for path, a in arrays.items()} == SHAPES
    assert report.loaded == tuple(sorted(NAMES))
    assert report.reset == report.left == report.unused == ()
    for name, tensor in export_detectron2(arrays).items():
        np.testing.assert_array_equal(tensor, tensors[name])


def test_every_problem_is_listed_at_once() -> None:
    tensors = _tensors() | {"surprise.weight": np.zeros(3, np.float32)}
    del tensors["roi_heads.box_predictor.cls_score.bias"]
    tensors["proposal_generator.rpn_head.conv.weight"] = np.zeros((8, 8, 1, 1), np.float32)
    tensors["roi_heads.box_predictor.cls_score.weight"] = np.zeros((4, 8), np.int64)
    with pytest.raises(ValueError, match="4 problems") as error:
        take_tensors(tensors, detectron2_rules(SHAPES), SHAPES)
    for words in (
        "missing: roi_heads.box_predictor.cls_score.bias (4,)",
        "extra: surprise.weight (3,)",
        "shape: proposal_generator.rpn_head.conv.weight is (8, 8, 1, 1), the model needs",
        "type: roi_heads.box_predictor.cls_score.weight is int64",
    ):
        assert words in str(error.value)


def test_other_classes_say_what_to_reset() -> None:
    tensors = _tensors()
    tensors["roi_heads.box_predictor.cls_score.weight"] = np.zeros((81, 8), np.float32)
    tensors["roi_heads.box_predictor.cls_score.bias"] = np.zeros(81, np.float32)
    rules = detectron2_rules(SHAPES)
    with pytest.raises(ValueError, match=r"80 classes.*\n?.*'box_head/classifier'"):
        take_tensors(tensors, rules, SHAPES)
    arrays, report = take_tensors(tensors, rules, SHAPES, reset=("box_head/classifier",))
    assert set(arrays) == {"params/rpn/conv/kernel"}
    assert len(report.reset) == 2


def test_reset_must_name_a_module() -> None:
    with pytest.raises(ValueError, match=r"box_head/classifer.*box_head/classifier"):
        take_tensors(_tensors(), detectron2_rules(SHAPES), SHAPES, reset=("box_head/classifer",))


def test_named_extras_and_a_partial_file_are_allowed_when_asked() -> None:
    tensors = _tensors() | {"teacher.weight": np.zeros(3, np.float32)}
    del tensors["proposal_generator.rpn_head.conv.weight"]
    arrays, report = take_tensors(
        tensors,
        detectron2_rules(SHAPES),
        SHAPES,
        only_module="box_head",
        allow_unused=("teacher.",),
    )
    assert len(arrays) == 2
    assert report.left == ("proposal_generator.rpn_head.conv.weight",)
    assert report.unused == ("teacher.weight",)


def test_a_partial_file_must_have_its_own_module_whole() -> None:
    tensors = _tensors()
    del tensors["roi_heads.box_predictor.cls_score.bias"]
    del tensors["proposal_generator.rpn_head.conv.weight"]
    with pytest.raises(ValueError, match=r"1 problems.*\n.*missing: roi_heads\.box_predictor"):
        take_tensors(tensors, detectron2_rules(SHAPES), SHAPES, only_module="box_head")


def test_half_precision_becomes_float32() -> None:
    tensors = {name: tensor.astype(np.float16) for name, tensor in _tensors().items()}
    arrays, _ = take_tensors(tensors, detectron2_rules(SHAPES), SHAPES)
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}


def test_a_model_that_detectron2_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone/patch_embed.*no name in a weights file"):
        detectron2_rules({"params/backbone/patch_embed/kernel": (1, 1, 3, 3)})


def test_own_rules_change_nothing() -> None:
    tensors = {path: np.ones(shape, np.float32) for path, shape in SHAPES.items()}
    arrays, report = take_tensors(tensors, own_rules(SHAPES), SHAPES)
    assert report.loaded == tuple(sorted(SHAPES))
    for path, array in arrays.items():
        np.testing.assert_array_equal(array, tensors[path])


def test_a_long_list_of_problems_is_cut_and_counted() -> None:
    tensors = _tensors() | {f"a\n{i}" + "x" * 1000: np.zeros(3, np.float32) for i in range(2000)}
    with pytest.raises(ValueError, match="2000 problems") as error:
        take_tensors(tensors, detectron2_rules(SHAPES), SHAPES)
    assert "extra: and 1995 more" in str(error.value)
    assert len(str(error.value)) < 2000


VAR = "buffers/backbone/stem/bn/var"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("params/rpn/conv/kernel", np.nan, "has 1 of 576 values that are NaN or infinite"),
        ("params/rpn/conv/kernel", -np.inf, "has 1 of 576 values"),
        (VAR, -0.5, "has the variance -0.5"),
    ],
)
def test_values_that_no_trained_model_has_are_refused(path: str, value: float, words: str) -> None:
    shapes = SHAPES | {VAR: (4,)}
    arrays = {p: np.ones(shape, np.float32) for p, shape in shapes.items()}
    take_tensors(arrays, own_rules(shapes), shapes)
    arrays[path].flat[0] = value
    with pytest.raises(ValueError, match=f"1 tensors have values.*\n.*{path} {words}") as error:
        take_tensors(arrays, own_rules(shapes), shapes)
    assert "diverged" in str(error.value)


def test_a_value_that_only_64_bits_hold_is_refused() -> None:
    arrays = {path: np.ones(shape, np.float64) for path, shape in SHAPES.items()}
    arrays["params/rpn/conv/kernel"].flat[0] = 1e300
    with pytest.raises(ValueError, match=r"has 1 of 576 values .* infinite in 32 bits"):
        take_tensors(arrays, own_rules(SHAPES), SHAPES)


@pytest.mark.parametrize(
    ("names", "library"),
    [
        (("backbone.layer1.0.conv1.weight", "neck.fpn_convs.0.conv.weight"), "OpenMMLab"),
        (("backbone.body.layer1.0.conv1.weight", "roi_heads.box_head.fc6.weight"), "torchvision"),
        (("backbone.layer1.0.conv1.weight", "classifier.0.weight"), "torchvision"),
        (("model.0.conv.weight", "model.1.conv.weight"), "Ultralytics"),
        (("rpn.anchor_generator.cell_anchors.0", "roi_heads.box.predictor.w"), "maskrcnn-bench"),
    ],
)
def test_names_of_other_libraries_say_whose_they_are(names: tuple[str, ...], library: str) -> None:
    tensors = {name: np.zeros(1, np.float32) for name in names}
    canonical = canonical_names(tensors)
    with pytest.raises(ValueError, match=f"look like those of {library}"):
        take_tensors(canonical.tensors, detectron2_rules(SHAPES), SHAPES)


def test_a_stray_name_does_not_make_a_file_another_library_s() -> None:
    tensors = _tensors() | {"neck.weight": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"extra: neck\.weight.*\n.*Use the configuration"):
        take_tensors(tensors, detectron2_rules(SHAPES), SHAPES)
