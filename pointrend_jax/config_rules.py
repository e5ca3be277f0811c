"""What each field of a configuration may be, checked as a whole before any work.

A rule stands here for every field of configs/base.py, under the same name; a test compares the two.
What a model is built of is checked again by whoever builds it (`check_model_fields`), as programs
build models of configurations of their own. What fields must be together (heads and their strides,
classes and data) is said by the builders themselves, and so are choices that the builders know.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pointrend_jax.pixel_format import DTYPES, MOST_CHANNELS, pixel_format
from pointrend_jax.structures import Config

# Steps are counted in int32 on the devices.
_INT32 = 2**31 - 1


class Rule(NamedTuple):
    """What must hold, in words, and whether it does."""

    what: str
    holds: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) or _is_integer(value)) and math.isfinite(value)


def _integer(low: int, high: int) -> Rule:
    return Rule(
        f"a whole number from {low} to {high}", lambda v: _is_integer(v) and low <= v <= high
    )


def _number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    """Args: above, whether `low` itself is too low."""
    words = f"a number {'above' if above else 'of at least'} {low:g}"
    if high < math.inf:
        words += f" and at most {high:g}"
    return Rule(words, lambda v: _is_number(v) and (low < v if above else low <= v) and v <= high)


def _below_one() -> Rule:
    return Rule("a number of at least 0 and below 1", lambda v: _is_number(v) and 0 <= v < 1)


def _sequence(of: Rule, *, least: int = 0, most: int = 10_000) -> Rule:
    counts = f"{least}" if least == most else f"at least {least}" if least else "any number"
    return Rule(
        f"a tuple of {counts}, each {of.what}",
        lambda v: (
            isinstance(v, (list, tuple))
            and least <= len(v) <= most
            and all(of.holds(item) for item in v)
        ),
    )


def _ascending(rule: Rule) -> Rule:
    return Rule(f"{rule.what}, ascending", lambda v: rule.holds(v) and list(v) == sorted(v))


_BOOLEAN = Rule("True or False", lambda v: isinstance(v, bool))
_TEXT = Rule("a text", lambda v: isinstance(v, str))
_CHANNELS = _integer(1, 65_536)
_LAYERS = _integer(1, 64)
_COUNT = _integer(1, 2**24)  # images, points, anchors, detections
_STEPS = _integer(0, _INT32)
_PIXELS = _integer(1, 65_536)
_SHARE = _number(0, 1)
_SOME = _number(0, 1, above=True)
_SIDE = Rule(
    "a positive multiple of 32", lambda v: _is_integer(v) and 0 < v <= 65_536 and v % 32 == 0
)
_CANVAS = _sequence(_SIDE, least=2, most=2)
_NAMES = _sequence(_TEXT)
_DTYPE = Rule(" or ".join(f'"{name}"' for name in DTYPES), lambda v: v in DTYPES)
_RANGE = Rule(
    "() or a pair of numbers, the lower one first",
    lambda v: (
        isinstance(v, (list, tuple))
        and (len(v) == 0 or (len(v) == 2 and all(map(_is_number, v)) and v[0] < v[1]))
    ),
)
_RGB = Rule(
    "() or three different places from 0 on",
    lambda v: (
        isinstance(v, (list, tuple))
        and all(_is_integer(place) and 0 <= place < MOST_CHANNELS for place in v)
        and len(v) == len(set(v)) in (0, 3)
    ),
)
_SUPERVISION = Rule('"masks" or "points"', lambda v: v in ("masks", "points"))
_OPTIMIZER = Rule('"sgd" or "adam"', lambda v: v in ("sgd", "adam"))
_OVERSAMPLE = Rule(
    "0 (a regular grid) or a number from 1 to 1000",
    lambda v: _is_number(v) and (v == 0 or 1 <= v <= 1000),
)
_MULTIPLIER = Rule(
    "a pair of a module's name and a number from 0 to 1e6",
    lambda v: (
        isinstance(v, (list, tuple))
        and len(v) == 2
        and isinstance(v[0], str)
        and _number(0, 1e6).holds(v[1])
    ),
)
_OUTPUT = {"task": _TEXT, "num_classes": _integer(1, 100_000)}
_DATA = {
    "source": _TEXT, "dir": _TEXT, "categories": _TEXT, "class_names": _NAMES,
    "train_images": _TEXT, "train_annotations": _TEXT, "eval_images": _TEXT,
    "eval_annotations": _TEXT, "channels": _integer(1, MOST_CHANNELS), "dtype": _DTYPE,
    "value_range": _RANGE, "rgb_channels": _RGB, "channel_mean": _sequence(_number(-math.inf)),
    "channel_std": _sequence(_number(0, above=True)), "cache_dir": _TEXT,
    "filter_empty_annotations": _BOOLEAN, "repeat_threshold": _SHARE,
    "held_out": _below_one(), "held_out_seed": _integer(0, 2**32 - 1),
    "train_min_sizes": _sequence(_PIXELS, least=1), "eval_min_size": _PIXELS, "max_size": _PIXELS,
    "flip_probability": _SHARE, "supervision": _SUPERVISION,
    "points_per_step": _integer(0, 10_000), "buckets": _sequence(_CANVAS, least=1),
    "num_threads": _integer(0, 1024), "max_broken_share": _SHARE, "train_max_size": _PIXELS,
    "crop_hw": _CANVAS, "crop_max_category_area": _SOME, "color_augmentation": _BOOLEAN,
}  # fmt: skip
_EMBEDDED = {
    "image_size": _PIXELS, "num_train": _COUNT, "num_eval": _COUNT, "max_objects": _integer(1, 100),
    "seed": _integer(0, 2**32 - 1),
}  # fmt: skip
_MODEL = {
    "backbone": _TEXT, "freeze_at": _integer(0, 5), "fpn_channels": _CHANNELS,
    "output_stride": _integer(1, 64), "multi_grid": _sequence(_integer(1, 64), least=3, most=3),
    "norm": _TEXT, "compute_dtype": _TEXT, "mask_head": _TEXT,
}  # fmt: skip
_RPN = {
    "anchor_sizes": _sequence(_number(0, 65_536, above=True), least=5, most=5),
    "aspect_ratios": _sequence(_number(0, 1000, above=True), least=1, most=100),
    "iou_thresholds": _ascending(_sequence(_SHARE, least=2, most=2)),
    "samples_per_image": _COUNT, "positive_fraction": _SOME, "nms_threshold": _SHARE,
    "pre_nms_topk_train": _COUNT, "pre_nms_topk_eval": _COUNT,
    "post_nms_topk_train": _COUNT, "post_nms_topk_eval": _COUNT,
}  # fmt: skip
_BOX = {
    "pooler_resolution": _integer(1, 256), "pooler_sampling_ratio": _integer(0, 64),
    "fc_dim": _CHANNELS, "samples_per_image": _COUNT, "positive_fraction": _SOME,
    "iou_threshold": _SHARE,
    "delta_weights": _sequence(_number(0, 1e6, above=True), least=4, most=4),
    "score_threshold": _SHARE, "nms_threshold": _SHARE, "detections_per_image": _COUNT,
}  # fmt: skip
_MASK = {
    "train_on_pred_boxes": _BOOLEAN, "coarse_pooler_resolution": _integer(1, 256),
    "coarse_resolution": _integer(1, 256), "coarse_fc_dim": _CHANNELS,
    "coarse_num_fcs": _integer(0, 64), "point_fc_dim": _CHANNELS, "point_num_fcs": _LAYERS,
    "point_features": _NAMES, "coarse_each_layer": _BOOLEAN, "train_num_points": _COUNT,
    "oversample_ratio": _OVERSAMPLE, "importance_sample_ratio": _SHARE,
    "subdivision_steps": _integer(0, 10), "subdivision_num_points": _COUNT,
    "sampler": _TEXT, "point_loss": _TEXT,
    "implicit_parameter_decay": _number(0, 1e6), "conv_dim": _CHANNELS,
    "conv_pooler_resolution": _integer(1, 256), "detections_per_chunk": _integer(0, 2**24),
    "min_cell_px": _number(0, 1e6),
}  # fmt: skip
_SEMANTIC = {
    "coarse_head": _TEXT, "pointrend": _BOOLEAN, "levels": _NAMES, "conv_dim": _CHANNELS,
    "norm": _TEXT, "aspp_dim": _CHANNELS,
    "aspp_dilations": _sequence(_integer(1, 1024), least=3, most=3), "aspp_dropout": _below_one(),
    "aspp_pool": _TEXT, "low_level_dim": _CHANNELS, "loss": _TEXT, "hard_pixel_fraction": _SOME,
    "coarse_loss_weight": _number(0, 1e6), "point_features": _NAMES, "point_fc_dim": _CHANNELS,
    "point_num_fcs": _LAYERS, "coarse_each_layer": _BOOLEAN, "uncertainty": _TEXT,
    "train_num_points": _COUNT, "oversample_ratio": _OVERSAMPLE, "importance_sample_ratio": _SHARE,
    "sampler": _TEXT, "point_loss": _TEXT,
    "subdivision_steps": _integer(0, 10), "subdivision_num_points": _COUNT,
}  # fmt: skip
_REFINE = {
    "margin": _number(0, 10), "least_side": _PIXELS,
    "conv_dim": Rule(
        "a multiple of 24 from 24 to 65520",
        lambda v: _is_integer(v) and 24 <= v <= 65_520 and v % 24 == 0,
    ),
    "point_fc_dim": _CHANNELS, "point_num_fcs": _LAYERS, "train_num_points": _COUNT,
    "oversample_ratio": _OVERSAMPLE, "importance_sample_ratio": _SHARE,
    "subdivision_steps": _integer(1, 5), "subdivision_num_points": _COUNT,
    "keep_below": _number(0, 1e6),
}  # fmt: skip
_TRAIN = {
    "steps": _integer(1, _INT32), "batch_size": _COUNT, "reference_batch_size": _integer(0, 2**24),
    "accumulate_steps": _COUNT, "remat": _BOOLEAN, "strategy": _TEXT,
    "deterministic": _BOOLEAN, "optimizer": _OPTIMIZER,
    "learning_rate": _number(0, 1e6), "momentum": _below_one(), "weight_decay": _number(0, 1e6),
    "warmup_steps": _STEPS, "warmup_factor": _SHARE, "schedule": _TEXT,
    "milestones": _ascending(_sequence(_STEPS)), "gamma": _number(0, 1e6),
    "poly_power": _number(0, 1e6), "rate_multipliers": _sequence(_MULTIPLIER),
    "clip_gradient_norm": _number(0, 1e6), "log_every": _STEPS, "eval_every": _STEPS,
    "checkpoint_every": _STEPS, "keep_checkpoints": _STEPS, "keep_every": _STEPS,
    "best_metric": _TEXT, "average_decay": _below_one(), "watchdog_minutes": _number(0, 1e6),
}  # fmt: skip
_EVAL = {
    "batch_size": _COUNT, "boundary_dilation": _SOME, "trimap_widths": _sequence(_PIXELS),
    "tta_scales": _sequence(_number(0, 100, above=True)), "tta_flip": _BOOLEAN,
}  # fmt: skip
_GROUPS: dict[str, dict[str, Rule]] = {
    "": {"name": _TEXT, "seed": _integer(0, 2**32 - 1)} | _OUTPUT,
    "init": {"weights": _TEXT, "reset": _NAMES, "ignore": _NAMES},
    "data": _DATA, "data.embedded": _EMBEDDED,
    "model": _MODEL, "model.rpn": _RPN, "model.box": _BOX, "model.mask": _MASK,
    "model.semantic": _SEMANTIC, "model.refine": _REFINE, "train": _TRAIN, "eval": _EVAL,
}  # fmt: skip
# By dotted name ("train.steps").
RULES: dict[str, Rule] = {
    f"{group}.{name}".removeprefix("."): rule
    for group, rules in _GROUPS.items()
    for name, rule in rules.items()
}
# What a model cannot be built and fed without, whatever version wrote its configuration.
_OF_PREDICTION = {
    "instance": ("model", "model.rpn", "model.box", "model.mask"),
    "semantic": ("model", "model.semantic"),
    "refine": ("model", "model.refine"),
}
# Fields of these groups that only a training reads, and that older checkpoints lack.
_OF_TRAINING = {
    f"model.{group}.{name}" for group in ("mask", "semantic") for name in ("sampler", "point_loss")
}
# Fields outside the groups of the model that a prediction reads: what brings images to canvases,
# and train.remat, because `backbone_options` (models/backbones.py) reads it.
_FED_BY = ("data.eval_min_size", "data.max_size", "data.buckets", "train.remat")


def check_config(config: Config, *, to_train: bool = False) -> None:
    """Raises ValueError, naming the field, what must hold and what was given, for a wrong value.

    Args:
      to_train: every field must be there; otherwise those that a prediction needs, since the
        configuration of an older checkpoint may lack others.
    """
    task = config.get("task")
    if not isinstance(task, str) or task not in _OF_PREDICTION:
        raise ValueError(
            f"config.task must be 'instance', 'semantic' or 'refine', got {_short(task)}."
        )
    needed = RULES.keys() if to_train else {*_FED_BY, *_built_of(task)} - _OF_TRAINING
    _check(config, RULES, needed)
    pixel_format(config)


def check_model_fields(config: Config, task: str) -> None:
    """Raises as `check_config`, for the fields that the model of a kind of task is built of."""
    fields = _built_of(task)
    _check(config, fields, {*fields} - _OF_TRAINING)


def groups_of_other_tasks(task: str) -> list[str]:
    """The groups of fields ("model.refine") that the models of `task` are not built of; none if
    the task is not known."""
    own = _OF_PREDICTION.get(task)
    groups = {group for groups in _OF_PREDICTION.values() for group in groups}
    return sorted(groups.difference(own)) if own else []


def _check(config: Config, fields: Iterable[str], needed: Collection[str]) -> None:
    values = dict(_leaves(config))
    for field in fields:
        rule = RULES[field]
        if field not in values:
            if field in needed:
                raise ValueError(
                    f"config.{field} is missing; it must be {rule.what}, as in configs/base.py."
                )
        elif not rule.holds(values[field]):
            raise ValueError(f"config.{field} must be {rule.what}, got {_short(values[field])}.")


def _built_of(task: str) -> list[str]:
    of_groups = [f"{g}.{name}" for g in _OF_PREDICTION[task] for name in _GROUPS[g]]
    # DeepLab's head pools over windows of the size of a training crop.
    return [*_OUTPUT, *of_groups, *(["data.crop_hw"] if task == "semantic" else [])]


def _leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field with its dotted name; a group where a value should be, or the reverse, too."""
    for name, value in config.items():
        field = f"{path}{name}"
        if isinstance(value, Mapping) or hasattr(value, "items"):
            yield from _leaves(value, f"{field}.")
        yield field, value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]} ... ({len(text)} characters)"
