"""Detectron2's parameters as variables of our models, and back.

Every array of ours has one rule: the Detectron2 name, and the layout that turns one into the other
(OIHW to HWIO, (out, in) to (in, out), the (C, H, W) order of flattened features to (H, W, C)). What
a rule needs to know, it reads from the shapes of our own arrays. Detectron2 has no
EfficientNet-Lite; its arrays get names in the same manner.
"""

import re
from collections.abc import Mapping

import numpy as np

from pointrend_jax.importers.layouts import (
    CONV,
    CONV_TRANSPOSE,
    DENSE,
    POINTWISE,
    VECTOR,
    Layout,
    flattened_inputs,
    flattened_outputs,
)
from pointrend_jax.importers.take_tensors import Rule, Shapes

# Leaf of ours to leaf of theirs.
_ARRAYS = {"kernel": "weight", "bias": "bias"}
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

# Our module to theirs; \1, \2 are the groups of the pattern. {trunk}, {aspp}: see `_rule`.
_MODULES = {
    r"backbone/stem/(?:conv|bn)": r"{trunk}stem.conv1",
    r"backbone/stem/(?:conv|bn)(\d)": r"{trunk}stem.conv\1",
    r"backbone/res(\d)_(\d+)/(?:conv|bn)(\d)": r"{trunk}res\1.\2.conv\3",
    r"backbone/res(\d)_(\d+)/shortcut_(?:conv|bn)": r"{trunk}res\1.\2.shortcut",
    r"backbone/(block\d+)/(expand|depthwise|project)_(?:conv|bn)": r"{trunk}\1.\2",
    r"fpn/(lateral|output)(\d)": r"backbone.fpn_\1\2",
    r"rpn/conv": "proposal_generator.rpn_head.conv",
    r"rpn/objectness": "proposal_generator.rpn_head.objectness_logits",
    r"rpn/deltas": "proposal_generator.rpn_head.anchor_deltas",
    r"box_head/fc(\d)": r"roi_heads.box_head.fc\1",
    r"box_head/classifier": "roi_heads.box_predictor.cls_score",
    r"box_head/deltas": "roi_heads.box_predictor.bbox_pred",
    r"mask_head/coarse_head/reduce": "roi_heads.mask_head.coarse_head.reduce_channel_dim_conv",
    r"mask_head/coarse_head/conv": "roi_heads.mask_head.coarse_head.reduce_spatial_dim_conv",
    r"mask_head/coarse_head/fc(\d)": r"roi_heads.mask_head.coarse_head.fc\1",
    r"mask_head/coarse_head/predictor": "roi_heads.mask_head.coarse_head.prediction",
    r"mask_head/point_head/fc(\d)": r"roi_heads.mask_head.point_head.fc\1",
    r"mask_head/point_head/predictor": "roi_heads.mask_head.point_head.predictor",
    r"mask_head/parameter_head/reduce": (
        "roi_heads.mask_head.parameter_head.reduce_channel_dim_conv"
    ),
    r"mask_head/parameter_head/conv": "roi_heads.mask_head.parameter_head.reduce_spatial_dim_conv",
    r"mask_head/parameter_head/fc(\d)": r"roi_heads.mask_head.parameter_head.fc\1",
    r"mask_head/parameter_head/predictor": "roi_heads.mask_head.parameter_head.prediction",
    r"mask_head/conv(\d)": r"roi_heads.mask_head.mask_fcn\1",
    r"mask_head/deconv": "roi_heads.mask_head.deconv",
    r"mask_head/predictor": "roi_heads.mask_head.predictor",
    r"coarse_head/(p\d)_0_(?:conv|norm)": r"sem_seg_head.{coarse}\1.0",
    r"coarse_head/(p\d)_1_(?:conv|norm)": r"sem_seg_head.{coarse}\1.2",
    r"coarse_head/(p\d)_2_(?:conv|norm)": r"sem_seg_head.{coarse}\1.4",
    r"coarse_head/aspp/branch(\d)_(?:conv|norm)": r"sem_seg_head.{coarse}{aspp}convs.\1",
    r"coarse_head/aspp/pooled": r"sem_seg_head.{coarse}{aspp}convs.4.1",
    r"coarse_head/aspp/project_(?:conv|norm)": r"sem_seg_head.{coarse}{aspp}project",
    r"coarse_head/low_level_(?:conv|norm)": "sem_seg_head.decoder.res2.project_conv",
    r"coarse_head/fuse(\d)_(?:conv|norm)": r"sem_seg_head.decoder.res2.fuse_conv.\1",
    r"coarse_head/predictor": "sem_seg_head.{coarse}predictor",
    r"point_head/point_head/fc(\d)": r"sem_seg_head.point_head.fc\1",
    r"point_head/point_head/predictor": "sem_seg_head.point_head.predictor",
}
_FREQUENCIES = "roi_heads.mask_head.point_head.positional_encoding_gaussian_matrix"

