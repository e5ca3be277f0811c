"""The arrays of infer_*.npz and heads.npz (the parity kit's README), from `reference.Reference`.

Left out of this file: where weights and images come from (make_kit.py) and how two sets of arrays
are compared (check_kit.py).
"""

import math
import zlib

import numpy as np
import torch
from pycocotools import mask as coco_mask

from parity import recipe
from parity.second_kit.reference import (
    RPN_LEVELS,
    STRIDES,
    Detections,
    Proposals,
    Reference,
    clip,
    nonempty,
    paste,
    regular_grid,
)

MAPS = ("normalized", "stem", "res2", "res3", "res4", "res5", "p2", "p3", "p4", "p5", "p6")


@torch.no_grad()
def infer_arrays(
    model: Reference,
    pixels: np.ndarray,
    image_id: int,
    out_hw,
    proposals=None,
    detections=None,
    which=None,
) -> dict[str, np.ndarray]:
    """Every array of one infer_*.npz.

    Args:
      pixels: uint8 (H, W, 3), already resized.
      out_hw: height and width of the photo before resizing.
      proposals, detections: fed to the next stage in place of the model's own, where given.
      which: the two instances to store in detail; chosen by `pick_instances` if left out.
    """
    image_hw = pixels.shape[:2]
    normalized = model.normalize(pixels)
    maps = model.features(normalized)
    out = {
        "input/image_id": np.array(image_id),
        "input/crc32": np.array(zlib.crc32(np.ascontiguousarray(pixels).tobytes())),
        "input/hw": np.array(image_hw),
        "input/padded_hw": np.array(normalized.shape[2:]),
    }
    for name in MAPS:
        out |= prefixed(
            f"map/{name}", map_arrays(normalized if name == "normalized" else maps[name])
        )
    return out | head_arrays(model, maps, image_hw, out_hw, proposals, detections, which)


