"""Implicit PointRend (Cheng, Parkhi, Kirillov, "Pointly-Supervised Instance Segmentation", 2022).

There is no coarse mask: a parameter head predicts, for each region, the weights of a small MLP of
its own, which maps a point's position and fine-grained features to logits. PointRend renders them.
"""

import itertools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.coarse_mask_head import region_vectors
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.labelled_points import labelled_loss, labelled_points
from pointrend_jax.layers.regions import MaskLogits, Regions, mask_point_loss, render_regions
from pointrend_jax.layers.training_points import PointLoss
from pointrend_jax.ops.losses import LossTerm, sigmoid_cross_entropy
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.scatter import take_own
from pointrend_jax.pointrend import (
    CandidatePoints,
    PredictPoints,
    RenderStep,
    draw_candidate_points,
    point_features,
)
from pointrend_jax.structures import ObjectBatch

# Random Fourier frequencies of a position; a sine and a cosine each.
POSITIONAL_FREQUENCIES = 128


class PointMLPShape(NamedTuple):
    """`num_hidden` layers of `hidden` units between `inputs` and `outputs` (one a class)."""

    inputs: int
    hidden: int
    num_hidden: int
    outputs: int

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        sides = [self.inputs, *[self.hidden] * self.num_hidden, self.outputs]
        return list(itertools.pairwise(sides))

    @property
    def num_parameters(self) -> int:
        return sum(inputs * outputs + outputs for inputs, outputs in self.layers)


class ParameterHead(nn.Module):
    """Like `CoarseMaskHead`, but predicts the parameters of each region's MLP."""

    num_parameters: int
    conv_dim: int = 256
    fc_dim: int = 1024
    num_fcs: int = 2
    pooler_resolution: int = 14
    conv_stride: int = 2

    @nn.compact
    def __call__(
        self, p2: Float[Array, "B H W C"], boxes: Float[Array, "N 4"], image_index: Int[Array, " N"]
    ) -> Float[Array, "N Q"]:
        x = region_vectors(
            p2, boxes, image_index, conv_dim=self.conv_dim, fc_dim=self.fc_dim,
            num_fcs=self.num_fcs, pooler_resolution=self.pooler_resolution,
            conv_stride=self.conv_stride,
        )  # fmt: skip
        init = nn.initializers.normal(0.001)
        predictor = nn.Dense(self.num_parameters, kernel_init=init, name="predictor")
        return predictor(x.astype(jnp.float32))


class ImplicitPointHead(nn.Module):
    """Applies each region's own MLP to its points; its only array are the fixed frequencies."""

    mlp: PointMLPShape

    @nn.compact
    def __call__(
        self,
        fine_grained_features: Float[Array, "N P C"],
        point_coords: Float[Array, "N P 2"],
        parameters: Float[Array, "N Q"],
        classes: Int[Array, " N"],
    ) -> Float[Array, "N P 1"]:
        """Logits of each region's own class; the rows of other classes are never used."""
        frequencies = self.variable(
            "buffers",
            "frequencies",
            lambda: jax.random.normal(self.make_rng("params"), (2, POSITIONAL_FREQUENCIES)),
        ).value
        # A product of coordinates: not in the fewer bits that a device may multiply in.
        place = jnp.matmul(2 * point_coords - 1, frequencies, precision=jax.lax.Precision.HIGHEST)
        phase = 2 * math.pi * place
        x = jnp.concatenate([jnp.sin(phase), jnp.cos(phase), fine_grained_features], axis=-1)
        weights, biases = split_parameters(parameters, self.mlp)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = relu(jnp.einsum("npc,ndc->npd", x, weight) + bias[:, None])
        own_weight, own_bias = (take_own(of_all[-1], classes, 0) for of_all in (weights, biases))
        return jnp.einsum("npc,nc->np", x, own_weight)[..., None] + own_bias[:, None, None]


def split_parameters(
    parameters: Float[Array, "N Q"], mlp: PointMLPShape
) -> tuple[list[Array], list[Array]]:
    """Weights [N, outputs, inputs] of all layers, which come first, and biases [N, outputs]."""
    weights, biases, first = [], [], 0
    for inputs, outputs in mlp.layers:
        flat = parameters[:, first : first + inputs * outputs]
        weights.append(flat.reshape(-1, outputs, inputs))
        first += inputs * outputs
    for _, outputs in mlp.layers:
        biases.append(parameters[:, first : first + outputs])
        first += outputs
    return weights, biases


