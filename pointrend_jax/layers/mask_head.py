"""PointRend's mask head for Mask R-CNN: a coarse mask, then points.

It gives `losses` for training and `predict` for inference, as every mask head does
(`layers/parts.py`). The method itself is `pointrend.py`; here stands what it is given for
instances.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.labelled_points import (
    labelled_loss,
    labelled_map_loss,
    labelled_points,
)
from pointrend_jax.layers.parts import CoarseMaskPredictor, check_logits
from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.regions import (
    MaskLogits,
    Regions,
    mask_loss,
    mask_point_loss,
    render_regions,
    skip_full_subdivisions,
    skipped_steps,
)
from pointrend_jax.layers.training_points import PointLoss, Sampler, training_points
from pointrend_jax.ops.losses import LossTerm, select_class, sigmoid_cross_entropy
from pointrend_jax.ops.points import cell_sampler
from pointrend_jax.pointrend import (
    CandidatePoints,
    PointMLP,
    PredictPoints,
    RenderStep,
    binary_uncertainty,
    choose_training_points,
    draw_candidate_points,
    point_features,
)
from pointrend_jax.structures import ObjectBatch


class FineFeatures(NamedTuple):
    """The point head's arrays, and the first layer's product with fine-grained features.

    sample: from regions and points [N, P, 2] of them to [N, P, fc_dim].
    """

    mlp: PointMLP
    sample: Callable[[Regions, Array], Array]


class PointRendMaskHead(nn.Module):
    """Coarse mask, then points.

    Attributes:
      fine_levels: the pyramid levels of the fine-grained features.
      others: see `configs/base.py`, `model.mask`.
    """

    coarse_head: CoarseMaskPredictor
    point_head: PointHead
    fine_levels: tuple[str, ...] = ("p2",)
    train_num_points: int = 196
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    subdivision_steps: int = 5
    subdivision_num_points: int = 784
    min_cell_px: float = 0.0
    sampler: Sampler = choose_training_points
    point_loss: PointLoss = sigmoid_cross_entropy

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
        batch: ObjectBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """loss_mask at the coarse resolution and loss_mask_point at the training points.

        Where labelled points supervise, both at these: of the coarse mask its bilinear values.
        """
        coarse_logits = self.encode_regions(pyramid, regions)
        own_coarse = select_class(coarse_logits, regions.classes)
        if batch.point_coords is not None:
            points = labelled_points(regions, batch)
            fine = self._fine_features(pyramid, points.labels.size)
            predict_points = self._point_logits(fine, coarse_logits, regions)
            point_logits = predict_points(points.coords)[..., 0]
            return {
                "loss_mask": labelled_map_loss(own_coarse, points, sigmoid_cross_entropy),
                "loss_mask_point": labelled_loss(point_logits, points, self.point_loss),
            }
        loss_mask = mask_loss(own_coarse[..., 0], regions, batch)

        point_coords = training_points(
            self.sampler, candidates, own_coarse, binary_uncertainty,
            num_points=self.train_num_points,
        )  # fmt: skip
        fine = self._fine_features(pyramid, regions.boxes.shape[0] * self.train_num_points)
        predict_points = self._point_logits(fine, coarse_logits, regions)
        point_logits = predict_points(point_coords)[..., 0]
        loss_mask_point = mask_point_loss(
            point_logits, point_coords, regions, batch, self.point_loss
        )
        return {"loss_mask": loss_mask, "loss_mask_point": loss_mask_point}

    def prepare(self, pyramid: dict[str, Array], num_regions: int) -> FineFeatures:
        """What all regions of `predict` share. num_regions: as many as there may be."""
        start_side, subdivision_steps = self.start
        num_points = start_side**2 + subdivision_steps * self.subdivision_num_points
        return self._fine_features(pyramid, num_regions * num_points)

    def encode_regions(
        self, pyramid: dict[str, Array], regions: Regions
    ) -> Float[Array, "N h h K"]:
        """What `predict` needs of each region: its coarse logits."""
        logits = self.coarse_head(pyramid["p2"], regions.boxes, regions.image_index)
        side, num_classes = self.coarse_head.resolution, self.coarse_head.num_classes
        shape = (regions.boxes.shape[0], side, side, num_classes)
        check_logits(logits, shape, self.coarse_head, "coarse logits [N, h, h, K]")
        return logits

    def predict(
        self,
        fine: FineFeatures,
        coarse_logits: Float[Array, "N h h K"],
        regions: Regions,
        padded_hw: Int[Array, "B 2"],
    ) -> MaskLogits:
        """Renders every region as far as `min_cell_px` asks for."""
        del padded_hw  # points read 0 beyond it, and so do the maps
        return self._render(fine, coarse_logits, regions, self.min_cell_px)[0]

    def explain(
        self, pyramid: dict[str, Array], regions: Regions
    ) -> tuple[MaskLogits, list[RenderStep]]:
        """`predict` with what each step of the paper saw and chose, from the coarse mask on.

        All steps are shown: those that start from a later grid, and whatever `min_cell_px` is.
        """
        fine = self.prepare(pyramid, regions.boxes.shape[0])
        coarse_logits = self.encode_regions(pyramid, regions)
        masks, steps = self._render(fine, coarse_logits, regions, 0.0)
        predict_points = self._point_logits(fine, coarse_logits, regions)
        number, side = regions.boxes.shape[0], self.coarse_side
        return masks, [*skipped_steps(predict_points, number, side, self.start[0]), *steps]

    def _render(
        self,
        fine: FineFeatures,
        coarse_logits: Float[Array, "N h h K"],
        regions: Regions,
        min_cell_px: float,
    ) -> tuple[MaskLogits, list[RenderStep]]:
        steps = render_regions(
            self._point_logits(fine, coarse_logits, regions), regions, start=self.start,
            subdivision_num_points=self.subdivision_num_points, min_cell_px=min_cell_px,
        )  # fmt: skip
        own_coarse = select_class(coarse_logits, regions.classes)
        return MaskLogits(steps[-1].logits[..., 0], own_coarse[..., 0]), steps

    def point_predictor(self, pyramid: dict[str, Array], regions: Regions) -> PredictPoints:
        """The function from points of the regions to logits [N, P, 1], to render as one likes."""
        fine = self.prepare(pyramid, regions.boxes.shape[0])
        return self._point_logits(fine, self.encode_regions(pyramid, regions), regions)

    def _mlp(self, pyramid: dict[str, Array]) -> PointMLP:
        fine_channels = sum(pyramid[level].shape[-1] for level in self.fine_levels)
        return self.point_head.mlp(fine_channels, self.coarse_head.num_classes)

    def _fine_features(self, pyramid: dict[str, Array], num_points: int) -> FineFeatures:
        """Projects and samples the maps, in the order that takes fewer products.

        Args:
          num_points: all points of all regions that may be sampled. If the maps have fewer cells
            than that, they are projected first, once.
        """
        mlp, maps, first = self._mlp(pyramid), [pyramid[level] for level in self.fine_levels], 0
        projections = []
        for x in maps:
            projections.append(partial(mlp.project_fine, first_channel=first))
            first += x.shape[-1]
        project_first = sum(math.prod(x.shape[:3]) for x in maps) < num_points
        if project_first:
            maps = [project(x) for project, x in zip(projections, maps, strict=True)]

        def fine_features(regions: Regions, point_coords: Array) -> Float[Array, "N P fc_dim"]:
            sampled = [
                point_features(
                    [x], regions.boxes, regions.image_index, point_coords, strides=[STRIDES[level]]
                )
                for x, level in zip(maps, self.fine_levels, strict=True)
            ]
            if not project_first:
                sampled = [project(x) for project, x in zip(projections, sampled, strict=True)]
            return reduce(jnp.add, sampled)

        return FineFeatures(mlp, fine_features)

    def _point_logits(
        self, fine: FineFeatures, coarse_logits: Float[Array, "N h h K"], regions: Regions
    ) -> PredictPoints:
        """The function from points to logits [N, P, 1] of each region's own class."""
        num_regions, height, width, channels = coarse_logits.shape
        mlp = fine.mlp.of_class(regions.classes)
        # Projected before it is sampled: a region has more points than its prediction has cells.
        coarse = mlp.project_coarse(coarse_logits.reshape(num_regions, height * width, channels))

        def predict_points(point_coords: Float[Array, "N P 2"]) -> Float[Array, "N P 1"]:
            sample = cell_sampler((height, width), point_coords)
            sampled = [sample(cells) for cells in coarse]
            return mlp.finish(fine.sample(regions, point_coords), sampled)

        return predict_points
