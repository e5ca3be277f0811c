"""Semantic configurations: a wrong value is named before anything is built."""

from typing import Any

import pytest

from pointrend_jax.models.build_semantic import build_semantic_model
from tests.tiny import tiny_semantic_config


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("model.semantic.coarse_head", "fcn", r"one of \['semantic_fpn', 'deeplabv3'"),
        ("model.semantic.norm", "layer_norm", "'group_norm', 'batch_norm', 'none'"),
        (
            "model.semantic.conv_dim",
            0,
            r"semantic\.conv_dim must be .* from 1 to .*got 0",
        ),
        ("model.semantic.conv_dim", 40, "a multiple of 32 with group_norm"),
        ("model.semantic.levels", ("p2", "p3"), "the coarsest of p2..p5"),
        ("model.semantic.point_features", ("p2", "p9"), "some of"),
        ("model.semantic.point_features", ("p2", "p2"), "each once"),
        ("model.semantic.subdivision_steps", 3, "at most 2 from coarse logits of stride 4"),
        ("model.semantic.subdivision_num_points", 0, "whole number from 1 to .* got 0"),
        ("model.semantic.train_num_points", -1, "whole number from 1 to .* got -1"),
        (
            "model.semantic.oversample_ratio",
            0.5,
            r"0 \(a regular grid\) or .* from 1 to .*got 0.5",
        ),
        ("model.semantic.importance_sample_ratio", 2.0, "at most 1, got 2.0"),
        ("model.semantic.hard_pixel_fraction", 0.0, "above 0 and at most 1, got 0.0"),
        ("model.fpn_channels", 0, r"model\.fpn_channels must be a whole number from 1"),
        ("model.output_stride", 16, "32 for the FPN"),
        ("num_classes", 1, "2 to 254"),
        ("num_classes", 255, "2 to 254"),
    ],
)
def test_a_wrong_value_is_named(field: str, value: Any, match: str) -> None:
    _refuses("semantic_fpn", field, value, match)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("data.crop_hw", (512,), r"crop_hw must be a tuple of 2"),
        ("data.crop_hw", (8, 8), "each a positive multiple of 32"),
        ("model.semantic.aspp_dilations", (6, 12), "a tuple of 3"),
        ("model.semantic.aspp_dropout", 1.0, "at least 0 and below 1"),
        ("model.semantic.point_features", ("p2",), r"some of \['res2', 'res3', 'res4', 'res5'\]"),
        ("model.output_stride", 12, "8, 16 or 32"),
    ],
)
def test_a_wrong_value_of_deeplab_is_named(field: str, value: Any, match: str) -> None:
    _refuses("deeplabv3", field, value, match)


@pytest.mark.parametrize(
    ("coarse_head", "field"),
    [
        ("deeplabv3", "aspp_dim"),
        ("deeplabv3plus", "aspp_dim"),
        ("deeplabv3plus", "low_level_dim"),
    ],
)
def test_channels_of_deeplab_that_are_no_groups_are_named(coarse_head: str, field: str) -> None:
    config = tiny_semantic_config(coarse_head)
    semantic = config.model.semantic
    semantic.norm, semantic.aspp_dim, semantic.low_level_dim = "group_norm", 32, 32
    build_semantic_model(config)
    semantic[field] = 48
    with pytest.raises(ValueError, match=rf"semantic\.{field} must be a multiple of 32.*got 48"):
        build_semantic_model(config)


def test_deeplabv3_has_no_low_level_channels_that_could_be_no_groups() -> None:
    config = tiny_semantic_config("deeplabv3")
    semantic = config.model.semantic
    semantic.norm, semantic.aspp_dim, semantic.low_level_dim = "group_norm", 32, 48
    build_semantic_model(config)


@pytest.mark.parametrize("field", ["sampler", "point_loss"])
def test_a_name_that_nothing_reads_without_points_is_refused(field: str) -> None:
    config = tiny_semantic_config("semantic_fpn")
    config.model.semantic.pointrend = False
    build_semantic_model(config)
    config.model.semantic[field] = "crossentropy"
    message = rf"semantic\.{field} must be '.*' for config\.model\.semantic\.pointrend False"
    with pytest.raises(ValueError, match=message):
        build_semantic_model(config)


def _refuses(coarse_head: str, field: str, value: Any, match: str) -> None:
    config = tiny_semantic_config(coarse_head)
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=match):
        build_semantic_model(config)
