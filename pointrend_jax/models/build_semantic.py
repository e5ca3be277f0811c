"""From configuration names to the modules of semantic segmentation."""

from typing import Any

from pointrend_jax.layers.deeplabv3 import ASPP, DeepLabV3Head, DeepLabV3PlusHead
from pointrend_jax.layers.fpn import FPN, STRIDES
from pointrend_jax.layers.semantic_fpn import SemanticFPNHead
from pointrend_jax.layers.semantic_point_head import SemanticPointRend
from pointrend_jax.models.backbones import BACKBONES, BackboneOptions, backbone_options
from pointrend_jax.models.precision import compute_dtype
from pointrend_jax.models.semantic_segmentor import CoarseHead, SemanticSegmentor
from pointrend_jax.pointrend import PointHead
from pointrend_jax.structures import Config

_LEVELS = ("p2", "p3", "p4", "p5")


def build_semantic_model(config: Config) -> SemanticSegmentor:
    """The network of `config.model`, with the heads of `config.model.semantic`.

    Raises: ValueError, naming the field, for a wrong value.
    """
    model, semantic = config.model, config.model.semantic
    _check_choices(config)
    options = backbone_options(config)
    backbone = BACKBONES[model.backbone]
    has_fpn = semantic.coarse_head == "semantic_fpn"
    coarse_head = _coarse_head(config, options)
    return SemanticSegmentor(
        backbone=backbone.make(options),
        backbone_strides=options.strides(),
        map_scales=backbone.map_scales,
        fpn=FPN(model.fpn_channels, backbone.map_scales) if has_fpn else None,
        coarse_head=coarse_head,
        point_head=_point_head(config, options, coarse_head.stride) if semantic.pointrend else None,
        pixel_mean=backbone.pixel_mean,
        pixel_std=backbone.pixel_std,
        bgr=backbone.bgr,
        compute_dtype=compute_dtype(config),
        hard_pixel_fraction=(
            semantic.hard_pixel_fraction if semantic.loss == "hard_pixels" else None
        ),
        coarse_loss_weight=semantic.coarse_loss_weight,
    )


def _check_choices(config: Config) -> None:
    semantic = config.model.semantic
    for field, choices in (
        ("coarse_head", ("semantic_fpn", "deeplabv3", "deeplabv3plus")),
        ("norm", ("group_norm", "batch_norm", "none")),
        ("aspp_pool", ("image", "crop")),
        ("loss", ("cross_entropy", "hard_pixels")),
        ("uncertainty", ("logits", "probabilities")),
    ):
        _require(
            semantic[field] in choices,
            f"semantic.{field}",
            f"one of {list(choices)}",
            semantic[field],
        )
    for field in (
        *("conv_dim", "aspp_dim", "low_level_dim", "point_fc_dim", "point_num_fcs"),
        *("train_num_points", "subdivision_num_points"),
    ):
        _require(semantic[field] >= 1, f"semantic.{field}", "at least 1", semantic[field])
    channels = config.model.fpn_channels
    _require(channels >= 1, "fpn_channels", "at least 1", channels)
    beta, k = semantic.importance_sample_ratio, semantic.oversample_ratio
    _require(0 <= beta <= 1, "semantic.importance_sample_ratio", "in [0, 1]", beta)
    _require(k == 0 or k >= 1, "semantic.oversample_ratio", "0 (a regular grid) or at least 1", k)
    fraction = semantic.hard_pixel_fraction
    _require(0 < fraction <= 1, "semantic.hard_pixel_fraction", "in (0, 1]", fraction)
    _require(
        0 <= semantic.aspp_dropout < 1, "semantic.aspp_dropout", "in [0, 1)", semantic.aspp_dropout
    )
    if not 2 <= config.num_classes <= 254:
        raise ValueError(
            "config.num_classes must be 2 to 254 for semantic segmentation (255 means ignored), "
            f"got {config.num_classes}."
        )


def _require(holds: bool, field: str, what: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"config.model.{field} must be {what}, got {value!r}.")


