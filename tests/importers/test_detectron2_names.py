"""Every naming scheme gives exactly Detectron2's names."""

import json

import numpy as np
import pytest

from pointrend_jax.importers.detectron2_names import canonical_names
from tests.shared import shared_path

BLOCKS = {"R50": (3, 4, 6, 3), "R101": (3, 4, 23, 3)}
NORM = ("weight", "bias", "running_mean", "running_var")


def _value(number: int) -> np.ndarray:
    return np.full(1, number, np.float32)


def _numbered(names: list[str]) -> dict[str, np.ndarray]:
    return {name: _value(number) for number, name in enumerate(names)}


def _convolutions(depth: str) -> list[tuple[int, int, str]]:
    """(stage, block, convolution) of a ResNet with bottlenecks, without its stem."""
    return [
        (stage, block, name)
        for stage, blocks in enumerate(BLOCKS[depth], 2)
        for block in range(blocks)
        for name in (("shortcut",) if block == 0 else ()) + ("conv1", "conv2", "conv3")
    ]


def _backbone(depth: str, prefix: str = "backbone.bottom_up.") -> list[str]:
    paths = ["stem.conv1", *(f"res{s}.{b}.{name}" for s, b, name in _convolutions(depth))]
    return [
        f"{prefix}{path}.{array}"
        for path in paths
        for array in ("weight", *(f"norm.{norm}" for norm in NORM))
    ]


def _caffe2(depth: str, arrays: dict[str, str]) -> dict[str, str]:
    """Caffe2 names and what they mean; `arrays` gives the endings and their meaning."""
    branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}
    names = {
        f"res{s}_{b}_branch{branch[name]}_{theirs}": f"res{s}.{b}.{name}.{ours}"
        for s, b, name in _convolutions(depth)
        for theirs, ours in arrays.items()
    }
    stem = {
        ("conv1_w" if theirs == "w" else f"res_conv1_{theirs}"): f"stem.conv1.{ours}"
        for theirs, ours in arrays.items()
    }
    return {k: f"backbone.bottom_up.{v}" for k, v in {**stem, **names}.items()}


FOLDED = {"w": "weight", "bn_s": "norm.weight", "bn_b": "norm.bias"}
WITH_STATISTICS = {
    "w": "weight",
    "bn_gamma": "norm.weight",
    "bn_beta": "norm.bias",
    "bn_running_mean": "norm.running_mean",
    "bn_running_var": "norm.running_var",
}
SHORT_STATISTICS = {**FOLDED, "bn_rm": "norm.running_mean", "bn_riv": "norm.running_var"}


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize("arrays", [FOLDED, WITH_STATISTICS, SHORT_STATISTICS])
def test_caffe2_backbone_gets_every_name(depth: str, arrays: dict[str, str]):
    meanings = _caffe2(depth, arrays)
    assert depth != "R50" or sum(name.endswith("_w") for name in meanings) == 53
    tensors = _numbered(list(meanings))
    canonical = canonical_names({**tensors, "fc1000_w": _value(-1), "conv1_b": _value(-1)})
    assert canonical.scheme == "caffe2_backbone"
    assert sorted(canonical.tensors) == sorted(_backbone(depth))
    assert canonical.renamed == meanings
    for name, meaning in meanings.items():
        assert canonical.tensors[meaning] is tensors[name]
    assert canonical.dropped == ("conv1_b", "fc1000_w")


def test_caffe2_norm_without_statistics_gets_mean_0_and_variance_1():
    scale = np.asarray([2.0, 3.0], np.float16)
    canonical = canonical_names({"res2_0_branch1_bn_s": scale, "res2_0_branch1_w": _value(1)})
    norm = "backbone.bottom_up.res2.0.shortcut.norm"
    np.testing.assert_array_equal(
        canonical.tensors[f"{norm}.running_mean"], np.zeros(2, np.float16), strict=True
    )
    np.testing.assert_array_equal(
        canonical.tensors[f"{norm}.running_var"], np.ones(2, np.float16), strict=True
    )


