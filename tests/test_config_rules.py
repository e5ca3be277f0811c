"""Every field of a configuration is checked before any work, and named in the message."""

import math
from typing import Any

import jax
import pytest

from pointrend_jax.config_rules import RULES, check_config
from pointrend_jax.configs import base
from pointrend_jax.experiment import check_devices
from pointrend_jax.models.build import build_model
from pointrend_jax.structures import Config
from pointrend_jax.unreachable_settings import unreachable_settings
from tests.tiny import tiny_config, tiny_semantic_config

# What no field may be, of a number, a text, a flag or a tuple.
_NEVER = (None, math.nan, math.inf, -math.inf, -1, -0.5, object(), {}, b"x", (None,), 10**30)


def _with(field: str, value: Any) -> Config:
    """The base configuration with one other value, whatever its type."""
    config = base.get_config()
    fields = config.to_dict()
    *groups, name = field.split(".")
    here = fields
    for group in groups:
        here = here[group]
    here[name] = value
    return type(config)(fields)


def test_every_field_of_the_base_configuration_has_a_rule_and_no_other() -> None:
    def fields(group: Any, path: str = "") -> set[str]:
        names: set[str] = set()
        for name, value in group.items():
            inner = fields(value, f"{path}{name}.") if hasattr(value, "items") else {path + name}
            names |= inner
        return names

    assert RULES.keys() == fields(base.get_config())


@pytest.mark.parametrize("make", [base.get_config, tiny_config, tiny_semantic_config])
def test_sound_configurations_pass(make: Any) -> None:
    check_config(make(), to_train=True)
    # As JSON gives it.
    lists = _with("data.buckets", [[32, 64]])
    check_config(lists, to_train=True)


@pytest.mark.parametrize("field", RULES)
def test_no_field_takes_what_cannot_be(field: str) -> None:
    for value in _NEVER:
        with pytest.raises(ValueError, match=rf"^config\.{field}(\.| is | must be )") as told:
            check_config(_with(field, value), to_train=True)
        assert len(str(told.value)) < 400


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("train.learning_rate", -0.02, "at least 0 .*got -0.02"),
        ("train.learning_rate", "0.1", "a number .*got '0.1'"),
        ("train.momentum", 1.0, "below 1"),
        ("train.steps", 0, "whole number from 1"),
        ("train.steps", 2**31, "whole number from 1 to 2147483647"),
        ("train.steps", 1.5, "whole number"),
        ("train.steps", True, "whole number"),
        ("train.milestones", (5, 3), "ascending, got .5, 3"),
        ("train.milestones", 5, "a tuple"),
        ("train.rate_multipliers", (("head", -1.0),), "a pair of a module's name"),
        ("data.train_min_sizes", (), "at least 1"),
        ("data.buckets", ((50, 64),), "multiple of 32"),
        ("data.buckets", ((64,),), "a tuple of 2"),
        ("data.buckets", "64", "a tuple"),
        ("data.flip_probability", 1.5, "at most 1"),
        ("model.mask.train_num_points", 0, "whole number from 1"),
        ("model.mask.importance_sample_ratio", 1.01, "at most 1"),
        ("model.mask.oversample_ratio", 0.5, "0 .a regular grid. or"),
        ("model.mask.train_on_pred_boxes", 1, "True or False"),
        ("model.rpn.iou_thresholds", (0.7, 0.3), "ascending"),
        ("model.rpn.anchor_sizes", (32,), "a tuple of 5"),
        ("eval.tta_scales", (0.0,), "above 0"),
        ("seed", -1, "whole number from 0"),
    ],
)
def test_a_wrong_value_is_told_with_what_must_hold(field: str, value: Any, what: str) -> None:
    with pytest.raises(ValueError, match=rf"^config\.{field} must be .*{what}"):
        check_config(_with(field, value), to_train=True)