def _coarse_head(config: Config, options: BackboneOptions) -> CoarseHead:
    semantic, num_classes = config.model.semantic, config.num_classes
    if semantic.coarse_head == "semantic_fpn":
        levels = tuple(semantic.levels)
        _require(
            levels != () and levels == _LEVELS[-len(levels) :], "semantic.levels",
            "the coarsest of p2..p5, finest first, such as ('p3', 'p4', 'p5')", levels,
        )  # fmt: skip
        _require(
            options.output_stride == 32, "output_stride", "32 for the FPN", options.output_stride
        )
        _require(
            semantic.norm != "group_norm" or semantic.conv_dim % 32 == 0, "semantic.conv_dim",
            "a multiple of 32 with group_norm", semantic.conv_dim,
        )  # fmt: skip
        return SemanticFPNHead(num_classes, levels, semantic.conv_dim, semantic.norm)
    stride = options.strides()[-1]
    crop_hw = tuple(config.data.crop_hw)
    if len(crop_hw) != 2 or min(crop_hw) < 32 or any(side % 32 for side in crop_hw):
        raise ValueError(
            "config.data.crop_hw must be (height, width), positive multiples of 32, got "
            f"{crop_hw}; round them up."
        )
    window = crop_hw[0] // stride, crop_hw[1] // stride
    rates = tuple(rate * 16 // stride for rate in semantic.aspp_dilations)
    _require(
        len(rates) == 3 and min(rates) > 0, "semantic.aspp_dilations", "three rates, which halve "
        "at output stride 32", tuple(semantic.aspp_dilations),
    )  # fmt: skip
    _require(
        semantic.norm != "group_norm" or semantic.aspp_dim % 32 == semantic.low_level_dim % 32 == 0,
        "semantic.norm", "'batch_norm' or 'none' where channels are no multiples of 32",
        semantic.norm,
    )  # fmt: skip
    aspp = ASPP(
        stride=stride,
        dim=semantic.aspp_dim,
        dilations=rates,
        norm=semantic.norm,
        dropout=semantic.aspp_dropout,
        pool_hw=window if semantic.aspp_pool == "crop" else None,
    )
    if semantic.coarse_head == "deeplabv3":
        return DeepLabV3Head(num_classes, aspp)
    return DeepLabV3PlusHead(num_classes, aspp, semantic.low_level_dim)


def _point_head(config: Config, options: BackboneOptions, coarse_stride: int) -> SemanticPointRend:
    semantic = config.model.semantic
    strides = dict(zip(("res2", "res3", "res4", "res5"), options.strides(), strict=True))
    if semantic.coarse_head == "semantic_fpn":
        strides |= {level: STRIDES[level] for level in _LEVELS}
    names = tuple(semantic.point_features)
    _require(
        names != () and set(names) <= set(strides) and len(set(names)) == len(names),
        "semantic.point_features", f"some of {list(strides)}, each once", names,
    )  # fmt: skip
    steps = semantic.subdivision_steps
    _require(
        steps >= 0 and coarse_stride % 2**steps == 0, "semantic.subdivision_steps",
        f"at most {coarse_stride.bit_length() - 1} from coarse logits of stride {coarse_stride}",
        steps,
    )  # fmt: skip
    return SemanticPointRend(
        point_head=PointHead(
            num_classes=config.num_classes,
            fc_dim=semantic.point_fc_dim,
            num_fcs=semantic.point_num_fcs,
            coarse_each_layer=semantic.coarse_each_layer,
        ),
        fine_maps=names,
        fine_strides=tuple(strides[name] for name in names),
        coarse_stride=coarse_stride,
        of_probabilities=semantic.uncertainty == "probabilities",
        train_num_points=semantic.train_num_points,
        oversample_ratio=semantic.oversample_ratio,
        importance_sample_ratio=semantic.importance_sample_ratio,
        subdivision_steps=steps,
        subdivision_num_points=semantic.subdivision_num_points,
    )