def test_caffe2_momenta_and_classifier_are_dropped():
    dropped = ["conv1_w_momentum", "fc1000_b", "fc1000_w", "pred_b", "pred_w"]
    canonical = canonical_names(_numbered(["conv1_w", *dropped]))
    assert list(canonical.tensors) == ["backbone.bottom_up.stem.conv1.weight"]
    assert canonical.dropped == tuple(dropped)


def test_caffe2_detection_model_is_refused():
    names = ["conv1_w", "res2_0_branch1_w", "fpn_inner_res5_2_sum_w", "conv_rpn_fpn2_w"]
    with pytest.raises(ValueError, match=r"detection model of Caffe2 \(conv_rpn_fpn2_w and 1 oth"):
        canonical_names(_numbered(names))


def _torchvision(depth: str) -> dict[str, str]:
    names = {"conv1.weight": "stem.conv1.weight"}
    names |= {f"bn1.{norm}": f"stem.conv1.norm.{norm}" for norm in NORM}
    for stage, block, name in _convolutions(depth):
        path = f"layer{stage - 1}.{block}"
        conv, bn = (
            ("downsample.0", "downsample.1")
            if name == "shortcut"
            else (name, name.replace("conv", "bn"))
        )
        names[f"{path}.{conv}.weight"] = f"res{stage}.{block}.{name}.weight"
        names |= {f"{path}.{bn}.{norm}": f"res{stage}.{block}.{name}.norm.{norm}" for norm in NORM}
    return {theirs: f"backbone.bottom_up.{ours}" for theirs, ours in names.items()}


@pytest.mark.parametrize("depth", BLOCKS)
def test_torchvision_backbone_gets_every_name(depth: str):
    meanings = _torchvision(depth)
    dropped = ["bn1.num_batches_tracked", "fc.bias", "fc.weight"]
    tensors = _numbered([*meanings, *dropped])
    canonical = canonical_names(tensors)
    assert canonical.scheme == "torchvision_backbone"
    assert sorted(canonical.tensors) == sorted(_backbone(depth))
    assert canonical.renamed == meanings
    for name, meaning in meanings.items():
        assert canonical.tensors[meaning] is tensors[name]
    assert canonical.dropped == tuple(dropped)


@pytest.mark.parametrize("prefix", ["backbone.bottom_up.", "backbone."])
def test_detectron2_backbone_gets_its_prefix(prefix: str):
    names = _backbone("R50", prefix="")
    dropped = ["fc.weight", "linear.bias", "stem.conv1.norm.num_batches_tracked", "stem.fc.bias"]
    canonical = canonical_names(_numbered([*names, *dropped]), backbone_prefix=prefix)
    assert canonical.scheme == "detectron2_backbone"
    assert canonical.renamed == {name: prefix + name for name in names}
    assert list(canonical.tensors) == [prefix + name for name in names]
    assert canonical.dropped == tuple(dropped)


@pytest.mark.parametrize(
    "model",
    [
        "pointrend_rcnn_R_50_FPN_coco",
        "pointrend_rcnn_X_101_32x8d_FPN_coco",
        "implicit_pointrend_R_50_FPN_coco",
        "pointrend_semantic_R_101_FPN_cityscapes",
        "deeplab_v3_R_103_cityscapes",
    ],
)
def test_names_of_whole_models_stay(model: str):
    manifest = json.loads(shared_path(f"parity/models/{model}/manifest.json").read_text())
    names = [entry["name"] for entry in manifest["params"]]
    canonical = canonical_names(_numbered(names))
    assert canonical.scheme == "detectron2"
    assert canonical.renamed == {}
    counters = [name for name in names if name.endswith("num_batches_tracked")]
    assert canonical.dropped == tuple(sorted(counters))
    assert list(canonical.tensors) == [name for name in names if name not in counters]


