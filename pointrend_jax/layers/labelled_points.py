"""Learning masks from labelled points of objects instead of their masks.

Cheng, Parkhi, Kirillov, "Pointly-Supervised Instance Segmentation" (2022): every prediction is
compared at the points that people labelled, which lie anywhere in the box of the object. Points
beyond a region are ignored, and so are those that are labelled -1: in the sum and in the number.

Source: Detectron2 projects/PointSup, whose mean has ignored points in the number.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pointrend_jax.layers.regions import Regions, mask_index
from pointrend_jax.layers.training_points import PointLoss, loss_at_points
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.ops.points import point_sample
from pointrend_jax.structures import ObjectBatch


class LabelledPoints(NamedTuple):
    """Of each region: point_coords [N, P, 2] in its frame, labels float32 [N, P], valid [N, P]."""

    coords: Array
    labels: Array
    valid: Array


def labelled_points(regions: Regions, batch: ObjectBatch) -> LabelledPoints:
    """The points of each region's object; valid are those in the region with a label."""
    index = mask_index(regions, batch)
    in_image = batch.point_coords.reshape(-1, *batch.point_coords.shape[2:])[index]
    labels = batch.point_labels.reshape(-1, batch.point_labels.shape[2])[index]
    origin, sides = regions.boxes[:, None, :2], (regions.boxes[:, 2:] - regions.boxes[:, :2])
    # A region without an area holds no point.
    has_area = jnp.all(sides > 0, axis=1)
    sides = jnp.where(has_area[:, None], sides, 1.0)[:, None]
    coords = (in_image - origin) / sides
    valid = _inside(coords) & (labels >= 0) & (regions.valid & has_area)[:, None]
    coords = jnp.where(valid[..., None], coords, 0.5)
    return LabelledPoints(coords, jnp.maximum(labels, 0).astype(jnp.float32), valid)


def labelled_loss(
    point_logits: Float[Array, "N P"], points: LabelledPoints, loss: PointLoss
) -> LossTerm:
    """`loss` over the valid points, and their number."""
    return loss_at_points(loss, point_logits, points.labels, points.valid)


def labelled_map_loss(
    own_logits: Float[Array, "N h w 1"], points: LabelledPoints, loss: PointLoss
) -> LossTerm:
    """`labelled_loss` of a map's bilinear values at the points."""
    return labelled_loss(point_sample(own_logits, points.coords)[..., 0], points, loss)


def _inside(coords: Float[Array, "N P 2"]) -> Bool[Array, "N P"]:
    return jnp.all((coords >= 0) & (coords <= 1), axis=-1)
