"""Region proposal network (Ren et al., 2015) on p2..p6: scores and deltas, proposals, losses."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.conv import convolve, convolve_windows
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.padding import inside_padded
from pointrend_jax.ops.boxes import (
    AnchorGrid,
    anchors_of,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    nonempty,
)
from pointrend_jax.ops.losses import LossTerm, binary_cross_entropy, l1
from pointrend_jax.ops.matching import best_ground_truth, match_boxes, sample_by_priority
from pointrend_jax.ops.nms import nms_sorted
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.scatter import take_patches
from pointrend_jax.ops.top_k import top_k
from pointrend_jax.structures import ObjectBatch, Proposals


class RPNOutputs(NamedTuple):
    """Everything the head says of levels p2..p6; anchors in the order (y, x, anchor).

    logits, inside [B, A]: of all levels, one after another; inside is False for anchors of the
    padding.
    deltas: [B, cells, anchors of a cell * 4] of each level.
    grids: of each level.
    maps: [B, H, W, C] of each level, that all of it was made from. Logits and deltas serve
    proposals alone; `RPN.losses` computes those of its samples again, from the maps.
    """

    logits: Array
    deltas: tuple[Array, ...]
    inside: Array
    grids: tuple[AnchorGrid, ...]
    maps: tuple[Array, ...]


class _Weights(nn.Module):
    """Those of a convolution, with the names and first values that `Conv` gives them."""

    @nn.compact
    def __call__(self, *shape: int) -> tuple[Float[Array, "kh kw C D"], Float[Array, " D"]]:
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        return kernel, self.param("bias", nn.initializers.zeros, shape[-1:])


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

    def setup(self) -> None:
        self.conv, self.objectness, self.deltas = _Weights(), _Weights(), _Weights()

    def __call__(self, pyramid: dict[str, Array], padded_hw: Int[Array, "B 2"]) -> RPNOutputs:
        num_anchors = len(self.aspect_ratios)
        logits, deltas, inside, grids = [], [], [], []
        for (name, stride), size in zip(STRIDES.items(), self.anchor_sizes, strict=True):
            x = pyramid[name]
            batch, height, width, channels = x.shape
            kernel, _ = self.conv(3, 3, channels, channels)
            hidden = convolve(x, kernel.astype(x.dtype), (1, 1), ((1, 1), (1, 1)))
            own_logits, own_deltas = self._predict(hidden)
            logits.append(in_a_row(own_logits))
            deltas.append(own_deltas.reshape(batch, height * width, -1))
            grids.append(AnchorGrid((height, width), stride, size, self.aspect_ratios))
            own = inside_padded(height, width, padded_hw, stride, num_anchors)
            inside.append(own.reshape(batch, -1))
        return RPNOutputs(
            logits=jnp.concatenate(logits, axis=1),
            deltas=tuple(deltas),
            inside=jnp.concatenate(inside, axis=1),
            grids=tuple(grids),
            maps=tuple(pyramid[name] for name in STRIDES),
        )

    def _predict(
        self, hidden: Float[Array, "*S C"]
    ) -> tuple[Float[Array, "*S A"], Float[Array, "*S A*4"]]:
        """Logits and deltas of cells, in float32, by one product."""
        channels, num_anchors = hidden.shape[-1], len(self.aspect_ratios)
        _, bias = self.conv(3, 3, channels, channels)
        one_row = [1] * (hidden.ndim - 1) + [-1]
        x = relu(hidden + bias.astype(hidden.dtype).reshape(one_row)).astype(jnp.float32)
        of_logits = self.objectness(1, 1, channels, num_anchors)
        of_deltas = self.deltas(1, 1, channels, 4 * num_anchors)
        kernel, bias = (
            jnp.concatenate(both, axis=-1) for both in zip(of_logits, of_deltas, strict=True)
        )
        outputs = x @ kernel[0, 0] + bias.reshape(one_row)
        return outputs[..., :num_anchors], outputs[..., num_anchors:]

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
        logits, deltas = jax.lax.stop_gradient((outputs.logits, outputs.deltas))

        def candidates(
            logits: Array, deltas: tuple[Array, ...], inside: Array, image_hw: Array
        ) -> tuple[Array, Array, Array, Array]:
            scores = jnp.where(inside, logits, -jnp.inf)
            best = _best_of_levels(scores, deltas, outputs.grids, pre_nms_topk)
            boxes = clip_boxes(decode_boxes(best.anchors, best.deltas), image_hw)
            valid = (best.scores > -jnp.inf) & nonempty(boxes)
            order = jnp.argsort(jnp.where(valid, -best.scores, jnp.inf))
            return boxes[order], best.scores[order], best.levels[order], valid[order]

        boxes, scores, levels, valid = jax.vmap(candidates)(
            logits, deltas, outputs.inside, image_hw
        )
        kept, kept_valid = nms_sorted(
            boxes, levels, valid, iou_threshold=self.nms_threshold, max_outputs=post_nms_topk
        )
        boxes, scores = jax.vmap(lambda boxes, scores, kept: (boxes[kept], scores[kept]))(
            boxes, scores, kept
        )
        boxes = jnp.where(kept_valid[..., None], boxes, 0.0)
        return Proposals(boxes, jnp.where(kept_valid, scores, -jnp.inf), kept_valid)

    def losses(
        self, outputs: RPNOutputs, batch: ObjectBatch, priority: Float[Array, "B A"]
    ) -> dict[str, LossTerm]:
        """loss_rpn_cls and loss_rpn_loc; both are divided by `samples_per_image` x images.

        Args:
          priority: of each anchor for being sampled, lowest first.
        """
        # A constant: compared with each ground truth, they would be computed again for each.
        anchors = jnp.asarray(np.concatenate([grid.every_anchor() for grid in outputs.grids]))

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
            # The best is computed again for the few that are sampled, which costs less than to look
            # it up.
            own = anchors_of(outputs.grids, index)
            targets = encode_boxes(own, gt_boxes[best_ground_truth(own, gt_boxes, gt_valid)])
            return index, foreground, valid, targets

        index, foreground, valid, targets = jax.vmap(of_image)(
            outputs.inside, batch.boxes, batch.valid, priority
        )
        # Of cells without a sample there is no gradient, so the head is applied to the others once
        # more: a few hundred patches instead of all maps have to be gone back through.
        per_cell = len(self.aspect_ratios)
        patches = take_patches(outputs.maps, jnp.where(valid, index // per_cell, -1))
        channels = patches.shape[-1]
        kernel, _ = self.conv(3, 3, channels, channels)
        logits, deltas = self._predict(convolve_windows(patches, kernel.astype(patches.dtype)))
        logits = _of_anchor(logits[..., None], index % per_cell)[..., 0]
        deltas = _of_anchor(deltas.reshape(*index.shape, per_cell, 4), index % per_cell)
        count = jnp.asarray(self.samples_per_image * batch.valid.shape[0], jnp.float32)
        labels = foreground.astype(logits.dtype)
        return {
            "loss_rpn_cls": binary_cross_entropy(logits, labels, valid, count),
            "loss_rpn_loc": l1(deltas, targets, foreground, count),
        }


def in_a_row(x: Float[Array, "B H W A"]) -> Float[Array, "B HWA"]:
    """All numbers of each image, in the order (y, x, anchor). All must be finite."""
    if not forms().lines_up_by_products:
        return x.reshape(x.shape[0], -1)
    batch, _, width, number = x.shape
    place, column = jnp.arange(width * number)[None, None], jnp.arange(width)[None, :, None]
    anchor = jnp.arange(number)[:, None, None]
    is_own = (place // number == column) & (place % number == anchor)
    # A product with zeros and ones is exact in this precision, but for numbers near the smallest.
    rows = jnp.einsum(
        "bhwa,awp->bhp", x, is_own.astype(x.dtype), precision=jax.lax.Precision.HIGHEST
    )
    return rows.reshape(batch, -1)


def _of_anchor(of_cells: Float[Array, "*S A C"], anchor: Int[Array, "*S"]) -> Float[Array, "*S C"]:
    """What each cell says of one of its anchors."""
    number = of_cells.shape[-2]
    is_own = anchor[..., None] == jnp.arange(number).reshape(*[1] * anchor.ndim, number)
    return jnp.sum(jnp.where(is_own[..., None], of_cells, 0.0), axis=-2)


class _Best(NamedTuple):
    """scores, levels [k]; deltas, anchors [k, 4]."""

    scores: Array
    levels: Array
    deltas: Array
    anchors: Array


def _best_of_levels(
    scores: Float[Array, " A"],
    deltas: tuple[Array, ...],
    grids: tuple[AnchorGrid, ...],
    topk: int,
) -> _Best:
    """The `topk` best anchors of each level.

    Deltas are picked from each level by itself: all of them in one array, four beside each other,
    would be the largest array of the detector.
    """
    found, first = [], 0
    for level, (grid, of_cells) in enumerate(zip(grids, deltas, strict=True)):
        number = grid.number
        best_scores, best = top_k(scores[first : first + number], min(topk, number))
        per_cell = len(grid.aspect_ratios)
        of_cell = of_cells[best // per_cell].reshape(-1, per_cell, 4)
        found.append(
            _Best(
                scores=best_scores,
                levels=jnp.full(best.shape, level, jnp.int32),
                deltas=_of_anchor(of_cell, best % per_cell),
                anchors=grid.anchors(best),
            )
        )
        first += number
    return jax.tree.map(lambda *levels: jnp.concatenate(levels), *found)