def test_backbone_files_give_the_names_of_the_whole_model():
    path = shared_path("parity/models/pointrend_rcnn_R_50_FPN_coco/manifest.json")
    names = {entry["name"] for entry in json.loads(path.read_text())["params"]}
    assert set(_backbone("R50")) == {name for name in names if ".bottom_up." in name}


def test_old_pointrend_names_are_upgraded():
    upgrades = {
        "roi_heads.mask_point_head.fc1.weight": "roi_heads.mask_head.point_head.fc1.weight",
        "roi_heads.mask_point_head.predictor.bias": "roi_heads.mask_head.point_head.predictor.bias",
        "roi_heads.mask_coarse_head.reduce_spatial_dim_conv.weight": (
            "roi_heads.mask_head.coarse_head.reduce_spatial_dim_conv.weight"
        ),
        "roi_heads.mask_coarse_head.coarse_mask_fc2.bias": (
            "roi_heads.mask_head.coarse_head.fc2.bias"
        ),
        "roi_heads.mask_head.coarse_head.coarse_mask_fc1.weight": (
            "roi_heads.mask_head.coarse_head.fc1.weight"
        ),
        "roi_heads.mask_coarse_head.prediction.bias": (
            "roi_heads.mask_head.coarse_head.prediction.bias"
        ),
    }
    kept = ["backbone.fpn_output2.weight", "roi_heads.box_head.fc1.weight"]
    tensors = _numbered([*upgrades, *kept])
    canonical = canonical_names(tensors)
    assert canonical.renamed == upgrades
    assert list(canonical.tensors) == [*upgrades.values(), *kept]
    for old, new in upgrades.items():
        assert canonical.tensors[new] is tensors[old]


def test_two_tensors_of_one_meaning_are_refused():
    names = ["roi_heads.mask_point_head.fc1.bias", "roi_heads.mask_head.point_head.fc1.bias"]
    with pytest.raises(ValueError, match=r"mask_point_head\.fc1\.bias and .* both mean roi_heads"):
        canonical_names(_numbered(names))
    with pytest.raises(ValueError, match=r"res_conv1_bn_gamma both mean .*stem\.conv1\.norm\.w"):
        canonical_names(_numbered(["conv1_w", "res_conv1_bn_s", "res_conv1_bn_gamma"]))


def test_buffers_that_no_model_needs_are_dropped():
    dropped = [
        "backbone.stem.conv1.norm.num_batches_tracked",
        "pixel_mean",
        "pixel_std",
        "proposal_generator.anchor_generator.cell_anchors.0",
    ]
    canonical = canonical_names(_numbered([*dropped, "backbone.fpn_output2.weight"]))
    assert list(canonical.tensors) == ["backbone.fpn_output2.weight"]
    assert canonical.dropped == tuple(dropped)


def test_unknown_names_pass_unchanged():
    for known in ("backbone.fpn_output2.bias", "conv1_w", "layer1.0.conv1.weight", "stem.conv1.w"):
        canonical = canonical_names(_numbered([known, "strange.name", "res2_0_branch1_other"]))
        assert "strange.name" in canonical.tensors
        assert "res2_0_branch1_other" in canonical.tensors


def test_prefix_of_data_parallel_is_taken_away_where_all_have_it():
    canonical = canonical_names(_numbered(["module.conv1_w", "module.res_conv1_bn_s"]))
    assert canonical.renamed["module.conv1_w"] == "backbone.bottom_up.stem.conv1.weight"
    canonical = canonical_names(_numbered(["module.a", "b"]))
    assert list(canonical.tensors) == ["module.a", "b"]


def test_values_and_types_are_left_alone():
    tensors = {"roi_heads.mask_point_head.fc1.bias": np.zeros(2, np.float64), "n": np.zeros(1, int)}
    canonical = canonical_names(tensors)
    assert [array.dtype for array in canonical.tensors.values()] == [np.float64, int]
