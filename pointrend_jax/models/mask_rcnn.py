"""Mask R-CNN (He et al., 2017) with a mask head of choice: the network from pixels to masks.

The parts come ready-made (`models/build.py` makes them); here is their order, once for training
(`losses`) and once for inference (`predict`).
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.box_head import BoxHead, BoxSamples, own_class_deltas
from pointrend_jax.layers.fpn import FPN
from pointrend_jax.layers.parts import (
    Backbone,
    ExplainedMaskHead,
    MaskHead,
    check_logits,
    check_losses,
    check_maps,
)
from pointrend_jax.layers.pixels import normalise
from pointrend_jax.layers.regions import MaskLogits, Regions, render_windows
from pointrend_jax.layers.rpn import RPN
from pointrend_jax.ops.boxes import decode_boxes
from pointrend_jax.ops.chunks import in_chunks, merge_two_axes, on_first_rows, slot_numbers
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.ops.matching import num_foreground_slots
from pointrend_jax.pointrend import CandidatePoints, RenderStep
from pointrend_jax.structures import (
    Detections,
    ImageBatch,
    InstancePredictions,
    ObjectBatch,
    Proposals,
)

# At least so many regions are encoded at a time: the coarse head's weights, which are read each
# time, are larger than the features of fewer.
_FEWEST_ENCODED = 16


class InstanceNoise(NamedTuple):
    """Every random number of one training step.

    anchor_priority [B, A], roi_priority [B, R + G]: lowest is sampled first. candidates: of the B *
    S regions of the mask head, image by image.
    """

    anchor_priority: Array
    roi_priority: Array
    candidates: CandidatePoints


class ProposalCounts(NamedTuple):
    """How many boxes a level gives to NMS and an image to the second stage."""

    pre_nms_topk: int
    post_nms_topk: int


class MaskRCNN(nn.Module):
    """See the module docstring.

    Attributes:
      backbone, mask_head: see `layers/parts.py`.
      pixel_mean, pixel_std, bgr: what makes of images, whose channels these count, what the
        backbone's weights expect.
      compute_dtype: of the maps, and so of the layers that read them.
      train_on_pred_boxes: the mask head trains on the boxes that the box head predicts.
      detections_per_chunk: slots whose points go through the mask head at a time at inference; 0 =
        as many as suit the device (devices/backend.py).
    """

    backbone: Backbone
    fpn: FPN
    rpn: RPN
    box_head: BoxHead
    mask_head: MaskHead
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    bgr: bool
    compute_dtype: jnp.dtype
    proposals_train: ProposalCounts
    proposals_eval: ProposalCounts
    train_on_pred_boxes: bool = True
    detections_per_chunk: int = 0

    def pyramid(self, images: Array, image_hw: Array, padded_hw: Array) -> dict[str, Array]:
        """p2..p6 of images, zero beyond `padded_hw`."""
        pixels = normalise(images, image_hw, self.pixel_mean, self.pixel_std, bgr=self.bgr)
        pixels = pixels.astype(self.compute_dtype)
        maps = self.backbone(pixels, padded_hw)
        check_maps(maps, pixels, (4, 8, 16, 32), self.backbone)
        return self.fpn(maps, padded_hw)

    # --- training ---

    def draw_noise(self, keys: Array, batch: ObjectBatch) -> InstanceNoise:
        """The random numbers of a step, from one key an image.

        They depend on an image's key and on nothing else of the batch, so 1 device equals 8.
        """
        height, width = batch.images.shape[1:3]
        cells = sum(-(-height // 2**i) * -(-width // 2**i) for i in range(2, 7))
        num_anchors = cells * len(self.rpn.aspect_ratios)
        num_rois = self.proposals_train.post_nms_topk + batch.valid.shape[1]

        def of_image(key: Array) -> InstanceNoise:
            anchor_key, roi_key, point_key = jax.random.split(key, 3)
            return InstanceNoise(
                jax.random.uniform(anchor_key, (num_anchors,)),
                jax.random.uniform(roi_key, (num_rois,)),
                self.mask_head.draw_candidates(point_key, self._num_mask_slots),
            )

        noise = jax.vmap(of_image)(keys)
        flat = jax.tree.map(merge_two_axes, noise.candidates)
        return noise._replace(candidates=flat)

    def losses(self, batch: ObjectBatch, noise: InstanceNoise) -> dict[str, LossTerm]:
        """All losses of the batch as (sum, denominator), by name."""
        pyramid = self.pyramid(batch.images, batch.image_hw, batch.padded_hw)
        rpn_outputs = self.rpn(pyramid, batch.padded_hw)
        losses = self.rpn.losses(rpn_outputs, batch, noise.anchor_priority)

        proposals = self.rpn.propose(rpn_outputs, batch.image_hw, **self.proposals_train._asdict())
        samples = self.box_head.sample(proposals, batch, noise.roi_priority)
        box_outputs = self.box_head(pyramid, samples.boxes, batch.padded_hw)
        losses |= self.box_head.losses(box_outputs, samples, batch.boxes)

        regions = self._mask_regions(samples, box_outputs.deltas)
        return losses | self._mask_losses(pyramid, regions, batch, noise.candidates)

    def _mask_losses(
        self,
        pyramid: dict[str, Array],
        regions: Regions,
        batch: ObjectBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """The mask head's losses of the foreground samples, which come first in an image's slots.

        All images give the same number of slots: the smallest of `slot_numbers` that holds the
        samples of each.
        """
        slots = self._num_mask_slots

        def of_rows(rows: tuple[Regions, CandidatePoints]) -> dict[str, LossTerm]:
            losses = self.mask_head.losses(pyramid, rows[0], batch, rows[1])
            check_losses(losses, self.mask_head)
            return losses

        return on_first_rows(
            of_rows,
            (regions, candidates),
            regions.valid.reshape(-1, slots),
            slot_numbers(slots),
        )

    @property
    def _num_mask_slots(self) -> int:
        """Foreground samples lie in the first slots of an image; the mask head needs no others."""
        return num_foreground_slots(
            self.box_head.samples_per_image, self.box_head.positive_fraction
        )

    def _mask_regions(self, samples: BoxSamples, deltas: Float[Array, "B S K 4"]) -> Regions:
        """Foreground samples at their predicted boxes: no gradient, not clipped, as Detectron2."""
        samples, deltas = jax.tree.map(lambda x: x[:, : self._num_mask_slots], (samples, deltas))
        boxes = samples.boxes
        if self.train_on_pred_boxes:
            own = own_class_deltas(deltas, samples.classes)
            boxes = decode_boxes(boxes, own, self.box_head.delta_weights)
        boxes = jnp.where(samples.foreground[..., None], jax.lax.stop_gradient(boxes), 0.0)
        batch_size, slots = samples.valid.shape
        return Regions(
            boxes=boxes.reshape(-1, 4),
            image_index=jnp.repeat(jnp.arange(batch_size), slots),
            classes=jnp.where(samples.foreground, samples.classes, 0).reshape(-1),
            gt_index=samples.gt_index.reshape(-1),
            valid=samples.foreground.reshape(-1),
        )

    # --- inference ---

    def predict(self, batch: ImageBatch) -> InstancePredictions:
        """Detections and their masks, in the frame of the network's input."""
        return self.predict_scene(batch)[0]

    def predict_scene(self, batch: ImageBatch) -> tuple[InstancePredictions, dict[str, Array]]:
        """`predict`, and the pyramid, of which `render_windows` renders more."""
        pyramid, detections = self.find(batch)
        masks = self.segment(pyramid, detections, batch.padded_hw)
        return InstancePredictions(detections, masks.rendered, masks.coarse), pyramid

    def find(self, batch: ImageBatch) -> tuple[dict[str, Array], Detections]:
        """`predict` without its masks: p2..p6 and the detections, of which `segment` makes them."""
        pyramid = self.pyramid(batch.images, batch.image_hw, batch.padded_hw)
        return pyramid, self.detect(pyramid, batch)

    def propose(self, pyramid: dict[str, Array], batch: ImageBatch) -> Proposals:
        """The boxes that the second stage looks at."""
        outputs = self.rpn(pyramid, batch.padded_hw)
        return self.rpn.propose(outputs, batch.image_hw, **self.proposals_eval._asdict())

    def detect(self, pyramid: dict[str, Array], batch: ImageBatch) -> Detections:
        """What the box head finds in each image; nothing in a slot that only fills the batch."""
        if self.is_initializing():
            return self._initial_detections(pyramid, batch)
        proposals = self.propose(pyramid, batch)
        outputs = self.box_head(pyramid, proposals.boxes, batch.padded_hw)
        detections = self.box_head.detect(outputs, proposals, batch.image_hw)
        return detections._replace(valid=detections.valid & batch.valid[:, None])

    def _initial_detections(self, pyramid: dict[str, Array], batch: ImageBatch) -> Detections:
        """As many as `detect` gives, of no area: only which layers there are, and their shapes,
        matters, so nothing is sorted or looped over."""
        slots = len(batch.valid), self.box_head.detections_per_image
        boxes, none = jnp.zeros((*slots, 4)), jnp.zeros(slots, jnp.int32)
        self.rpn(pyramid, batch.padded_hw)
        self.box_head(pyramid, boxes, batch.padded_hw)
        return Detections(boxes, jnp.zeros(slots), none, none > 0)

    def segment(
        self, pyramid: dict[str, Array], detections: Detections, padded_hw: Int[Array, "B 2"]
    ) -> MaskLogits:
        """Masks [B, D, M, M] and [B, D, m, m] of the detections; 0 in slots that are not valid.

        Large regions come before small ones, since `min_cell_px` saves work where a whole chunk is
        small. The mask head prepares what all regions share once, and not at all without a region.
        """
        batch_size, slots = detections.valid.shape
        regions, num_slots = regions_of(detections), batch_size * slots
        longest = jnp.max(regions.boxes[:, 2:] - regions.boxes[:, :2], axis=1)
        order = jnp.argsort(jnp.where(regions.valid, -longest, jnp.inf), stable=True)
        num_valid = jnp.sum(regions.valid, dtype=jnp.int32)
        sides = self.mask_head.side, self.mask_head.coarse_side
        no_masks = MaskLogits(*(jnp.zeros((num_slots, side, side)) for side in sides))

        def segment_all() -> MaskLogits:
            prepared: Any = self.mask_head.prepare(pyramid, num_slots)
            encode = partial(self.mask_head.encode_regions, pyramid)

            def predict(encoded: Any, chosen: Regions) -> MaskLogits:
                masks = self.mask_head.predict(prepared, encoded, chosen, padded_hw)
                for logits, side, what in zip(masks, sides, ("M", "m"), strict=True):
                    shape = (chosen.boxes.shape[0], side, side)
                    check_logits(logits, shape, self.mask_head, f"masks [N, {what}, {what}]")
                return masks

            if self.is_initializing():
                # Only which layers there are, and their shapes, matters: nothing is looped over.
                return predict(encode(regions), regions)
            return in_chunks(
                encode, predict, regions, order, num_valid, no_masks,
                chunk=self.detections_per_chunk or forms().regions_at_a_time,
                fewest_encoded=_FEWEST_ENCODED,
            )  # fmt: skip

        # Without an instance an image costs what its detector costs, unless a host would have to
        # wait for their number.
        if self.is_initializing() or forms().works_on_all_rows:
            masks = segment_all()
        else:
            masks = jax.lax.cond(num_valid > 0, segment_all, lambda: no_masks)
        return jax.tree.map(lambda x: x.reshape(batch_size, slots, *x.shape[1:]), masks)

    def explain(self, batch: ImageBatch, regions: Regions) -> tuple[MaskLogits, list[RenderStep]]:
        """Every rendering step of given regions. Raises ValueError if the model renders nothing."""
        mask_head = self._rendering_head()
        pyramid = self.pyramid(batch.images, batch.image_hw, batch.padded_hw)
        return mask_head.explain(pyramid, regions)

    def render_windows(
        self,
        pyramid: dict[str, Array],
        regions: Regions,
        windows: Float[Array, "N 4"],
        hw: tuple[int, int],
    ) -> list[RenderStep]:
        """Every rendering step of a window of each region; see `layers.regions.render_windows`.

        Raises: ValueError if the model renders nothing.
        """
        mask_head = self._rendering_head()
        return render_windows(
            mask_head.point_predictor(pyramid, regions), windows, hw=hw,
            side=mask_head.side, coarse_side=mask_head.coarse_side,
            subdivision_num_points=mask_head.subdivision_num_points,
        )  # fmt: skip

    def encode_regions(self, pyramid: dict[str, Array], regions: Regions) -> Any:
        """What the mask head needs of each region beside the pyramid."""
        return self.mask_head.encode_regions(pyramid, regions)

    def _rendering_head(self) -> ExplainedMaskHead:
        if isinstance(self.mask_head, ExplainedMaskHead):
            return self.mask_head
        raise ValueError(
            "only a mask head that renders has subdivision steps to explain and windows to render; "
            f"that of this model is {type(self.mask_head).__name__}. Use one with "
            "model.mask_head='pointrend' or 'implicit'."
        )


def regions_of(detections: Detections) -> Regions:
    """All slots of all images, image by image."""
    batch_size, slots = detections.valid.shape
    return Regions(
        boxes=detections.boxes.reshape(-1, 4),
        image_index=jnp.repeat(jnp.arange(batch_size), slots),
        classes=detections.classes.reshape(-1),
        gt_index=jnp.zeros(batch_size * slots, jnp.int32),
        valid=detections.valid.reshape(-1),
    )
