"""What a kit's training run was given: images, ground truth, and the numbers it called random.

The kit numbers the random calls of Detectron2; here they become the `InstanceNoise` of our step. A
permutation of the candidates in ascending order becomes the rank of each candidate.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parity import recipe
from parity.compare import Golden
from parity.kit import KitModel, on_canvas, read_pixels
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.regions import Regions
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.models.mask_rcnn import InstanceNoise, MaskRCNN
from pointrend_jax.ops.boxes import anchors_of
from pointrend_jax.ops.matching import match_boxes
from pointrend_jax.pointrend import CandidatePoints
from pointrend_jax.structures import ObjectBatch, Proposals


class Samples(NamedTuple):
    """Everything that a step chooses before its losses."""

    proposals: Proposals
    anchor_labels: Any  # [B, A] 1, 0, -1
    anchor_gt: Any  # [B, A]
    roi_labels: Any  # [B, R + G]
    box_samples: Any
    regions: Regions


class PinnedCalls:
    """The kit's random numbers, in the order of its calls, and whether our calls fit them."""

    def __init__(self, tag: str, calls: list[Any]) -> None:
        self.tag = tag
        self.permutations = [int(n) for kind, n in calls if kind == "randperm"]
        self.uniforms = [tuple(shape) for kind, shape in calls if kind == "rand"]
        # Calls of another size than ours: something was chosen from other candidates.
        self.misfits = 0

    def ranks(self, number: int, candidates: np.ndarray) -> np.ndarray:
        """The place of each of the candidates (in ascending order) in permutation `number`."""
        self.misfits += len(candidates) != self.permutations[number]
        order = recipe.permutation(f"{self.tag}/train", f"randperm{number}", len(candidates))
        ranks = np.empty(len(candidates), np.float32)
        ranks[order] = np.arange(len(candidates))
        return ranks

    def uniform(self, number: int, valid: np.ndarray) -> np.ndarray:
        """Numbers [N, P, 2] for our slots: theirs, in order, in the valid ones."""
        shape = self.uniforms[number]
        numbers = recipe.uniform(f"{self.tag}/train", f"rand{number}", shape)
        self.misfits += int(valid.sum()) != shape[0]
        slots = np.zeros((len(valid), *shape[1:]), np.float32)
        used = np.flatnonzero(valid)[: shape[0]]
        slots[used] = numbers[: len(used)]
        return slots


