"""PointRend's mask head for Mask R-CNN: a coarse mask, then points.

It gives `losses` for training and `predict` for inference, as `ConvMaskHead` does, so a model takes
either. The method itself is `pointrend.py`; here stands what it is given for instances.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.init import msra, xavier
from pointrend_jax.layers.own_class_points import FinePart, Params, fine_part, own_class_points
from pointrend_jax.layers.regions import MaskLogits, Regions, mask_loss, point_loss
from pointrend_jax.ops.losses import LossTerm, select_class
from pointrend_jax.ops.points import regular_grid
from pointrend_jax.ops.resize import upsample_2x
from pointrend_jax.pointrend import (
    CandidatePoints,
    PointHead,
    PredictPoints,
    RenderStep,
    binary_uncertainty,
    choose_training_points,
    draw_candidate_points,
    point_features,
    predict_grid,
    render,
    skip_full_subdivisions,
    subdivide,
)
from pointrend_jax.structures import InstanceBatch


class CoarseMaskHead(nn.Module):
    """A 7x7 mask from p2: one bilinear sample a cell, a 2x2 convolution, fully connected layers.

    Attributes: see `configs/base.py`, `model.mask`.
    """

    num_classes: int
    conv_dim: int = 256
    fc_dim: int = 1024
    num_fcs: int = 2
    pooler_resolution: int = 14
    resolution: int = 7

    @nn.compact
    def __call__(
        self, p2: Float[Array, "B H W C"], boxes: Float[Array, "N 4"], image_index: Int[Array, " N"]
    ) -> Float[Array, "N h h K"]:
        x = region_vectors(
            p2, boxes, image_index, conv_dim=self.conv_dim, fc_dim=self.fc_dim,
            num_fcs=self.num_fcs, pooler_resolution=self.pooler_resolution,
            conv_stride=self.pooler_resolution // self.resolution,
        )  # fmt: skip
        init = nn.initializers.normal(0.001)
        logits = self.num_classes * self.resolution**2
        predictor = nn.Dense(logits, kernel_init=init, name="predictor")
        x = predictor(x.astype(jnp.float32))
        return x.reshape(-1, self.resolution, self.resolution, self.num_classes)


def region_vectors(
    p2: Float[Array, "B H W C"],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    *,
    conv_dim: int,
    fc_dim: int,
    num_fcs: int,
    pooler_resolution: int,
    conv_stride: int,
) -> Float[Array, "N fc_dim"]:
    """A vector for each region, for a predictor; the layers belong to the calling module."""
    dtype = p2.dtype
    x = pool_on_grid(p2, boxes, image_index, pooler_resolution)
    if p2.shape[-1] > conv_dim:
        x = nn.relu(Conv(conv_dim, (1, 1), dtype=dtype, kernel_init=msra, name="reduce")(x))
    window = (conv_stride, conv_stride)
    x = Conv(
        conv_dim, window, window, "VALID", dtype=dtype, kernel_init=msra, name="conv"
    )(x)  # fmt: skip
    x = nn.relu(x).reshape(x.shape[0], -1)
    for i in range(1, num_fcs + 1):
        x = nn.relu(nn.Dense(fc_dim, dtype=dtype, kernel_init=xavier, name=f"fc{i}")(x))
    return x


def pool_on_grid(
    p2: Float[Array, "B H W C"],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    side: int,
) -> Float[Array, "N side side C"]:
    """One bilinear sample a cell: Detectron2's ROIAlign with sampling_ratio 1, but 0 outside."""
    grid = jnp.broadcast_to(regular_grid(side), (boxes.shape[0], side * side, 2))
    x = point_features([p2], boxes, image_index, grid, strides=[STRIDES["p2"]])
    return x.reshape(-1, side, side, p2.shape[-1])


class PreparedMaps(NamedTuple):
    """What all chunks of regions read.

    point_params: of the point head. fine: what of it is taken before sampling.
    """

    point_params: Params
    fine: FinePart


