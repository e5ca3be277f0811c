"""The second stage's box head (Fast R-CNN on FPN): classes and boxes of proposals, their losses."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.fpn import POOLED_LEVELS, STRIDES
from pointrend_jax.layers.init import xavier
from pointrend_jax.ops.boxes import clip_boxes, decode_boxes, encode_boxes
from pointrend_jax.ops.chunks import merge_two_axes
from pointrend_jax.ops.losses import LossTerm, cross_entropy, l1
from pointrend_jax.ops.matching import match_boxes, sample_by_priority
from pointrend_jax.ops.nms import nms_sorted
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.roi_align import roi_align
from pointrend_jax.ops.scatter import take_own
from pointrend_jax.ops.top_k import top_k
from pointrend_jax.structures import Detections, ObjectBatch, Proposals


class BoxOutputs(NamedTuple):
    """logits [B, S, K + 1], background last; deltas [B, S, K, 4]."""

    logits: Array
    deltas: Array


class BoxSamples(NamedTuple):
    """The proposals a step trains on, in S slots an image, foreground first.

    boxes [B, S, 4]; classes [B, S], K for background; gt_index [B, S]; foreground, valid [B, S].
    """

    boxes: Array
    classes: Array
    gt_index: Array
    foreground: Array
    valid: Array


class BoxHead(nn.Module):
    """ROIAlign 7x7, two fully connected layers, a classifier and class-specific deltas.

    Attributes: see `configs/base.py`, `model.box`.
    """

    num_classes: int
    pooler_resolution: int = 7
    pooler_sampling_ratio: int = 0
    fc_dim: int = 1024
    samples_per_image: int = 512
    positive_fraction: float = 0.25
    iou_threshold: float = 0.5
    delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100

    @nn.compact
    def __call__(
        self, pyramid: dict[str, Array], boxes: Float[Array, "B S 4"], padded_hw: Int[Array, "B 2"]
    ) -> BoxOutputs:
        batch, slots, _ = boxes.shape
        pooled = roi_align(
            [pyramid[level] for level in POOLED_LEVELS],
            boxes.reshape(-1, 4),
            jnp.repeat(jnp.arange(batch), slots),
            strides=[STRIDES[level] for level in POOLED_LEVELS],
            output_size=self.pooler_resolution,
            sampling_ratio=self.pooler_sampling_ratio,
            padded_hw=padded_hw,
        )
        x = pooled.reshape(batch, slots, -1)
        for name in ("fc1", "fc2"):
            x = relu(nn.Dense(self.fc_dim, dtype=x.dtype, kernel_init=xavier, name=name)(x))
        classifier_init, box_init = nn.initializers.normal(0.01), nn.initializers.normal(0.001)
        x = x.astype(jnp.float32)
        logits = nn.Dense(self.num_classes + 1, kernel_init=classifier_init, name="classifier")(x)
        deltas = nn.Dense(4 * self.num_classes, kernel_init=box_init, name="deltas")(x)
        return BoxOutputs(logits, deltas.reshape(batch, slots, self.num_classes, 4))

    def sample(
        self, proposals: Proposals, batch: ObjectBatch, priority: Float[Array, "B C"]
    ) -> BoxSamples:
        """Matches proposals and the appended ground-truth boxes, and samples them."""

        def of_image(
            boxes: Array,
            valid: Array,
            gt_boxes: Array,
            gt_classes: Array,
            gt_valid: Array,
            priority: Array,
        ) -> BoxSamples:
            boxes = jnp.concatenate([boxes, gt_boxes])
            valid = jnp.concatenate([valid, gt_valid])
            matches = match_boxes(
                boxes, gt_boxes, boxes_valid=valid, gt_valid=gt_valid,
                thresholds=(self.iou_threshold, self.iou_threshold), allow_low_quality=False,
            )  # fmt: skip
            index, foreground, sampled = sample_by_priority(
                matches.labels == 1, matches.labels == 0, priority,
                num_samples=self.samples_per_image, positive_fraction=self.positive_fraction,
            )  # fmt: skip
            gt_index = matches.gt_index[index]
            return BoxSamples(
                boxes=jnp.where(sampled[:, None], boxes[index], 0.0),
                classes=jnp.where(foreground, gt_classes[gt_index], self.num_classes),
                gt_index=gt_index,
                foreground=foreground,
                valid=sampled,
            )

        return jax.vmap(of_image)(
            proposals.boxes, proposals.valid, batch.boxes, batch.classes, batch.valid, priority
        )

    def losses(
        self, outputs: BoxOutputs, samples: BoxSamples, gt_boxes: Float[Array, "B G 4"]
    ) -> dict[str, LossTerm]:
        """loss_cls and loss_box_reg; both are divided by the number of sampled proposals."""
        classification = cross_entropy(outputs.logits, samples.classes, samples.valid)
        targets = jax.vmap(lambda boxes, index: boxes[index])(gt_boxes, samples.gt_index)
        targets = encode_boxes(samples.boxes, targets, self.delta_weights)
        deltas = own_class_deltas(outputs.deltas, samples.classes)
        return {
            "loss_cls": classification,
            "loss_box_reg": l1(deltas, targets, samples.foreground, classification.denominator),
        }

    def detect(
        self, outputs: BoxOutputs, proposals: Proposals, image_hw: Int[Array, "B 2"]
    ) -> Detections:
        """The best `detections_per_image` boxes after NMS within each class.

        Source: Detectron2 fast_rcnn_inference.
        """
        return jax.vmap(self._detect_in_image)(outputs, proposals, image_hw)

    def _detect_in_image(
        self, outputs: BoxOutputs, proposals: Proposals, image_hw: Array
    ) -> Detections:
        num_proposals = outputs.logits.shape[0]
        scores = nn.softmax(outputs.logits)[:, : self.num_classes]
        above = (scores > self.score_threshold) & proposals.valid[:, None]
        # Scores of one proposal sum to 1, so fewer than 1 / threshold of them are above it.
        a_proposal = self.num_classes
        if self.score_threshold > 0:
            a_proposal = min(a_proposal, int(1 / self.score_threshold))
        flat_scores = jnp.where(above, scores, -1.0).reshape(-1)
        candidate_scores, candidate = top_k(flat_scores, num_proposals * a_proposal)
        row, classes = candidate // self.num_classes, candidate % self.num_classes
        deltas = outputs.deltas[row, classes]
        boxes = decode_boxes(proposals.boxes[row], deltas, self.delta_weights)
        boxes = clip_boxes(boxes, image_hw)
        kept, valid = nms_sorted(
            boxes, classes, candidate_scores > 0,
            iou_threshold=self.nms_threshold, max_outputs=self.detections_per_image,
        )  # fmt: skip
        return Detections(
            boxes=jnp.where(valid[:, None], boxes[kept], 0.0),
            scores=jnp.where(valid, candidate_scores[kept], 0.0),
            classes=jnp.where(valid, classes[kept], 0),
            valid=valid,
        )


def own_class_deltas(
    deltas: Float[Array, "B S K 4"], classes: Int[Array, "B S"]
) -> Float[Array, "B S 4"]:
    """The deltas of each slot's class; a background slot reads those of the last class."""
    index = jnp.minimum(classes, deltas.shape[2] - 1).reshape(-1)
    return take_own(merge_two_axes(deltas), index, 0).reshape(*classes.shape, 4)
