"""What programs put around the names of a model's tensors, and whose names are not Detectron2's.

DataParallel writes `module.`, torch.compile `_orig_mod.`, Lightning the attribute that holds the
model, an average of the weights its own; they may lie in one another. Nothing is known of them
here: what all names begin with is taken off where names that are read lie behind it.
"""

import re
from collections import Counter
from collections.abc import Iterable

from pointrend_jax.messages import first

# How names begin that are read: Detectron2's models and backbones, Caffe2's blobs, torchvision's.
_KNOWN = re.compile(
    r"backbone\.(bottom_up|stem|res[2-5]|fpn_)|proposal_generator\.|sem_seg_head\."
    r"|roi_heads\.(box|mask)_\w"
    r"|(stem|res[2-5])\.\w|res[2-5]_\d+_branch|conv1_w$|layer[1-4]\.\d+\.(conv|bn|downsample)"
)
# What may lie beside a model, without the prefix of its names.
_BESIDE = ("n_averaged", "num_updates", "decay", "iteration", "pixel_mean", "pixel_std")
# Whose names begin so; of those that fit, the first.
_LIBRARIES = (
    (
        r"(neck|bbox_head|rpn_head|roi_head|decode_head|auxiliary_head)\.",
        "OpenMMLab (mmdetection, mmsegmentation)",
    ),
    (r"rpn\.anchor_generator|roi_heads\.(box|mask)\.", "maskrcnn-benchmark"),
    (r"backbone\.(body|fpn)\.|rpn\.head\.", "torchvision's detection models"),
    (r"backbone\.layer[1-4]\.", "torchvision's segmentation models"),
    (r"model\.\d+\.|\d+\.(conv|cv\d)\.", "Ultralytics (YOLO)"),
    (r"(detr\.|class_embed|bbox_embed|transformer\.(en|de)coder)", "DETR and its like"),
)


def shared_wrapper(names: Iterable[str], *, ignored: tuple[str, ...] = ()) -> str:
    """The prefix that all names have and names that are read lie behind; "" if there is none.

    Args:
      ignored: beginnings of names that do not count.
    Raises: ValueError if names that are read lie behind several prefixes, or not all names behind
      one: of a trained model and its average it is not known which is meant.
    """
    names = [n for n in names if n not in _BESIDE and not n.startswith(ignored)]
    if any(_KNOWN.match(name) for name in names):
        return ""
    found = Counter(wrapper for name in names if (wrapper := _wrapper(name)))
    if len(found) == 1 and all(name.startswith(tuple(found)) for name in names):
        return next(iter(found))
    if not found or foreign_library(names):
        return ""
    counts = first([f"{n} behind {w!r}" for w, n in found.most_common()], 8)
    raise ValueError(
        f"of its {len(names)} tensors those of a model lie behind a prefix ({counts}), which not "
        "all names have; save the tensors of one model alone, or name the beginnings of the others "
        "in config.init.ignore."
    )


def _wrapper(name: str) -> str:
    """What stands before the first part of a name at which a name that is read begins."""
    start = 0
    while start < len(name):
        if _KNOWN.match(name, start):
            return name[:start]
        dot = name.find(".", start)
        if dot < 0:
            break
        start = dot + 1
    return ""


def foreign_library(names: Iterable[str]) -> str:
    """The library whose models have such names; "" if none is known, or most names are read."""
    names = list(names)
    if 2 * sum(bool(_KNOWN.match(name)) for name in names) > len(names):
        return ""
    return next((who for start, who in _LIBRARIES if any(re.match(start, n) for n in names)), "")