class PointRendMaskHead(nn.Module):
    """Coarse mask, then points.

    Attributes:
      fine_levels: the pyramid levels of the fine-grained features.
      others: see `configs/base.py`, `model.mask`.
    """

    coarse_head: CoarseMaskHead
    point_head: PointHead
    fine_levels: tuple[str, ...] = ("p2",)
    train_num_points: int = 196
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    subdivision_steps: int = 5
    subdivision_num_points: int = 784
    min_cell_px: float = 0.0

    @property
    def start(self) -> tuple[int, int]:
        """Side of the first grid that is rendered, and the subdivisions left after it."""
        return skip_full_subdivisions(
            self.coarse_head.resolution, self.subdivision_steps, self.subdivision_num_points
        )

    @property
    def side(self) -> int:
        """M, of the rendered mask."""
        return self.coarse_head.resolution * 2**self.subdivision_steps

    @property
    def coarse_side(self) -> int:
        """m, of the coarse mask."""
        return self.coarse_head.resolution

    def draw_candidates(self, key: Array, num_regions: int) -> CandidatePoints:
        """The random numbers of `losses` for one image's regions."""
        return draw_candidate_points(
            key,
            num_regions,
            num_points=self.train_num_points,
            oversample_ratio=self.oversample_ratio,
            importance_sample_ratio=self.importance_sample_ratio,
        )

    def losses(
        self,
        pyramid: dict[str, Array],
        regions: Regions,
        batch: InstanceBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """loss_mask at the coarse resolution and loss_mask_point at the training points."""
        num_points = regions.boxes.shape[0] * self.train_num_points
        coarse_logits = self.encode_regions(pyramid, regions)
        predict_points = self._point_logits(
            self._prepare(pyramid, num_points), coarse_logits, regions
        )
        own_coarse = select_class(coarse_logits, regions.classes)
        loss_mask = mask_loss(own_coarse[..., 0], regions, batch)

        point_coords = choose_training_points(
            candidates,
            jax.lax.stop_gradient(own_coarse),
            binary_uncertainty,
            num_points=self.train_num_points,
        )
        point_logits = predict_points(point_coords)[..., 0]
        loss_mask_point = point_loss(point_logits, point_coords, regions, batch)
        return {"loss_mask": loss_mask, "loss_mask_point": loss_mask_point}

    def prepare(self, pyramid: dict[str, Array], num_regions: int) -> PreparedMaps:
        """What all regions of `predict` share. num_regions: as many as there may be."""
        start_side, subdivision_steps = self.start
        num_points = start_side**2 + subdivision_steps * self.subdivision_num_points
        return self._prepare(pyramid, num_regions * num_points)

    def encode_regions(
        self, pyramid: dict[str, Array], regions: Regions
    ) -> Float[Array, "N h h K"]:
        """What `predict` needs of each region: its coarse logits."""
        return self.coarse_head(pyramid["p2"], regions.boxes, regions.image_index)

    def predict(
        self,
        prepared: PreparedMaps,
        coarse_logits: Float[Array, "N h h K"],
        regions: Regions,
        padded_hw: Int[Array, "B 2"],
    ) -> MaskLogits:
        """Renders every region: a regular grid first, then subdivision."""
        del padded_hw  # points read 0 beyond it, and so do the maps
        predict_points = self._point_logits(prepared, coarse_logits, regions)
        start_side, subdivision_steps = self.start
        logits = render_regions(
            predict_grid(predict_points, regions.boxes.shape[0], start_side),
            predict_points,
            regions.boxes,
            subdivision_steps=subdivision_steps,
            subdivision_num_points=self.subdivision_num_points,
            min_cell_px=self.min_cell_px,
        )
        own_coarse = select_class(coarse_logits, regions.classes)
        return MaskLogits(logits[..., 0], own_coarse[..., 0])

    def explain(
        self, pyramid: dict[str, Array], regions: Regions
    ) -> tuple[MaskLogits, list[RenderStep]]:
        """`predict` with what each step saw and chose; the first step is the regular grid.

        All steps are shown, whatever `min_cell_px` is.
        """
        num_regions = regions.boxes.shape[0]
        coarse_logits = self.encode_regions(pyramid, regions)
        prepared = self.prepare(pyramid, num_regions)
        predict_points = self._point_logits(prepared, coarse_logits, regions)
        steps = render_steps(predict_points, num_regions, self.start, self.subdivision_num_points)
        own_coarse = select_class(coarse_logits, regions.classes)
        return MaskLogits(steps[-1].logits[..., 0], own_coarse[..., 0]), steps

    def point_predictor(self, pyramid: dict[str, Array], regions: Regions) -> PredictPoints:
        """The function from points of the regions to logits [N, P, 1], to render as one likes."""
        prepared = self.prepare(pyramid, regions.boxes.shape[0])
        return self._point_logits(prepared, self.encode_regions(pyramid, regions), regions)

    def _prepare(self, pyramid: dict[str, Array], num_points: int) -> PreparedMaps:
        maps = [pyramid[level] for level in self.fine_levels]
        strides = [STRIDES[level] for level in self.fine_levels]
        if self.is_initializing():
            channels = sum(x.shape[-1] for x in maps), self.coarse_head.num_classes
            self.point_head(*(jnp.zeros((1, 1, size)) for size in channels))
        params = self.point_head.variables["params"]
        fine = fine_part(params, maps, strides=strides, num_points=num_points)
        return PreparedMaps(params, fine)

    def _point_logits(
        self, prepared: PreparedMaps, coarse_logits: Float[Array, "N h h K"], regions: Regions
    ) -> PredictPoints:
        """The function from points to logits [N, P, 1] of each region's own class."""
        return own_class_points(
            self.point_head, prepared.point_params, prepared.fine, coarse_logits, regions
        )


def render_regions(
    initial_logits: Float[Array, "N h w 1"],
    predict_points: PredictPoints,
    boxes: Float[Array, "N 4"],
    *,
    subdivision_steps: int,
    subdivision_num_points: int,
    min_cell_px: float,
) -> Float[Array, "N H W 1"]:
    """`render`; for a `min_cell_px` above 0, a region only as far as its cells have that size.

    What follows is upsampled. Work is saved where no region of the chunk goes on, so regions of
    like size should come together; a region's result does not depend on the others.
    """
    if min_cell_px == 0:
        return render(
            initial_logits, predict_points, binary_uncertainty,
            subdivision_steps=subdivision_steps, subdivision_num_points=subdivision_num_points,
        )  # fmt: skip

    def predict_anew(logits: Array) -> Array:
        return subdivide(logits, predict_points, binary_uncertainty, subdivision_num_points).logits

    longest = jnp.max(boxes[:, 2:] - boxes[:, :2], axis=1)
    logits = initial_logits
    for _ in range(subdivision_steps):
        large = longest >= min_cell_px * logits.shape[1]

        def go_on(logits: Array, large: Array = large) -> Array:
            return jnp.where(large[:, None, None, None], predict_anew(logits), upsample_2x(logits))

        logits = jax.lax.cond(jnp.any(large), go_on, upsample_2x, logits)
    return logits


def render_steps(
    predict_points: PredictPoints, num_regions: int, start: tuple[int, int], num_points: int
) -> list[RenderStep]:
    """`render` step by step, the regular grid first. start: side of the grid, steps after it."""
    side, subdivision_steps = start
    logits = predict_grid(predict_points, num_regions, side)
    grid = jnp.broadcast_to(regular_grid(side), (num_regions, side * side, 2))
    indices = jnp.broadcast_to(jnp.arange(side * side), (num_regions, side * side))
    steps = [RenderStep(logits, binary_uncertainty(logits), indices, grid)]
    for _ in range(subdivision_steps):
        last = steps[-1].logits
        steps.append(subdivide(last, predict_points, binary_uncertainty, num_points))
    return steps