class ImplicitMaskHead(nn.Module):
    """Attributes: see `configs/base.py`, `model.mask`."""

    parameter_head: ParameterHead
    point_head: ImplicitPointHead
    fine_levels: tuple[str, ...] = ("p2",)
    train_num_points: int = 196
    subdivision_steps: int = 3
    subdivision_num_points: int = 784
    parameter_decay: float = 1e-5
    min_cell_px: float = 0.0
    point_loss: PointLoss = sigmoid_cross_entropy

    @property
    def start(self) -> tuple[int, int]:
        """Side of the first grid, and the subdivisions after it."""
        return math.isqrt(self.subdivision_num_points), self.subdivision_steps

    @property
    def side(self) -> int:
        """M, of the rendered mask."""
        return self.start[0] * 2**self.subdivision_steps

    @property
    def coarse_side(self) -> int:
        """m, of the grid that rendering starts from."""
        return self.start[0]

    def draw_candidates(self, key: Array, num_regions: int) -> CandidatePoints:
        """The random numbers of `losses` for one image's regions: uniform points only."""
        return draw_candidate_points(
            key,
            num_regions,
            num_points=self.train_num_points,
            oversample_ratio=1.0,
            importance_sample_ratio=0.0,
        )

    def losses(
        self,
        pyramid: dict[str, Array],
        regions: Regions,
        batch: ObjectBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """loss_mask_point at uniform points, and loss_l2, the decay of the predicted parameters.

        Where labelled points supervise, at these.
        """
        parameters = self.encode_regions(pyramid, regions)
        predict_points = self._point_logits(pyramid, regions, parameters)
        if batch.point_coords is None:
            point_coords = candidates.uniform
            point_logits = predict_points(point_coords)[..., 0]
            at_points = mask_point_loss(point_logits, point_coords, regions, batch, self.point_loss)
        else:
            points = labelled_points(regions, batch)
            point_logits = predict_points(points.coords)[..., 0]
            at_points = labelled_loss(point_logits, points, self.point_loss)
        num_valid = jnp.sum(regions.valid, dtype=jnp.float32)
        squares = jnp.where(regions.valid, jnp.mean(parameters**2, axis=1), 0.0)
        return {
            "loss_mask_point": at_points,
            "loss_l2": LossTerm(self.parameter_decay * jnp.sum(squares), num_valid),
        }

    def prepare(self, pyramid: dict[str, Array], num_regions: int) -> dict[str, Array]:
        """What all regions of `predict` share: the maps as they are."""
        del num_regions
        return pyramid

    def encode_regions(self, pyramid: dict[str, Array], regions: Regions) -> Float[Array, "N Q"]:
        """What `predict` needs of each region: the parameters of its MLP."""
        return self.parameter_head(pyramid["p2"], regions.boxes, regions.image_index)

    def predict(
        self,
        pyramid: dict[str, Array],
        parameters: Float[Array, "N Q"],
        regions: Regions,
        padded_hw: Int[Array, "B 2"],
    ) -> MaskLogits:
        """Renders every region. `coarse` is the regular grid that rendering starts from."""
        del padded_hw  # points read 0 beyond it, and so do the maps
        predict_points = self._point_logits(pyramid, regions, parameters)
        return self._render(predict_points, regions, self.min_cell_px)[0]

    def explain(
        self, pyramid: dict[str, Array], regions: Regions
    ) -> tuple[MaskLogits, list[RenderStep]]:
        """`predict` with what each step saw and chose; the first step is the regular grid.

        All steps are shown, whatever `min_cell_px` is.
        """
        return self._render(self.point_predictor(pyramid, regions), regions, 0.0)

    def _render(
        self, predict_points: PredictPoints, regions: Regions, min_cell_px: float
    ) -> tuple[MaskLogits, list[RenderStep]]:
        steps = render_regions(
            predict_points, regions, start=self.start,
            subdivision_num_points=self.subdivision_num_points, min_cell_px=min_cell_px,
        )  # fmt: skip
        return MaskLogits(steps[-1].logits[..., 0], steps[0].logits[..., 0]), steps

    def point_predictor(self, pyramid: dict[str, Array], regions: Regions) -> PredictPoints:
        """The function from points of the regions to logits [N, P, 1], to render as one likes."""
        return self._point_logits(pyramid, regions, self.encode_regions(pyramid, regions))

    def _point_logits(
        self, pyramid: dict[str, Array], regions: Regions, parameters: Float[Array, "N Q"]
    ) -> PredictPoints:
        """The function from points to logits [N, P, 1] of each region's own class."""
        maps = [pyramid[level] for level in self.fine_levels]
        strides = [STRIDES[level] for level in self.fine_levels]

        def predict_points(point_coords: Float[Array, "N P 2"]) -> Float[Array, "N P 1"]:
            fine_grained = point_features(
                maps, regions.boxes, regions.image_index, point_coords, strides=strides
            )
            return self.point_head(fine_grained, point_coords, parameters, regions.classes)

        return predict_points
