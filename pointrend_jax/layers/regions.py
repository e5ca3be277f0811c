"""What every mask head works on: regions with their own class, rendering them, and their losses.

Rendering is the paper's, but for two savings: it starts from a regular grid, and it stops where a
region's cells are small enough. A window of a region is rendered as the region is.

Regions are boxes of any images of the batch, N in all; each carries its own class, and from the
heads on only the channel of that class travels (exact: upsampling acts per channel and uncertainty
reads only that one).
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.layers.training_points import PointLoss, loss_at_points
from pointrend_jax.ops.losses import LossTerm, binary_cross_entropy
from pointrend_jax.ops.masks import crop_masks
from pointrend_jax.ops.points import point_sample_bits, points_in_image, regular_grid
from pointrend_jax.ops.resize import upsample_2x
from pointrend_jax.pointrend import (
    PredictPoints,
    RenderStep,
    binary_uncertainty,
    render_steps,
    subdivide,
)
from pointrend_jax.structures import ObjectBatch


class Regions(NamedTuple):
    """Boxes to segment, in N slots.

    boxes [N, 4] xyxy; image_index, classes, gt_index [N], the last read in training only; valid
    [N], False for a slot that holds no foreground sample (training) or detection (inference).
    """

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
    subdivide_fn = subdivide
    if min_cell_px > 0:
        longest = jnp.max(regions.boxes[:, 2:] - regions.boxes[:, :2], axis=1)
        subdivide_fn = partial(_subdivide_coarser, longest / min_cell_px)
    first = grid_step(predict_points, regions.boxes.shape[0], side)
    return [
        first,
        *render_steps(
            first.logits, predict_points, binary_uncertainty,
            subdivision_steps=subdivision_steps,
            subdivision_num_points=subdivision_num_points, subdivide_fn=subdivide_fn,
        ),
    ]  # fmt: skip


def skip_full_subdivisions(side: int, steps: int, num_points: int) -> tuple[int, int]:
    """Where rendering may start: steps that would predict every pixel become a regular grid.

    With N = 28 x 28 points the paper's steps 7 -> 14 -> 28 predict every pixel, so the first two of
    five are one prediction on the 28 x 28 grid: `skip_full_subdivisions(7, 5, 784) == (28, 3)`.
    """
    while steps > 0 and 4 * side * side <= num_points:
        side, steps = 2 * side, steps - 1
    return side, steps


def skipped_steps(
    predict_points: PredictPoints, num_regions: int, side: int, start_side: int
) -> list[RenderStep]:
    """The steps that rendering leaves out, for those who want to see them: they change nothing.

    Args:
      side: of the coarse prediction. start_side: of the grid that rendering starts from.
    """
    steps = []
    while (side := 2 * side) < start_side:
        steps.append(grid_step(predict_points, num_regions, side))
    return steps


def render_windows(
    predict_points: PredictPoints,
    windows: Float[Array, "N 4"],
    *,
    hw: tuple[int, int],
    side: int,
    coarse_side: int,
    subdivision_num_points: int,
) -> list[RenderStep]:
    """The rendering steps of a window of each region, the regular grid first.

    The outline of an object is a line: a map of twice the side gets twice the points a step. So the
    window of a whole region with `hw = (side, side)` is `render_regions` itself, and one of half
    the side is rendered twice as finely by as many points.

    Args:
      windows: xyxy in [0, 1] of the region. Beyond the region its border is repeated.
      hw: height and width of the last step; halved for each step before.
      side, coarse_side, subdivision_num_points: M, m and the points a step of whole regions.
    """

    def in_window(point_coords: Float[Array, "N P 2"]) -> Float[Array, "N P K"]:
        return predict_points(jnp.clip(points_in_image(windows, point_coords), 0.0, 1.0))

    num_points = points_of_window(hw, side, subdivision_num_points)
    start, steps = window_start(hw, coarse_side, num_points)
    first = grid_step(in_window, windows.shape[0], *start)
    return [
        first,
        *render_steps(
            first.logits, in_window, binary_uncertainty,
            subdivision_steps=steps, subdivision_num_points=num_points,
        ),
    ]  # fmt: skip


def points_of_window(hw: tuple[int, int], side: float, num_points: int) -> int:
    """As many points for a side of pixels as `num_points` are for `side` of them."""
    return max(round(num_points * math.sqrt(math.prod(hw)) / side), 1)


def window_start(
    hw: tuple[int, int], coarse_side: int, num_points: int
) -> tuple[tuple[int, int], int]:
    """Height and width of the first grid that is rendered for a map of `hw`, and the subdivisions.

    As `skip_full_subdivisions` has it for a square map: it is halved while it can be, is not
    coarser than the coarse mask, and the step back would not predict all of it.
    `window_start((224, 224), 7, 784) == ((28, 28), 3)`.
    """
    (height, width), steps = hw, 0
    while (
        height % 2 == width % 2 == 0
        and min(height, width) >= 2 * coarse_side
        and height * width > num_points
    ):
        height, width, steps = height // 2, width // 2, steps + 1
    return (height, width), steps


def grid_step(
    predict_points: PredictPoints, num_regions: int, height: int, width: int | None = None
) -> RenderStep:
    """The prediction on a regular grid of every region: rendering's first step.

    Args: width, None for a square grid.
    """
    width = height if width is None else width
    number = height * width
    point_coords = jnp.broadcast_to(regular_grid(height, width), (num_regions, number, 2))
    point_indices = jnp.broadcast_to(jnp.arange(number), (num_regions, number))
    logits = predict_points(point_coords)
    logits = logits.reshape(num_regions, height, width, logits.shape[-1])
    return RenderStep(logits, binary_uncertainty(logits), point_indices, point_coords)


def _subdivide_coarser(
    largest_side: Float[Array, " N"], logits: Float[Array, "N H W K"], *how: Any
) -> RenderStep:
    """`subdivide` for the regions whose map is no larger than that, upsampling for the others.

    A step that no region needs costs an upsampling.
    """
    upsampled = upsample_2x(logits)
    coarser: Bool[Array, " N"] = logits.shape[1] <= largest_side

    def some() -> RenderStep:
        step = subdivide(logits, *how)
        return step._replace(logits=jnp.where(coarser[:, None, None, None], step.logits, upsampled))

    def none() -> RenderStep:
        shapes = jax.eval_shape(lambda logits: subdivide(logits, *how), logits)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return zeros._replace(logits=upsampled)

    return jax.lax.cond(jnp.any(coarser), some, none)


def mask_loss(own_logits: Float[Array, "N S S"], regions: Regions, batch: ObjectBatch) -> LossTerm:
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


def mask_point_loss(
    point_logits: Float[Array, "N P"],
    point_coords: Float[Array, "N P 2"],
    regions: Regions,
    batch: ObjectBatch,
    loss: PointLoss,
) -> LossTerm:
    """`loss` at points, against the ground truth's bilinear (soft) value there."""
    in_image = points_in_image(regions.boxes, point_coords)
    labels = point_sample_bits(flat_bits(batch), mask_index(regions, batch), in_image)
    valid = jnp.broadcast_to(regions.valid[:, None], point_logits.shape)
    return loss_at_points(loss, point_logits, jax.lax.stop_gradient(labels), valid)


def flat_bits(batch: ObjectBatch) -> Array:
    """The masks of all images in one row, as `mask_index` counts them.

    Raises: ValueError if the batch has none.
    """
    if batch.mask_bits is None:
        raise ValueError(
            'this mask head learns from masks alone; set config.data.supervision = "masks".'
        )
    return batch.mask_bits.reshape(-1, *batch.mask_bits.shape[2:])


def mask_index(regions: Regions, batch: ObjectBatch) -> Int[Array, " N"]:
    """The ground-truth mask of each region, among those of all images."""
    return regions.image_index * batch.valid.shape[1] + regions.gt_index
