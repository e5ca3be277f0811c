"""The coarse heads of semantic models by name: from a configuration to the module."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pointrend_jax.layers.deeplabv3 import ASPP, DeepLabV3Head, DeepLabV3PlusHead
from pointrend_jax.layers.parts import SemanticHead
from pointrend_jax.layers.semantic_fpn import SemanticFPNHead
from pointrend_jax.models.backbones import backbone_options
from pointrend_jax.registry import Registry
from pointrend_jax.structures import Config

LEVELS = ("p2", "p3", "p4", "p5")


class SemanticHeadSpec(NamedTuple):
    """A coarse head of semantic models.

    Attributes:
      make: from the whole configuration to the module.
      reads_fpn: whether it is given p2..p6 beside res2..res5; then the model has an FPN.
    """

    make: Callable[[Config], SemanticHead]
    reads_fpn: bool = False


def require(holds: bool, field: str, what: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"config.model.{field} must be {what}, got {value!r}.")


def _semantic_fpn(config: Config) -> SemanticFPNHead:
    semantic = config.model.semantic
    levels = tuple(semantic.levels)
    require(
        levels != () and levels == LEVELS[-len(levels) :], "semantic.levels",
        "the coarsest of p2..p5, finest first, such as ('p3', 'p4', 'p5')", levels,
    )  # fmt: skip
    _require_groups(config, "conv_dim")
    return SemanticFPNHead(config.num_classes, levels, semantic.conv_dim, semantic.norm)


def _deeplabv3(config: Config) -> DeepLabV3Head:
    return DeepLabV3Head(config.num_classes, _aspp(config))


def _deeplabv3plus(config: Config) -> DeepLabV3PlusHead:
    _require_groups(config, "low_level_dim")
    return DeepLabV3PlusHead(config.num_classes, _aspp(config), config.model.semantic.low_level_dim)


def _aspp(config: Config) -> ASPP:
    semantic, stride = config.model.semantic, backbone_options(config).strides()[-1]
    height, width = config.data.crop_hw
    window = height // stride, width // stride
    rates = tuple(rate * 16 // stride for rate in semantic.aspp_dilations)
    require(
        min(rates) > 0, "semantic.aspp_dilations", "rates of at least 2 at output stride 32, where "
        "they are halved", tuple(semantic.aspp_dilations),
    )  # fmt: skip
    _require_groups(config, "aspp_dim")
    return ASPP(
        stride=stride,
        dim=semantic.aspp_dim,
        dilations=rates,
        norm=semantic.norm,
        dropout=semantic.aspp_dropout,
        pool_hw=window if semantic.aspp_pool == "crop" else None,
    )


def _require_groups(config: Config, field: str) -> None:
    """Channels of a map that is normalised must fall into the 32 groups of a group norm."""
    semantic = config.model.semantic
    holds = semantic.norm != "group_norm" or semantic[field] % 32 == 0
    require(holds, f"semantic.{field}", "a multiple of 32 with group_norm", semantic[field])


SEMANTIC_HEADS: Registry[SemanticHeadSpec] = Registry(
    "config.model.semantic.coarse_head",
    {
        "semantic_fpn": SemanticHeadSpec(_semantic_fpn, reads_fpn=True),
        "deeplabv3": SemanticHeadSpec(_deeplabv3),
        "deeplabv3plus": SemanticHeadSpec(_deeplabv3plus),
    },
)