@torch.no_grad()
def head_arrays(
    model: Reference, maps: dict, image_hw, out_hw, proposals=None, detections=None, which=None
) -> dict[str, np.ndarray]:
    """Everything after the FPN: the arrays that infer_*.npz and heads.npz share."""
    out = {}
    logits, deltas = model.rpn(maps)
    for level, pair in enumerate(zip(logits, deltas, strict=True)):
        out |= prefixed(f"rpn/{level}", rpn_arrays(*pair))
    if proposals is None:
        proposals = model.proposals(logits, deltas, model.anchors(maps), image_hw)
    out["proposals/boxes"], out["proposals/logits"] = proposals.boxes, proposals.logits

    pooled = model.roi_features(maps, proposals.boxes, 7)
    logits, deltas = model.box_head(pooled)
    rows = torch.arange(0, len(proposals.boxes), max(1, len(proposals.boxes) // 32))
    out |= {
        "box/rows": rows,
        "box/pooled": pooled[rows, ::32],
        "box/pooled_mean_std": mean_std(pooled),
    }
    out |= {"box/logits": logits[rows], "box/deltas": deltas[rows]}
    if detections is None:
        detections = model.detections(logits, deltas, proposals.boxes, image_hw)
    out |= prefixed("det", vars(detections))

    mask_arrays, mask_logits = mask_stage(model, maps, detections, which)
    out |= prefixed("mask", mask_arrays)
    out |= prefixed("out", output_arrays(detections, mask_logits, image_hw, out_hw))
    return {key: np.asarray(value) for key, value in out.items()}


def seeded_features(tag: str, hw, scales) -> dict[str, torch.Tensor]:
    """The feature maps of heads.npz: p2..p6 of a padded input of size `hw`."""
    maps = {}
    for level, scale in zip(RPN_LEVELS, scales, strict=True):
        shape = (1, 256, *(math.ceil(n / STRIDES[level]) for n in hw))
        noise = recipe.normal(tag, f"features/{level}", shape, scale=scale)
        maps[level] = torch.as_tensor(noise)
    return maps


def prefixed(prefix: str, arrays: dict) -> dict:
    return {f"{prefix}/{key}": value for key, value in arrays.items()}


def mean_std(x: torch.Tensor, ddof: int = 0) -> np.ndarray:
    x = x.numpy().astype(np.float64)
    return np.array([x.mean(), x.std(ddof=ddof)])


def map_arrays(x: torch.Tensor) -> dict:
    channels, h, w = x.shape[1:]
    stride = (max(1, channels // 16), max(1, h // 10), max(1, w // 10))
    exact = x.numpy().astype(np.float64)
    return {
        "shape": np.array(x.shape),
        "stride": np.array(stride),
        "sample": x[:, :: stride[0], :: stride[1], :: stride[2]].numpy(),
        "mean_std_absmax": np.array([exact.mean(), exact.std(), np.abs(exact).max()]),
        "channel_mean": exact.mean(axis=(0, 2, 3)).astype(np.float32),
    }


def rpn_arrays(logits: torch.Tensor, deltas: torch.Tensor) -> dict:
    stride = max(1, len(logits) // 768)
    return {
        "stride": np.array(stride),
        "num": np.array(len(logits)),
        "logits": logits[::stride],
        "deltas": deltas[::stride],
        "mean_std": np.stack([mean_std(logits, ddof=1), mean_std(deltas, ddof=1)]),
    }


def mask_stage(model: Reference, maps, detections: Detections, which) -> tuple[dict, torch.Tensor]:
    """The arrays mask/*, and the own-class logits of all instances at the finest resolution."""
    boxes, classes = detections.boxes, detections.classes
    rows = torch.arange(len(boxes))
    pooled = model.mask_pooled(maps, boxes)

    if model.head == "MaskRCNNConvUpsampleHead":
        all_classes = model.four_conv_head(pooled)
        final = all_classes[rows, classes]
        which = pick_instances(detections, final) if which is None else which
        arrays = {"which": which, "pooled": pooled[which, ::8]}
        arrays |= {"logits_own_class": final[:, ::2, ::2], "logits_all_classes": all_classes[0]}
        return arrays, final

    implicit = model.head == "ImplicitPointRendMaskHead"
    state = model.parameter_head(pooled) if implicit else model.coarse_head(pooled)
    steps = model.subdivide(maps, boxes, classes, state)
    final = steps[-1].logits
    which = pick_instances(detections, final) if which is None else which
    arrays = {"which": which, "pooled": pooled[which, ::8]}
    if implicit:
        every = (97, 97 * 31)
        arrays |= {"parameters_every": np.array(every), "parameters": state[which, :: every[0]]}
        arrays["parameters_all_instances"] = state[:, :: every[1]]
    else:
        arrays |= {"coarse_own_class": state[rows, classes], "coarse_all_classes": state[which]}
    coords = regular_grid(model.point_start, model.point_start)
    first = model.point_logits(maps, boxes[which], state[which], coords.expand(len(which), -1, -1))
    arrays |= prefixed("step0", {
        "coords": coords[0],
        "all_classes_point_400": first[:, :, 400],
        "logits_all_instances": steps[0].logits[:, 1::3, 1::3].half(),
        "logits": steps[0].logits[which],
    })  # fmt: skip
    for number, step in enumerate(steps[1:], start=1):
        arrays |= prefixed(f"step{number}", {
            "kth_uncertainty": step.kth_uncertainty,
            "next_uncertainty": step.next_uncertainty,
            "indices": step.indices[which].int(),
            "point_logits": step.point_logits[which],
        })  # fmt: skip
    arrays["step1/logits"] = steps[1].logits[which]
    arrays["step2/logits"] = steps[2].logits[which[:1]]
    arrays["final_logits"] = final[which[:1]]
    arrays["final_all_instances"] = final[:, 8::16, 8::16].half()
    arrays["final_positive_fraction"] = (final > 0).double().mean((1, 2))
    return arrays, final


def pick_instances(detections: Detections, final_logits: torch.Tensor) -> torch.Tensor:
    """The largest middle-sized instance and the largest of another class, masks not empty or full.

    Very large boxes are left out: rounding moves them most, and their finest masks with them.
    """
    size = detections.boxes[:, 2:] - detections.boxes[:, :2]
    fraction = (final_logits > 0).float().mean((1, 2))
    usable = ((size > 24) & (size < 160)).all(1) & (fraction > 0.2) & (fraction < 0.8)
    order = torch.argsort(size.prod(1) * usable, descending=True)
    first = order[0]
    second = next(i for i in order[1:] if detections.classes[i] != detections.classes[first])
    if not (usable[first] and usable[second]):
        raise ValueError(
            "fewer than two middle-sized instances with a mask of 20% to 80% of the box"
        )
    return torch.stack([first, second])


def output_arrays(detections: Detections, mask_logits: torch.Tensor, image_hw, out_hw) -> dict:
    """Boxes scaled to the photo and clipped, empty ones dropped, masks pasted."""
    scale = [out_hw[1] / image_hw[1], out_hw[0] / image_hw[0]] * 2
    boxes = clip(detections.boxes * torch.tensor(scale), out_hw)
    keep = nonempty(boxes)
    masks = [paste(m, b, out_hw) for m, b in zip(mask_logits[keep], boxes[keep], strict=True)]
    rles = [coco_mask.encode(np.asfortranarray(m.numpy().astype(np.uint8))) for m in masks]
    return {
        "hw": np.array(out_hw),
        "boxes": boxes[keep],
        "scores": detections.scores[keep],
        "classes": detections.classes[keep],
        "areas": np.array([int(m.sum()) for m in masks]),
        "rle": np.array([r["counts"].decode() for r in rles]),
    }


def stored_proposals(arrays) -> Proposals:
    return Proposals(*(torch.as_tensor(arrays[f"proposals/{key}"]) for key in ("boxes", "logits")))


def stored_detections(arrays) -> Detections:
    keys = ("boxes", "scores", "classes", "proposal_index")
    return Detections(*(torch.as_tensor(arrays[f"det/{key}"]) for key in keys))