def training_batch(kit: Path, golden: Golden) -> ObjectBatch:
    number = sum(key.endswith("/id") and key.startswith("image") for key in golden)
    images, truths = [], []
    for i in range(number):
        g = {k: golden[f"image{i}/{k}"] for k in ("id", "hw", "crc32", "gt_boxes", "gt_classes")}
        hw = (int(g["hw"][0]), int(g["hw"][1]))
        images.append(read_pixels(kit, int(g["id"]), hw, int(g["crc32"])))
        truths.append((hw, g["gt_boxes"], g["gt_classes"], golden[f"image{i}/gt_mask_rle"]))
    height, width = (-(-max(t[0][axis] for t in truths) // 32) * 32 for axis in (0, 1))
    canvas = on_canvas(images, (height, width), (height, width))
    slots = max(len(t[1]) for t in truths)
    boxes = np.zeros((number, slots, 4), np.float32)
    classes = np.zeros((number, slots), np.int32)
    masks = np.zeros((number, slots, height, width), bool)
    valid = np.zeros((number, slots), bool)
    for i, (hw, gt_boxes, gt_classes, rles) in enumerate(truths):
        count = len(gt_boxes)
        boxes[i, :count], classes[i, :count], valid[i, :count] = gt_boxes, gt_classes, True
        for j, counts in enumerate(rles):
            mask = decode_rle({"size": list(hw), "counts": str(counts)})
            masks[i, j, : hw[0], : hw[1]] = mask
    return ObjectBatch(
        images=canvas.images,
        image_hw=canvas.image_hw,
        padded_hw=canvas.padded_hw,
        image_index=jnp.arange(number, dtype=jnp.int32),
        boxes=jnp.asarray(boxes),
        classes=jnp.asarray(classes),
        mask_bits=jnp.asarray(np.packbits(masks, axis=-1, bitorder="little")),
        valid=jnp.asarray(valid),
    )


def pinned_noise(
    kit: KitModel, batch: ObjectBatch, calls: PinnedCalls
) -> tuple[InstanceNoise, Samples]:
    """Noise that makes our choices those of the kit; found in the order in which they fall."""
    shapes = jax.eval_shape(
        lambda keys: kit.model.apply({}, keys, batch, method=MaskRCNN.draw_noise),
        jax.random.split(jax.random.key(0), len(batch.valid)),
    )
    noise = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    program = jax.jit(partial(kit.model.apply, method=choose))
    samples: Any = program(kit.variables, batch, noise)
    number = 0
    anchor, roi = np.zeros(noise.anchor_priority.shape), np.zeros(noise.roi_priority.shape)
    for priority, labels in ((anchor, samples.anchor_labels), (roi, samples.roi_labels)):
        for image, label in enumerate(np.asarray(labels)):
            for kind in (1, 0):
                candidates = np.flatnonzero(label == kind)
                priority[image, candidates] = calls.ranks(number, candidates)
                number += 1
    noise = noise._replace(
        anchor_priority=jnp.asarray(anchor, jnp.float32),
        roi_priority=jnp.asarray(roi, jnp.float32),
    )
    samples = program(kit.variables, batch, noise)
    return noise._replace(candidates=_points(kit, samples, calls, noise.candidates)), samples


def _points(
    kit: KitModel, samples: Samples, calls: PinnedCalls, like: CandidatePoints
) -> CandidatePoints:
    valid = np.asarray(samples.regions.valid)
    head = kit.model.mask_head
    if isinstance(head, ConvMaskHead):
        return like
    if isinstance(head, PointRendMaskHead):
        return CandidatePoints(*(jnp.asarray(calls.uniform(i, valid)) for i in (0, 1)))
    return like._replace(uniform=jnp.asarray(calls.uniform(0, valid)))


def choose(m: MaskRCNN, batch: ObjectBatch, noise: InstanceNoise) -> Samples:
    """What `MaskRCNN.losses` chooses, without its losses."""
    pyramid = m.pyramid(batch.images, batch.image_hw, batch.padded_hw)
    outputs = m.rpn(pyramid, batch.padded_hw)
    with jax.ensure_compile_time_eval():
        anchors = anchors_of(outputs.grids, jnp.arange(outputs.inside.shape[1]))

    def match_anchors(inside: Any, gt_boxes: Any, gt_valid: Any) -> Any:
        return match_boxes(
            anchors, gt_boxes, boxes_valid=inside, gt_valid=gt_valid,
            thresholds=m.rpn.iou_thresholds, allow_low_quality=True,
        )  # fmt: skip

    def roi_labels(boxes: Any, valid: Any, gt_boxes: Any, gt_valid: Any) -> Any:
        threshold = m.box_head.iou_threshold
        return match_boxes(
            jnp.concatenate([boxes, gt_boxes]), gt_boxes,
            boxes_valid=jnp.concatenate([valid, gt_valid]), gt_valid=gt_valid,
            thresholds=(threshold, threshold), allow_low_quality=False,
        ).labels  # fmt: skip

    proposals = m.rpn.propose(outputs, batch.image_hw, **m.proposals_train._asdict())
    samples = m.box_head.sample(proposals, batch, noise.roi_priority)
    deltas = m.box_head(pyramid, samples.boxes, batch.padded_hw).deltas
    anchor_gt, anchor_labels = jax.vmap(match_anchors)(outputs.inside, batch.boxes, batch.valid)
    return Samples(
        proposals=proposals,
        anchor_labels=anchor_labels,
        anchor_gt=anchor_gt,
        roi_labels=jax.vmap(roi_labels)(proposals.boxes, proposals.valid, batch.boxes, batch.valid),
        box_samples=samples,
        regions=m._mask_regions(samples, deltas),
    )
