"""From configuration names to the modules of semantic segmentation."""

from pointrend_jax.config_rules import check_model_fields
from pointrend_jax.layers.fpn import FPN, STRIDES
from pointrend_jax.layers.parts import SemanticHead, check_module
from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.semantic_point_head import SemanticPointRend, probability_uncertainty
from pointrend_jax.models.backbones import BackboneOptions, build_backbone
from pointrend_jax.models.point_training import require_default, semantic_training
from pointrend_jax.models.precision import compute_dtype
from pointrend_jax.models.semantic_heads import LEVELS, SEMANTIC_HEADS, require
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.pointrend import multiclass_uncertainty
from pointrend_jax.structures import Config

_UNCERTAINTIES = {"logits": multiclass_uncertainty, "probabilities": probability_uncertainty}


def build_semantic_model(config: Config) -> SemanticSegmentor:
    """The network of `config.model`, with the heads of `config.model.semantic`.

    Raises: ValueError, naming the field, for a wrong value.
    """
    check_model_fields(config, "semantic")
    model, semantic = config.model, config.model.semantic
    _check_choices(config)
    module, spec, options, pixels = build_backbone(config)
    has_fpn = SEMANTIC_HEADS[semantic.coarse_head].reads_fpn
    coarse_head = _coarse_head(config)
    if not semantic.pointrend:
        for field in ("model.semantic.sampler", "model.semantic.point_loss"):
            without = "config.model.semantic.pointrend False"
            require_default(config, field, without, "only PointRend trains at points")
    return SemanticSegmentor(
        num_classes=config.num_classes,
        backbone=module,
        backbone_strides=options.strides(),
        map_scales=spec.map_scales,
        fpn=FPN(model.fpn_channels, spec.map_scales) if has_fpn else None,
        coarse_head=coarse_head,
        point_head=_point_head(config, options, coarse_head.stride) if semantic.pointrend else None,
        pixel_mean=pixels.mean,
        pixel_std=pixels.std,
        bgr=pixels.bgr,
        compute_dtype=compute_dtype(config),
        hard_pixel_fraction=(
            semantic.hard_pixel_fraction if semantic.loss == "hard_pixels" else None
        ),
        coarse_loss_weight=semantic.coarse_loss_weight,
    )


def _check_choices(config: Config) -> None:
    semantic = config.model.semantic
    for field, choices in (
        ("norm", ("group_norm", "batch_norm", "none")),
        ("aspp_pool", ("image", "crop")),
        ("loss", ("cross_entropy", "hard_pixels")),
        ("uncertainty", tuple(_UNCERTAINTIES)),
    ):
        require(
            semantic[field] in choices,
            f"semantic.{field}",
            f"one of {list(choices)}",
            semantic[field],
        )
    if not 2 <= config.num_classes <= 254:
        raise ValueError(
            "config.num_classes must be 2 to 254 for semantic segmentation (255 means ignored), "
            f"got {config.num_classes}."
        )


def _coarse_head(config: Config) -> SemanticHead:
    name = config.model.semantic.coarse_head
    spec = SEMANTIC_HEADS[name]
    stride = config.model.output_stride
    require(not spec.reads_fpn or stride == 32, "output_stride", "32 for the FPN", stride)
    head = spec.make(config)
    check_module(head, SemanticHead, f"config.model.semantic.coarse_head {name!r}")
    strides = (1, 2, 4, 8, 16, 32)
    what = f"that of a head whose stride is one of {strides}, not {head.stride}"
    require(head.stride in strides, "semantic.coarse_head", what, name)
    return head


def _point_head(config: Config, options: BackboneOptions, coarse_stride: int) -> SemanticPointRend:
    semantic, training = config.model.semantic, semantic_training(config)
    strides = dict(zip(("res2", "res3", "res4", "res5"), options.strides(), strict=True))
    if SEMANTIC_HEADS[semantic.coarse_head].reads_fpn:
        strides |= {level: STRIDES[level] for level in LEVELS}
    names = tuple(semantic.point_features)
    require(
        names != () and set(names) <= set(strides) and len(set(names)) == len(names),
        "semantic.point_features", f"some of {list(strides)}, each once", names,
    )  # fmt: skip
    steps = semantic.subdivision_steps
    require(
        coarse_stride % 2**steps == 0, "semantic.subdivision_steps",
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
        uncertainty=_UNCERTAINTIES[semantic.uncertainty],
        train_num_points=semantic.train_num_points,
        oversample_ratio=semantic.oversample_ratio,
        importance_sample_ratio=semantic.importance_sample_ratio,
        subdivision_steps=steps,
        subdivision_num_points=semantic.subdivision_num_points,
        sampler=training.sampler,
        point_loss=training.point_loss,
    )
