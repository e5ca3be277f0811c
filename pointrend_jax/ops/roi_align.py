"""ROIAlign over a feature pyramid, adaptive and exact, forward and backward.

Where samples lie is in ops/roi_samples.py. They are added up in one of three forms, equal up to
rounding: one after another (ops/roi_loop.py), or as products with windows of the maps
(ops/roi_windows.py) or with tiles of them (ops/roi_tiles.py). Source: Mask R-CNN; Detectron2
layers/roi_align.py and modeling/poolers.py.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.boxes import assign_levels
from pointrend_jax.ops.points import check_indexable
from pointrend_jax.ops.roi_loop import add_gradient_by_pixels, pool_by_samples
from pointrend_jax.ops.roi_samples import Places, Samples, place_maps, place_samples, samples_of
from pointrend_jax.ops.roi_tiles import (
    gradient_by_tiles,
    in_strips,
    pool_by_tiles,
    strips_of_maps,
    tiles_of_maps,
)
from pointrend_jax.ops.roi_windows import (
    WIDTH,
    add_gradient_by_windows,
    plan_windows,
    pool_by_windows,
)


def roi_align(
    feature_maps: Sequence[Float[Array, "B _ _ C"]],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    *,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int = 0,
    padded_hw: Int[Array, "B 2"] | None = None,
    levels: Int[Array, " N"] | None = None,
    aligned: bool = True,
) -> Float[Array, "N S S C"]:
    """Mean bilinear samples of S x S bins of each box, added up in float32. Differentiable in the
    maps, in reverse mode, and not in the boxes.

    Args:
      feature_maps: from fine to coarse; stride 2**i each, in the order of `strides`.
      boxes: xyxy in pixels of the network's input.
      sampling_ratio: samples a bin and axis; 0 adapts to the box.
      padded_hw: the part of each image that exists; the border is repeated there. None: all of it.
      levels: row of `feature_maps` for each box; None follows FPN's rule with p2 first.
      aligned: False gives the legacy half-pixel shift and minimum size of 1.
    """
    if len(feature_maps) != len(strides):
        raise ValueError(f"{len(feature_maps)} feature maps need as many strides, got {strides}.")
    if levels is None:
        levels = assign_levels(boxes, min_level=2, max_level=len(feature_maps) + 1) - 2
    channels, dtype = feature_maps[0].shape[-1], feature_maps[0].dtype
    if len(boxes) == 0:
        return jnp.zeros((0, output_size, output_size, channels), dtype)
    cells = sum(math.prod(m.shape[:3]) for m in feature_maps)
    check_indexable("the cells of all feature maps of a device", cells + WIDTH)
    by_tiles, shapes = forms().pools_by == "tiles", [m.shape[:3] for m in feature_maps]
    samples = place_samples(
        shapes, boxes, image_index, levels, padded_hw,
        strides=strides, output_size=output_size, sampling_ratio=sampling_ratio, aligned=aligned,
        lines=strips_of_maps(shapes) if by_tiles else None,
    )  # fmt: skip
    if by_tiles:
        tiles = place_maps(tiles_of_maps(shapes), levels, image_index)
        return _pool_tiles(output_size, sampling_ratio, list(feature_maps), samples, tiles)
    rows = [m.reshape(-1, channels) for m in feature_maps]
    if forms().pools_by == "windows":
        # A window may begin with the last row.
        rows = [*rows, jnp.zeros((WIDTH, channels), dtype)]
    return _pool(output_size, sampling_ratio, jnp.concatenate(rows), samples)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pool(output_size: int, sampling_ratio: int, rows: Array, samples: Samples) -> Array:
    """[N, S, S, C] means. Its own derivative, because a dynamic trip count has none."""
    if forms().pools_by == "samples":
        shape = (len(samples.places.first), output_size, output_size, rows.shape[1])
        return pool_by_samples(rows, samples, jnp.zeros(shape, rows.dtype))
    plan = plan_windows(samples, output_size)
    pooled = pool_by_windows(
        rows, samples, plan, output_size=output_size, sampling_ratio=sampling_ratio
    )
    left_over = samples_of(samples, plan.left_over)
    pool_left_over = partial(pool_by_samples, rows, left_over)
    return _if_any(plan.left_over, pool_left_over, pooled.astype(rows.dtype))


def _pool_forward(output_size: int, sampling_ratio: int, rows: Array, samples: Samples) -> tuple:
    return _pool(output_size, sampling_ratio, rows, samples), (rows.shape, samples)


def _pool_backward(
    output_size: int, sampling_ratio: int, residuals: tuple, cotangent: Array
) -> tuple:
    shape, samples = residuals
    total = jnp.zeros(shape, jnp.float32)
    if forms().pools_by == "samples":
        return add_gradient_by_pixels(samples, cotangent, total).astype(cotangent.dtype), None
    plan = plan_windows(samples, output_size)
    exact = forms().adds_exactly
    total = add_gradient_by_windows(
        samples, plan, cotangent, total, sampling_ratio=sampling_ratio, exact=exact
    )
    left_over = samples_of(samples, plan.left_over)
    add_left_over = partial(add_gradient_by_pixels, left_over, cotangent, exact=exact)
    return _if_any(plan.left_over, add_left_over, total).astype(cotangent.dtype), None


_pool.defvjp(_pool_forward, _pool_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pool_tiles(
    output_size: int, sampling_ratio: int, maps: list[Array], samples: Samples, tiles: Places
) -> Array:
    """`_pool` of maps that are read in strips; tiles: where their gradients are added."""
    del tiles
    return pool_by_tiles(
        in_strips(maps), samples, output_size=output_size, sampling_ratio=sampling_ratio
    )


def _pool_tiles_forward(
    output_size: int, sampling_ratio: int, maps: list[Array], samples: Samples, tiles: Places
) -> tuple:
    # Of the maps their shapes alone are wanted.
    like = [jnp.zeros((*x.shape[:3], 0), x.dtype) for x in maps]
    return _pool_tiles(output_size, sampling_ratio, maps, samples, tiles), (samples, tiles, like)


def _pool_tiles_backward(
    output_size: int, sampling_ratio: int, residuals: tuple, cotangent: Array
) -> tuple[list[Array], None, None]:
    del output_size
    samples, tiles, like = residuals
    shapes = [x.shape[:3] for x in like]
    gradients = gradient_by_tiles(samples, tiles, cotangent, shapes, sampling_ratio=sampling_ratio)
    return gradients, None, None


_pool_tiles.defvjp(_pool_tiles_forward, _pool_tiles_backward)


def _if_any(rois: Bool[Array, " N"], function: Callable[[Array], Array], x: Array) -> Array:
    """`function(x)`, in which loops may turn as the data wants, or `x` if it is about no RoI."""
    return jax.lax.cond(jnp.any(rois), function, lambda x: x, x)
