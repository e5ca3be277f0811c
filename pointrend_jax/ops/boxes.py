"""Boxes (xyxy, continuous pixels): overlap, clipping, deltas, anchors, levels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# exp() of a larger dw or dh would overflow early in training. Source: Detectron2 box_regression.py.
SCALE_CLAMP = math.log(1000.0 / 16)


def box_area(boxes: Float[Array, "*S 4"]) -> Float[Array, "*S"]:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_iou(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """Intersection over union of every pair; 0 where they do not meet."""
    top_left = jnp.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    side = jnp.maximum(bottom_right - top_left, 0.0)
    areas = box_area(a)[:, None] + box_area(b)[None, :]
    return _over_union(side[..., 0] * side[..., 1], areas)


def iou_of_sides(a: Float[Array, "_ ..."], b: Float[Array, "_ ..."]) -> Float[Array, "..."]:
    """`box_iou` of boxes whose sides are arrays (x0, y0, x1, y1) that broadcast to those of others.

    For many boxes: an axis of two numbers, as there, fills no register. What follows the sides on
    the first axis is not looked at.
    """
    width, height = (
        jnp.maximum(jnp.minimum(a[high], b[high]) - jnp.maximum(a[low], b[low]), 0.0)
        for low, high in ((0, 2), (1, 3))
    )
    area_of_a, area_of_b = ((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return _over_union(width * height, area_of_a + area_of_b)


def _over_union(intersection: Array, areas: Array) -> Array:
    union = areas - intersection
    return jnp.where(intersection > 0, intersection / jnp.where(union > 0, union, 1.0), 0.0)


def clip_boxes(boxes: Float[Array, "*S 4"], image_hw: Array) -> Float[Array, "*S 4"]:
    """Boxes cut to [0, width] x [0, height]; leading axes of `image_hw` are those of `boxes`."""
    height, width = image_hw[..., 0], image_hw[..., 1]
    limit = jnp.stack([width, height, width, height], axis=-1).astype(boxes.dtype)
    limit = limit.reshape(*limit.shape[:-1], *([1] * (boxes.ndim - limit.ndim)), 4)
    return jnp.clip(boxes, 0.0, limit)


def nonempty(boxes: Float[Array, "*S 4"]) -> Bool[Array, "*S"]:
    """True where both sides are longer than 0."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])


def encode_boxes(
    boxes: Float[Array, "*S 4"],
    targets: Float[Array, "*S 4"],
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, "*S 4"]:
    """Deltas (dx, dy, dw, dh) that move `boxes` onto `targets`.

    A box or target without area gives 0 where the reference refuses it: padded rows are such boxes.
    Source: Detectron2 Box2BoxTransform.get_deltas.
    """
    defined = nonempty(boxes) & nonempty(targets)
    unit = jnp.array([0.0, 0.0, 1.0, 1.0], boxes.dtype)
    boxes = jnp.where(defined[..., None], boxes, unit)
    targets = jnp.where(defined[..., None], targets, unit)
    size, target_size = boxes[..., 2:] - boxes[..., :2], targets[..., 2:] - targets[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    target_centre = targets[..., :2] + 0.5 * target_size
    shift = (target_centre - centre) / size
    deltas = jnp.concatenate([shift, jnp.log(target_size / size)], axis=-1)
    return deltas * jnp.asarray(weights, boxes.dtype).reshape([1] * (boxes.ndim - 1) + [4])


def decode_boxes(
    boxes: Float[Array, "*S 4"],
    deltas: Float[Array, "*S 4"],
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, "*S 4"]:
    """`boxes` moved by `deltas`, dw and dh clamped from above; the inverse of `encode_boxes`."""
    deltas = deltas / jnp.asarray(weights, boxes.dtype).reshape([1] * (deltas.ndim - 1) + [4])
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    new_centre = deltas[..., :2] * size + centre
    new_size = jnp.exp(jnp.minimum(deltas[..., 2:], SCALE_CLAMP)) * size
    return jnp.concatenate([new_centre - 0.5 * new_size, new_centre + 0.5 * new_size], axis=-1)


def cell_anchors(size: float, aspect_ratios: Sequence[float]) -> np.ndarray:
    """Float32 [A, 4] anchors around the origin, of area size**2; a ratio is height / width."""
    rows = []
    for ratio in aspect_ratios:
        width = math.sqrt(size**2 / ratio)
        height = ratio * width
        rows.append([-width / 2, -height / 2, width / 2, height / 2])
    return np.array(rows, np.float32)


class AnchorGrid(NamedTuple):
    """The anchors of one level: map_hw cells, `stride` pixels apart, of area size**2 each.

    Numbered in the order (y, x, anchor). Centres lie at 0, stride, 2 stride, ... (offset 0).
    Source: Detectron2 DefaultAnchorGenerator.
    """

    map_hw: tuple[int, int]
    stride: int
    size: float
    aspect_ratios: tuple[float, ...]

    @property
    def number(self) -> int:
        return math.prod(self.map_hw) * len(self.aspect_ratios)

    def every_anchor(self) -> Float[np.ndarray, "A 4"]:
        """All of them, made on the host: a constant of a program."""
        y, x = np.divmod(np.arange(math.prod(self.map_hw)), self.map_hw[1])
        centre = np.stack([x, y, x, y], axis=-1).astype(np.float32) * self.stride
        around = cell_anchors(self.size, self.aspect_ratios)
        return (centre[:, None] + around).reshape(-1, 4).astype(np.float32)

    def anchors(self, index: Int[Array, "*S"]) -> Float[Array, "*S 4"]:
        """Those with these numbers. Others are nothing.

        Computed where they are wanted: as a constant of a program those of all levels take 4 MB,
        and 128 MB where an axis of 4 takes the place of 128.
        """
        per_cell = len(self.aspect_ratios)
        cell, kind = jax.lax.div(index, per_cell), jax.lax.rem(index, per_cell)
        y, x = jax.lax.div(cell, self.map_hw[1]), jax.lax.rem(cell, self.map_hw[1])
        centre = jnp.stack([x, y, x, y], axis=-1).astype(jnp.float32) * self.stride
        anchors = jnp.zeros((), jnp.float32)
        for number, around in enumerate(cell_anchors(self.size, self.aspect_ratios)):
            shape = [1] * index.ndim + [4]
            own = centre + jnp.asarray(around).reshape(shape)
            anchors = jnp.where((kind == number)[..., None], own, anchors)
        return anchors


def anchors_of(grids: Sequence[AnchorGrid], index: Int[Array, "*S"]) -> Float[Array, "*S 4"]:
    """The anchors with these numbers of several levels, one after another."""
    anchors, first = jnp.zeros((), jnp.float32), 0
    for grid in grids:
        own = grid.anchors(index - first)
        anchors = jnp.where((index >= first)[..., None], own, anchors)
        first += grid.number
    return anchors


def assign_levels(
    boxes: Float[Array, "N 4"], *, min_level: int = 2, max_level: int = 5
) -> Int[Array, " N"]:
    """The pyramid level that a box is pooled from: 4 for the area of 224 x 224, +-1 for each
    octave.

    Source: FPN, eq. 1; Detectron2 poolers.assign_boxes_to_levels (a box without area goes to
    `min_level`).
    """
    # A padded row may be turned inside out by its deltas; its square root must not be NaN.
    octave = jnp.log2(jnp.sqrt(jnp.maximum(box_area(boxes), 0.0)) / 224.0 + 1e-8)
    return jnp.clip(jnp.floor(4 + octave), min_level, max_level).astype(jnp.int32)
