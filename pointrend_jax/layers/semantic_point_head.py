"""PointRend for semantic segmentation: the region is the whole image, the coarse mask its logits.

It gives `losses` for training and `predict` for inference. The method itself is `pointrend.py`;
here stands what it is given for label maps.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.regions import points_of_window
from pointrend_jax.layers.training_points import (
    PointLoss,
    Sampler,
    loss_at_points,
    training_points,
)
from pointrend_jax.ops.losses import LossTerm, softmax_cross_entropy
from pointrend_jax.ops.points import point_sample, point_sample_nearest, points_in_image
from pointrend_jax.ops.resize import resize_windows
from pointrend_jax.pointrend import (
    CandidatePoints,
    PredictPoints,
    RenderStep,
    UncertaintyFn,
    choose_training_points,
    draw_candidate_points,
    multiclass_uncertainty,
    point_features,
    render,
    render_steps,
)
from pointrend_jax.structures import (
    IGNORE_LABEL,
    ImageBatch,
    SemanticBatch,
    SemanticPredictions,
)


def probability_uncertainty(logits: Float[Array, "*S K"]) -> Float[Array, "*S"]:
    """`multiclass_uncertainty` of probabilities: the paper's, which ranks otherwise than logits."""
    return multiclass_uncertainty(jax.nn.softmax(logits))


class SemanticPointRend(nn.Module):
    """Points of whole images.

    Attributes: see `configs/base.py`, `model.semantic`; and
      fine_maps: names of the maps that fine-grained features come from, concatenated in this order.
      fine_strides: input pixels a cell of each.
      coarse_stride: of the coarse logits.
      uncertainty: of logits [..., K]: `multiclass_uncertainty` or `probability_uncertainty`.
    """

    point_head: PointHead
    fine_maps: tuple[str, ...]
    fine_strides: tuple[int, ...]
    coarse_stride: int
    uncertainty: UncertaintyFn
    train_num_points: int
    oversample_ratio: float
    importance_sample_ratio: float
    subdivision_steps: int
    subdivision_num_points: int
    sampler: Sampler = choose_training_points
    point_loss: PointLoss = softmax_cross_entropy

    def draw_candidates(self, key: Array) -> CandidatePoints:
        """The random points of one image in a training step."""
        return draw_candidate_points(
            key,
            1,
            num_points=self.train_num_points,
            oversample_ratio=self.oversample_ratio,
            importance_sample_ratio=self.importance_sample_ratio,
        )

    def losses(
        self,
        maps: dict[str, Array],
        coarse_logits: Float[Array, "B h w K"],
        batch: SemanticBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """`point_loss` at points, against the label of the nearest pixel."""
        point_coords = training_points(
            self.sampler, candidates, coarse_logits, self.uncertainty,
            num_points=self.train_num_points,
        )  # fmt: skip
        point_logits = self._point_logits(maps, batch.images, coarse_logits)(point_coords)
        labels = point_sample_nearest(batch.labels.astype(jnp.int32), point_coords)
        valid = labels != IGNORE_LABEL
        labels = jnp.where(valid, labels, 0)
        return {"loss_sem_seg_point": loss_at_points(self.point_loss, point_logits, labels, valid)}

    def predict(
        self,
        maps: dict[str, Array],
        coarse_logits: Float[Array, "B h w K"],
        images: Array,
        padded_hw: Int[Array, "B 2"],
    ) -> Float[Array, "B H W K"]:
        """Rendered logits, 2**subdivision_steps times the resolution of the coarse ones."""
        return render(coarse_logits, **self._how(maps, coarse_logits, images, padded_hw))

    def explain(
        self,
        maps: dict[str, Array],
        coarse_logits: Float[Array, "B h w K"],
        images: Array,
        padded_hw: Int[Array, "B 2"],
    ) -> list[RenderStep]:
        """Every step of `predict`."""
        return render_steps(coarse_logits, **self._how(maps, coarse_logits, images, padded_hw))

    def render_windows(
        self,
        maps: dict[str, Array],
        predictions: SemanticPredictions,
        batch: ImageBatch,
        windows: Float[Array, "B 4"],
        *,
        hw: tuple[int, int],
        steps: int,
    ) -> list[RenderStep]:
        """Goes on from `predict` in a window of each image; what it has rendered comes first.

        Its points a step are, for a side of pixels, as many as the whole map has.

        Args:
          predictions: of the batch. Their logits are the first step's, `2**steps` times as coarse.
          windows: xyxy in pixels of the input, of each image.
          hw: height and width of the last step, multiples of 2**steps.
        """
        height, width = batch.images.shape[1:3]
        start = hw[0] >> steps, hw[1] >> steps
        logits = resize_windows(predictions.logits, batch.image_hw, windows, start)
        nothing = jnp.zeros((logits.shape[0], 0, 2))
        first = RenderStep(
            logits, self.uncertainty(logits), nothing[..., 0].astype(jnp.int32), nothing
        )
        scale = jnp.array([[width, height, width, height]], jnp.float32)
        predict_points = self._point_logits(maps, batch.images, predictions.coarse_logits)

        def in_window(point_coords: Float[Array, "B P 2"]) -> Float[Array, "B P K"]:
            return predict_points(points_in_image(windows / scale, point_coords))

        whole = math.sqrt(height * width) / self.coarse_stride * 2**self.subdivision_steps
        return [
            first,
            *render_steps(
                logits, in_window, self.uncertainty, subdivision_steps=steps,
                subdivision_num_points=points_of_window(hw, whole, self.subdivision_num_points),
            ),
        ]  # fmt: skip

    def _how(
        self,
        maps: dict[str, Array],
        coarse_logits: Float[Array, "B h w K"],
        images: Array,
        padded_hw: Int[Array, "B 2"],
    ) -> dict[str, Any]:
        """What rendering is given besides the coarse logits."""
        return {
            "predict_points": self._point_logits(maps, images, coarse_logits),
            "uncertainty_fn": self.uncertainty,
            "subdivision_steps": self.subdivision_steps,
            "subdivision_num_points": self.subdivision_num_points,
            "inside_hw": padded_hw // self.coarse_stride,
        }

    def _point_logits(
        self, maps: dict[str, Array], images: Array, coarse_logits: Float[Array, "B h w K"]
    ) -> PredictPoints:
        """From points of the canvas to their logits."""
        batch_size, height, width = images.shape[:3]
        regions = jnp.tile(jnp.array([[0.0, 0.0, width, height]]), (batch_size, 1))

        def predict_points(point_coords: Float[Array, "B P 2"]) -> Float[Array, "B P K"]:
            fine_grained_features = point_features(
                [maps[name] for name in self.fine_maps],
                regions,
                jnp.arange(batch_size),
                point_coords,
                strides=self.fine_strides,
            )
            coarse_features = point_sample(coarse_logits, point_coords)
            return self.point_head(fine_grained_features, coarse_features)

        return predict_points
