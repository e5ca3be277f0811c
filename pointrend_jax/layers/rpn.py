"""Region proposal network (Ren et al., 2015) on p2..p6: scores and deltas, proposals, losses."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.padding import inside_padded
from pointrend_jax.ops.boxes import (
    clip_boxes,
    decode_boxes,
    encode_boxes,
    grid_anchors,
    nonempty,
)
from pointrend_jax.ops.losses import LossTerm, binary_cross_entropy, l1
from pointrend_jax.ops.matching import match_boxes, sample_by_priority
from pointrend_jax.ops.nms import nms_sorted
from pointrend_jax.ops.scatter import take_distinct
from pointrend_jax.structures import ObjectBatch, Proposals


class RPNOutputs(NamedTuple):
    """Everything the head says, levels p2..p6 concatenated in the order (y, x, anchor).

    logits [B, A], deltas [B, A, 4], anchors [A, 4], inside [B, A]: False for anchors of the
    padding.
    level_sizes: anchors of each level.
    """

    logits: Array
    deltas: Array
    anchors: np.ndarray
    inside: Array
    level_sizes: tuple[int, ...]


class RPN(nn.Module):
    """The head, shared by all levels, and its configuration.

    Attributes: see `configs/base.py`, `model.rpn`.
    """

    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    iou_thresholds: tuple[float, float] = (0.3, 0.7)
    samples_per_image: int = 256
    positive_fraction: float = 0.5
    nms_threshold: float = 0.7

    @nn.compact
    def __call__(self, pyramid: dict[str, Array], padded_hw: Int[Array, "B 2"]) -> RPNOutputs:
        init = nn.initializers.normal(0.01)
        num_anchors = len(self.aspect_ratios)
        channels, dtype = pyramid["p2"].shape[-1], pyramid["p2"].dtype
        conv = Conv(channels, (3, 3), padding=1, dtype=dtype, kernel_init=init, name="conv")
        objectness = Conv(num_anchors, (1, 1), kernel_init=init, name="objectness")
        regression = Conv(4 * num_anchors, (1, 1), kernel_init=init, name="deltas")
        logits, deltas, anchors, inside = [], [], [], []
        for (name, stride), size in zip(STRIDES.items(), self.anchor_sizes, strict=True):
            x = pyramid[name]
            batch, height, width, _ = x.shape
            x = nn.relu(conv(x)).astype(jnp.float32)
            logits.append(objectness(x).reshape(batch, -1))
            deltas.append(regression(x).reshape(batch, -1, 4))
            anchors.append(grid_anchors((height, width), stride, size, self.aspect_ratios))
            cells = inside_padded(height, width, padded_hw, stride).reshape(batch, -1)
            inside.append(jnp.repeat(cells, num_anchors, axis=1))
        return RPNOutputs(
            logits=jnp.concatenate(logits, axis=1),
            deltas=jnp.concatenate(deltas, axis=1),
            anchors=np.concatenate(anchors),
            inside=jnp.concatenate(inside, axis=1),
            level_sizes=tuple(len(a) for a in anchors),
        )

    def propose(
        self,
        outputs: RPNOutputs,
        image_hw: Int[Array, "B 2"],
        *,
        pre_nms_topk: int,
        post_nms_topk: int,
    ) -> Proposals:
        """The best boxes of each image: top-k a level, clip, drop empty ones, NMS a level, top-k.

        No gradient flows through proposals. Source: Detectron2 find_top_rpn_proposals.
        """
        logits = jax.lax.stop_gradient(outputs.logits)
        deltas = jax.lax.stop_gradient(outputs.deltas)

        def of_image(logits: Array, deltas: Array, inside: Array, image_hw: Array) -> Proposals:
            index, levels = _top_k_of_levels(logits, inside, outputs.level_sizes, pre_nms_topk)
            boxes = decode_boxes(jnp.asarray(outputs.anchors)[index], deltas[index])
            boxes = clip_boxes(boxes, image_hw)
            valid = inside[index] & nonempty(boxes)
            order = jnp.argsort(jnp.where(valid, -logits[index], jnp.inf))
            boxes, scores = boxes[order], logits[index][order]
            kept, kept_valid = nms_sorted(
                boxes, levels[order], valid[order],
                iou_threshold=self.nms_threshold, max_outputs=post_nms_topk,
            )  # fmt: skip
            boxes = jnp.where(kept_valid[:, None], boxes[kept], 0.0)
            return Proposals(boxes, jnp.where(kept_valid, scores[kept], -jnp.inf), kept_valid)

        return jax.vmap(of_image)(logits, deltas, outputs.inside, image_hw)

    def losses(
        self, outputs: RPNOutputs, batch: ObjectBatch, priority: Float[Array, "B A"]
    ) -> dict[str, LossTerm]:
        """loss_rpn_cls and loss_rpn_loc; both are divided by `samples_per_image` x images.

        Args:
          priority: of each anchor for being sampled, lowest first.
        """
        anchors = jnp.asarray(outputs.anchors)

        def of_image(
            inside: Bool[Array, " A"], gt_boxes: Array, gt_valid: Array, priority: Array
        ) -> tuple[Array, Array, Array, Array]:
            matches = match_boxes(
                anchors, gt_boxes, boxes_valid=inside, gt_valid=gt_valid,
                thresholds=self.iou_thresholds, allow_low_quality=True,
            )  # fmt: skip
            index, foreground, valid = sample_by_priority(
                matches.labels == 1, matches.labels == 0, priority,
                num_samples=self.samples_per_image, positive_fraction=self.positive_fraction,
            )  # fmt: skip
            targets = encode_boxes(anchors[index], gt_boxes[matches.gt_index[index]])
            return index, foreground, valid, targets

        index, foreground, valid, targets = jax.vmap(of_image)(
            outputs.inside, batch.boxes, batch.valid, priority
        )
        logits = take_distinct(outputs.logits, index, valid)
        deltas = take_distinct(outputs.deltas, index, valid)
        count = jnp.asarray(self.samples_per_image * batch.valid.shape[0], jnp.float32)
        labels = foreground.astype(logits.dtype)
        return {
            "loss_rpn_cls": binary_cross_entropy(logits, labels, valid, count),
            "loss_rpn_loc": l1(deltas, targets, foreground, count),
        }


def _top_k_of_levels(
    logits: Float[Array, " A"],
    inside: Bool[Array, " A"],
    level_sizes: tuple[int, ...],
    topk: int,
) -> tuple[Int[Array, " k"], Int[Array, " k"]]:
    """Indices of the `topk` best anchors of each level, and their level."""
    index, levels, first = [], [], 0
    scores = jnp.where(inside, logits, -jnp.inf)
    for level, size in enumerate(level_sizes):
        _, best = jax.lax.top_k(scores[first : first + size], min(topk, size))
        index.append(best + first)
        levels.append(jnp.full(best.shape, level, jnp.int32))
        first += size
    return jnp.concatenate(index), jnp.concatenate(levels)
