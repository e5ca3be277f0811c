"""What every mask head works on: regions with their own class, rendering them, and their losses.

Regions are boxes of any images of the batch, N in all; each carries its own class, and from the
heads on only the channel of that class travels (exact: upsampling acts per channel and uncertainty
reads only that one).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.ops.losses import LossTerm, binary_cross_entropy
from pointrend_jax.ops.masks import crop_masks
from pointrend_jax.ops.points import point_sample_bits, points_in_image
from pointrend_jax.pointrend import (
    PredictPoints,
    RenderStep,
    binary_uncertainty,
    grid_step,
    render_steps,
)
from pointrend_jax.structures import InstanceBatch


class Regions(NamedTuple):
    """boxes [N, 4] xyxy; image_index, classes, gt_index [N]; valid [N]: a foreground sample."""

    boxes: Array
    image_index: Array
    classes: Array
    gt_index: Array
    valid: Array


class MaskLogits(NamedTuple):
    """Logits of each region's own class: rendered [N, M, M] and coarse [N, m, m]."""

    rendered: Array
    coarse: Array


def render_regions(
    predict_points: PredictPoints,
    regions: Regions,
    *,
    start: tuple[int, int],
    subdivision_num_points: int,
    min_cell_px: float,
) -> list[RenderStep]:
    """The rendering steps of regions, the regular grid first.

    Args:
      start: side of that grid, and the subdivisions after it.
      min_cell_px: a region is subdivided only as far as its cells have that size, in pixels of the
        input; what follows is upsampled. Work is saved where no region goes on, so regions of like
        size should come together; a region's result does not depend on the others.
    """
    side, subdivision_steps = start
    largest_side = None
    if min_cell_px > 0:
        longest = jnp.max(regions.boxes[:, 2:] - regions.boxes[:, :2], axis=1)
        largest_side = longest / min_cell_px
    first = grid_step(predict_points, binary_uncertainty, regions.boxes.shape[0], side)
    return [
        first,
        *render_steps(
            first.logits, predict_points, binary_uncertainty,
            subdivision_steps=subdivision_steps,
            subdivision_num_points=subdivision_num_points, largest_side=largest_side,
        ),
    ]  # fmt: skip


def mask_loss(
    own_logits: Float[Array, "N S S"], regions: Regions, batch: InstanceBatch
) -> LossTerm:
    """Sigmoid cross entropy against the ground truth cropped to each region, as a binary mask."""
    side = own_logits.shape[1]
    targets = crop_masks(
        flat_bits(batch),
        mask_index(regions, batch),
        regions.boxes,
        batch.image_hw[regions.image_index],
        output_size=side,
    )
    valid = jnp.broadcast_to(regions.valid[:, None, None], own_logits.shape)
    count = jnp.sum(regions.valid) * side**2
    return binary_cross_entropy(own_logits, targets.astype(own_logits.dtype), valid, count)


def point_loss(
    point_logits: Float[Array, "N P"],
    point_coords: Float[Array, "N P 2"],
    regions: Regions,
    batch: InstanceBatch,
) -> LossTerm:
    """Sigmoid cross entropy at points, against the ground truth's bilinear (soft) value there."""
    in_image = points_in_image(regions.boxes, point_coords)
    labels = point_sample_bits(flat_bits(batch), mask_index(regions, batch), in_image)
    valid = jnp.broadcast_to(regions.valid[:, None], point_logits.shape)
    count = jnp.sum(regions.valid) * point_logits.shape[1]
    return binary_cross_entropy(point_logits, jax.lax.stop_gradient(labels), valid, count)


def flat_bits(batch: InstanceBatch) -> Array:
    """The masks of all images in one row, as `mask_index` counts them."""
    return batch.mask_bits.reshape(-1, *batch.mask_bits.shape[2:])


def mask_index(regions: Regions, batch: InstanceBatch) -> Int[Array, " N"]:
    """The ground-truth mask of each region, among those of all images."""
    return regions.image_index * batch.valid.shape[1] + regions.gt_index