def test_an_older_checkpoint_may_lack_what_prediction_does_not_need() -> None:
    fields = base.get_config().to_dict()
    del fields["train"]["watchdog_minutes"], fields["model"]["semantic"], fields["eval"]
    older = type(base.get_config())(fields)
    check_config(older)
    with pytest.raises(ValueError, match=r"^config\.model\.semantic\.coarse_head is missing"):
        check_config(older, to_train=True)
    # What decides a training at points came later than the first checkpoints.
    for name in ("sampler", "point_loss"):
        del fields["model"]["mask"][name]
    older = type(base.get_config())(fields)
    check_config(older)
    build_model(older)
    del fields["model"]["box"]["fc_dim"]
    with pytest.raises(ValueError, match=r"^config\.model\.box\.fc_dim is missing"):
        check_config(type(base.get_config())(fields))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (
            {"steps": 300, "eval_every": 0, "checkpoint_every": 100},
            [
                "warmup_steps 1000 is not over after 300 steps",
                "milestones 60000, 80000 are never reached in 300 steps",
            ],
        ),
        (
            {"steps": 3, "warmup_steps": 0, "milestones": (), "log_every": 20, "keep_every": 7},
            [
                "log_every 20 is beyond 3",
                "eval_every 5000 is beyond 3",
                "checkpoint_every 5000 is beyond 3",
                "keep_every 7 is beyond 3",
                "keep_every 7 is no multiple of checkpoint_every 5000",
            ],
        ),
        (
            {"warmup_steps": 60000},
            ["milestones 60000 are not behind config.train.warmup_steps 60000: the rate never"],
        ),
        ({"schedule": "poly", "steps": 2000, "eval_every": 0, "checkpoint_every": 0}, []),
    ],
)
def test_settings_that_cannot_come_true_are_told(
    changes: dict[str, Any], expected: list[str]
) -> None:
    config = base.get_config()
    config.train.update(changes)
    texts = unreachable_settings(config)
    assert len(texts) == len(expected)
    assert all(part in text for part, text in zip(expected, texts, strict=True))


def test_sizes_that_no_image_gets_are_told() -> None:
    config = base.get_config()
    config.data.max_size = 700
    texts = unreachable_settings(config)
    assert [text.split(" is above ")[0] for text in texts] == [
        "config.data.train_min_sizes 800",
        "config.data.eval_min_size 800",
    ]


@pytest.mark.parametrize(
    ("task", "field", "value", "message"),
    [
        ("refine", "eval.tta_flip", True, "tta_flip are not read for a refiner"),
        ("refine", "eval.tta_scales", (0.5,), "tta_scales and config.eval.tta_flip are not read"),
        ("refine", "data.supervision", "points", "supervision 'points' is read for instances only"),
        ("semantic", "data.supervision", "points", "is read for instances only"),
        ("instance", "data.color_augmentation", True, "color_augmentation is read for label maps"),
    ],
)
def test_a_setting_that_a_kind_of_task_does_not_read_is_told(
    task: str, field: str, value: object, message: str
) -> None:
    config = base.get_config()
    config.task = task
    before = unreachable_settings(config)
    config.update_from_flattened_dict({field: value})
    (told,) = [text for text in unreachable_settings(config) if text not in before]
    assert message in told
    config.task = "semantic" if task == "instance" else "instance"
    assert message not in " ".join(unreachable_settings(config))


def test_batch_that_does_not_divide_by_the_devices_is_refused_with_a_proposal() -> None:
    assert jax.device_count() == 2
    config = tiny_config()
    config.train.batch_size = 5
    with pytest.raises(
        ValueError, match=r"train\.batch_size must be a multiple of the 2 devices.*use 4"
    ):
        check_devices(config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "resnet51", "config.model.backbone must be one of"),
        ("mask_head", "dense", "config.model.mask_head must be"),
        ("freeze_at", 7, "config.model.freeze_at"),
        ("mask.point_features", ("p2", "p7"), "levels of p2..p6, each once, got"),
        ("mask.point_features", ("p2", "p2"), "levels of p2..p6, each once, got"),
        ("mask.point_features", (), "levels of p2..p6, each once, got"),
    ],
)
def test_wrong_model_values_are_named(field: str, value: object, message: str) -> None:
    config = tiny_config()
    config.update_from_flattened_dict({f"model.{field}": value})
    with pytest.raises(ValueError, match=message):
        build_model(config)