# Layers that see flattened maps: module of ours, and the module whose output they flatten.
_FLATTENS = {
    "box_head/fc1": "fpn/output2",
    "mask_head/coarse_head/fc1": "mask_head/coarse_head/conv",
    "mask_head/parameter_head/fc1": "mask_head/parameter_head/conv",
}


def detectron2_rules(shapes: Shapes, own_modules: tuple[str, ...] = ()) -> dict[str, Rule]:
    """The rule of every array of a model.

    Args:
      shapes: of all arrays, by path: "params/fpn/lateral2/kernel", "buffers/backbone/stem/bn/mean".
      own_modules: those that Detectron2 does not have, as "backbone"; the name of an array of them
        is its path, and its layout ours.
    Raises: ValueError if the model has another array of which no name is known.
    """

    def is_own(path: str) -> bool:
        return path.partition("/")[2].partition("/")[0] in own_modules

    return {p: Rule(p, VECTOR) if is_own(p) else _rule(p, shapes) for p in shapes}


def export_detectron2(
    arrays: Mapping[str, np.ndarray],
    shapes: Shapes | None = None,
    own_modules: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """The inverse: arrays of ours (parameters, gradients) under Detectron2's names and layouts.

    Args:
      shapes: of the whole model, where `arrays` are a part of it.
      own_modules: as of `detectron2_rules`.
    """
    shapes = shapes or {path: tuple(a.shape) for path, a in arrays.items()}
    rules = detectron2_rules(shapes, own_modules)
    return {rules[p].name: rules[p].layout.store(np.asarray(a)) for p, a in arrays.items()}


def _rule(path: str, shapes: Shapes) -> Rule:
    collection, _, rest = path.partition("/")
    module, _, leaf = rest.rpartition("/")
    if path == "buffers/mask_head/point_head/frequencies":
        return Rule(_FREQUENCIES, VECTOR)
    for pattern, replacement in _MODULES.items():
        match = re.fullmatch(pattern, module)
        if match is None:
            continue
        theirs = match.expand(replacement).format(**_places(shapes))
        is_norm = f"params/{module}/kernel" not in shapes
        if is_norm and leaf in _NORM:
            return Rule(f"{theirs}.norm.{_NORM[leaf]}", VECTOR)
        if not is_norm and collection == "params" and leaf in _ARRAYS:
            return Rule(f"{theirs}.{_ARRAYS[leaf]}", _layout(module, leaf, shapes))
    raise ValueError(
        f"the array {path} has no name in a weights file: only models of ResNet, ResNeXt and "
        "EfficientNet-Lite have, Mask R-CNN and semantic ones."
    )


def _places(shapes: Shapes) -> dict[str, str]:
    """Detectron2 has the backbone and the coarse semantic head in other places of other models."""
    has_points = "params/point_head/point_head/predictor/kernel" in shapes
    has_decoder = "params/coarse_head/low_level_conv/kernel" in shapes
    return {
        "trunk": backbone_prefix(shapes),
        "coarse": "coarse_sem_seg_head." if has_points else "",
        "aspp": "decoder.res5.project_conv." if has_decoder else "aspp.",
    }


def backbone_prefix(shapes: Shapes) -> str:
    """How the names of the backbone's tensors begin, in a model with an FPN or without."""
    has_fpn = "params/fpn/lateral2/kernel" in shapes
    return "backbone.bottom_up." if has_fpn else "backbone."


def _layout(module: str, leaf: str, shapes: Shapes) -> Layout:
    """The layout of a kernel or bias; biases change only where outputs are flattened maps."""
    if module == "mask_head/coarse_head/predictor":
        num_classes = shapes["params/box_head/classifier/bias"][0] - 1
        return flattened_outputs(num_classes)
    if leaf == "bias":
        return VECTOR
    if module in _FLATTENS:
        return flattened_inputs(shapes[f"params/{_FLATTENS[module]}/bias"][0])
    if module == "mask_head/deconv":
        return CONV_TRANSPOSE
    if "point_head/" in module:
        return POINTWISE
    return CONV if len(shapes[f"params/{module}/kernel"]) == 4 else DENSE
