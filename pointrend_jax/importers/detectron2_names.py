"""Brings the tensor names of every scheme that is read to Detectron2's current ones.

The schemes: whole Detectron2 models (old PointRend names upgraded), Detectron2 backbones without
their prefix, Caffe2 blobs (the ImageNet backbones of MSRA and FAIR), torchvision's ResNets, and
EfficientNet-Lite as the PyTorch port calls it, which gets names in Detectron2's manner.
Only names change: neither values, nor layouts, nor types. A name that no rule knows passes
unchanged, so that the strict name map of the model reports it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from pointrend_jax.importers.wrappers import shared_wrapper
from pointrend_jax.messages import shown

Scheme = Literal[
    "detectron2",
    "detectron2_backbone",
    "caffe2_backbone",
    "torchvision_backbone",
    "efficientnet_lite_backbone",
]

# Known and not needed in any scheme: counters, and what our configs hold.
_UNNEEDED = re.compile(
    r"(^|\.)num_batches_tracked$|(^|\.)anchor_generator\.|^pixel_(mean|std)$|^iteration$"
    r"|^n_averaged$"
)
# The classifiers of ImageNet backbones, momenta, and the bias of MSRA's stem: Detectron2's stem has
# none, and its published models were trained from these files without it.
_UNNEEDED_OF: dict[str, re.Pattern[str] | None] = {
    "detectron2": None,
    "detectron2_backbone": re.compile(r"^(stem\.)?(fc|fc1000|linear)\.(weight|bias)$"),
    "caffe2_backbone": re.compile(r"^(fc1000|pred)_[wb]$|_momentum$|^conv1_b$"),
    "torchvision_backbone": re.compile(r"^fc\.(weight|bias)$"),
    "efficientnet_lite_backbone": re.compile(r"^(_conv_head|_bn1|_fc)\.\w+$"),
}

# Detectron2's upgrade of PointRend models from before format version 2.
_OLD_POINTREND = (
    (re.compile(r"^roi_heads\.mask_point_head\."), "roi_heads.mask_head.point_head."),
    (re.compile(r"^roi_heads\.mask_coarse_head\."), "roi_heads.mask_head.coarse_head."),
    (
        re.compile(r"^(roi_heads\.mask_head\.coarse_head)\.coarse_mask_(fc\d+)\."),
        r"\1.\2.",
    ),
)

_WHOLE_MODEL = ("backbone.", "proposal_generator.", "roi_heads.", "sem_seg_head.")
_BACKBONE_NAME = re.compile(r"^(stem|res[2-5])\.")

_CAFFE2_BLOCK = re.compile(r"^res([2-5])_(\d+)_branch(1|2a|2b|2c)_(\w+)$")
_CAFFE2_STEM = re.compile(r"^(?:res_)?conv1_(w|bn_\w+)$")
_CAFFE2_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_CAFFE2_ARRAYS = {
    "w": "weight",
    "bn_s": "norm.weight",
    "bn_gamma": "norm.weight",
    "bn_b": "norm.bias",
    "bn_beta": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_running_mean": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_var": "norm.running_var",
}
_CAFFE2_DETECTION = re.compile(
    r"^(fpn_|rpn_|conv_rpn|retnet_|bbox_pred|cls_score|mask_|kps_|fc[67]_)"
)

_TORCHVISION_STEM = re.compile(r"^(conv1|bn1)\.(\w+)$")
_TORCHVISION_BLOCK = re.compile(
    r"^layer([1-4])\.(\d+)\.(?:(conv|bn)([123])|downsample\.([01]))\.(\w+)$"
)

_LITE_STEM = re.compile(r"^_(conv_stem|bn0)\.(\w+)$")
_LITE_BLOCK = re.compile(r"^_blocks\.(\d+)\._(?:(expand|depthwise|project)_conv|bn([012]))\.(\w+)$")
_LITE_NORMS = {"0": "expand", "1": "depthwise", "2": "project"}


class CanonicalTensors(NamedTuple):
    """Tensors under Detectron2's names.

    `renamed` maps old to new names, `dropped` lists the old names that no model needs, sorted;
    `wrapper` is the prefix that all old names had and none of ours has.
    Batch norms without statistics get them: mean 0, variance 1.
    """

    tensors: dict[str, np.ndarray]
    scheme: Scheme
    renamed: dict[str, str]
    dropped: tuple[str, ...]
    wrapper: str


def canonical_names(
    tensors: Mapping[str, np.ndarray],
    *,
    backbone_prefix: str = "backbone.bottom_up.",
    ignored: tuple[str, ...] = (),
) -> CanonicalTensors:
    """Recognises the naming scheme and renames to Detectron2's names.

    Args:
      backbone_prefix: where the tensors of a backbone file belong; "backbone." for a model without
        FPN.
      ignored: beginnings of names that need no prefix where all others have one.

    Raises: ValueError if two tensors get one name, for a detection model in Caffe2's names, or if
      several models lie behind prefixes.
    Source: Detectron2 checkpoint/c2_model_loading.py and projects/PointRend.
    """
    wrapper = shared_wrapper(tensors, ignored=ignored)
    bare = {name.removeprefix(wrapper): name for name in tensors}
    scheme = _scheme(bare)
    rename = _RENAMES[scheme]
    unneeded = _UNNEEDED_OF[scheme]
    result: dict[str, np.ndarray] = {}
    origins: dict[str, str] = {}
    dropped = []
    for name, original in bare.items():
        if _UNNEEDED.search(name) or (unneeded and unneeded.search(name)):
            dropped.append(original)
            continue
        new_name = rename(name, backbone_prefix)
        if new_name in origins:
            raise ValueError(
                f"The tensors {shown(origins[new_name])} and {shown(original)} both mean "
                f"{shown(new_name)}; the file "
                "mixes two versions of one model. Remove one of them."
            )
        origins[new_name] = original
        result[new_name] = tensors[original]
    if scheme == "caffe2_backbone":
        _add_missing_statistics(result)
    renamed = {original: name for name, original in origins.items() if name != original}
    return CanonicalTensors(result, scheme, renamed, tuple(sorted(dropped)), wrapper)


def _scheme(names: Mapping[str, str]) -> Scheme:
    if any(_CAFFE2_BLOCK.match(name) or name == "conv1_w" for name in names):
        detection = sorted(name for name in names if _CAFFE2_DETECTION.match(name))
        if detection:
            raise ValueError(
                f"The tensors are those of a whole detection model of Caffe2 ({detection[0]} and "
                f"{len(detection) - 1} others beside the backbone); only Caffe2 backbones are "
                "read. Convert it with Detectron2 first."
            )
        return "caffe2_backbone"
    if any(_TORCHVISION_BLOCK.match(name) for name in names):
        return "torchvision_backbone"
    if any(_LITE_BLOCK.match(name) for name in names):
        return "efficientnet_lite_backbone"
    whole = any(name.startswith(_WHOLE_MODEL) for name in names)
    if not whole and any(_BACKBONE_NAME.match(name) for name in names):
        return "detectron2_backbone"
    return "detectron2"


def _rename_detectron2(name: str, _prefix: str) -> str:
    for pattern, replacement in _OLD_POINTREND:
        name = pattern.sub(replacement, name)
    return name


def _rename_detectron2_backbone(name: str, prefix: str) -> str:
    return prefix + name if _BACKBONE_NAME.match(name) else name


def _rename_caffe2(name: str, prefix: str) -> str:
    if (stem := _CAFFE2_STEM.match(name)) and stem[1] in _CAFFE2_ARRAYS:
        return f"{prefix}stem.conv1.{_CAFFE2_ARRAYS[stem[1]]}"
    if (block := _CAFFE2_BLOCK.match(name)) and block[4] in _CAFFE2_ARRAYS:
        stage, index, branch, array = block.groups()
        return f"{prefix}res{stage}.{index}.{_CAFFE2_BRANCHES[branch]}.{_CAFFE2_ARRAYS[array]}"
    return name


def _rename_torchvision(name: str, prefix: str) -> str:
    if stem := _TORCHVISION_STEM.match(name):
        layer, array = stem.groups()
        return f"{prefix}stem.conv1.{'norm.' if layer == 'bn1' else ''}{array}"
    if block := _TORCHVISION_BLOCK.match(name):
        layer, index, kind, number, downsample, array = block.groups()
        path = f"conv{number}" if kind else "shortcut"
        norm = "norm." if kind == "bn" or downsample == "1" else ""
        return f"{prefix}res{int(layer) + 1}.{index}.{path}.{norm}{array}"
    return name


def _rename_efficientnet_lite(name: str, prefix: str) -> str:
    if stem := _LITE_STEM.match(name):
        layer, array = stem.groups()
        return f"{prefix}stem.conv1.{'norm.' if layer == 'bn0' else ''}{array}"
    if block := _LITE_BLOCK.match(name):
        index, conv, norm, array = block.groups()
        layer = conv or _LITE_NORMS[norm]
        return f"{prefix}block{index}.{layer}.{'norm.' if norm else ''}{array}"
    return name


_RENAMES: dict[Scheme, Callable[[str, str], str]] = {
    "detectron2": _rename_detectron2,
    "detectron2_backbone": _rename_detectron2_backbone,
    "caffe2_backbone": _rename_caffe2,
    "torchvision_backbone": _rename_torchvision,
    "efficientnet_lite_backbone": _rename_efficientnet_lite,
}


def _add_missing_statistics(tensors: dict[str, np.ndarray]) -> None:
    """Caffe2's batch norms are often folded into scale and bias; Detectron2 fills in 0 and 1."""
    for name in [name for name in tensors if name.endswith(".norm.weight")]:
        norm, scale = name.removesuffix("weight"), tensors[name]
        tensors.setdefault(f"{norm}running_mean", np.zeros_like(scale))
        tensors.setdefault(f"{norm}running_var", np.ones_like(scale))
