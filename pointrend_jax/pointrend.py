"""PointRend: image segmentation as rendering (Kirillov, Wu, He, Girshick, CVPR 2020).

A segmentation map is rendered like a picture: predict it coarsely everywhere, then again and again
double its resolution and predict anew only where it is uncertain. Three parts, in the paper's
order:

  1. Point selection    `render` at inference, `choose_training_points` in training (3.1).
  2. Point features     `point_features`: fine-grained CNN features and the coarse prediction (3.2).
  3. Point head         `PointMLP`: one small MLP for all points of all regions (3.3). Its arrays
                        are anyone's; layers/point_head.py makes them with Linen.

A region is an xyxy box of an image (instances) or the whole image (semantic segmentation); the
code below does not know which. N regions, P points, K classes, C channels; `point_coords` are (x,
y) in [0, 1] of the region. Shapes are static: N, P and the number of steps are fixed when compiled.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.ops.points import (
    check_indexable,
    point_sample,
    point_scatter,
    points_in_image,
    regular_grid,
    sample_rows,
)
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.resize import upsample_2x
from pointrend_jax.ops.scatter import take_rows
from pointrend_jax.ops.top_k import top_k

UncertaintyFn = Callable[[Float[Array, "..."]], Float[Array, "..."]]
PredictPoints = Callable[[Float[Array, "N P 2"]], Float[Array, "N P K"]]


# --- 1. Point selection -------------------------------------------------------------------------


def binary_uncertainty(logits: Float[Array, "*S 1"]) -> Float[Array, "*S"]:
    """Highest where the logit is 0, that is p = 0.5: `-|logit|` ranks as `-|p - 0.5|` does."""
    return -jnp.abs(logits[..., 0])


def multiclass_uncertainty(logits: Float[Array, "*S K"]) -> Float[Array, "*S"]:
    """Second best minus best class: 0 is the most uncertain. The paper has it of probabilities."""
    best = jnp.max(logits, axis=-1)
    # One of equal ones only: the other is the second best.
    classes = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    is_best = classes == jnp.argmax(logits, axis=-1)[..., None]
    return jnp.max(jnp.where(is_best, -jnp.inf, logits), axis=-1) - best


class RenderStep(NamedTuple):
    """One subdivision. The logits after it, and what it chose."""

    logits: Float[Array, "N H W K"]
    uncertainty: Float[Array, "N H W"]
    point_indices: Int[Array, "N P"]
    point_coords: Float[Array, "N P 2"]


def render_steps(
    initial_logits: Float[Array, "N h w K"],
    predict_points: PredictPoints,
    uncertainty_fn: UncertaintyFn,
    *,
    subdivision_steps: int,
    subdivision_num_points: int,
    inside_hw: Int[Array, "N 2"] | None = None,
    subdivide_fn: Callable[..., RenderStep] | None = None,
) -> list[RenderStep]:
    """Renders [N, h, w] logits at 2**subdivision_steps times their resolution (3.1, inference).

    Where every point is uncertain, as when all are chosen, this equals predicting every pixel;
    where none is chosen it equals bilinear upsampling.

    Args:
      inside_hw: rows and columns of the initial logits that belong to the region, where its canvas
        is larger than itself. Nothing beyond them is chosen while pixels within are left, and
        none of it changes a pixel within.
      subdivide_fn: what a step does, with the arguments of `subdivide`, which is the default.
    """
    subdivide_fn = subdivide_fn or subdivide
    steps, logits = [], initial_logits
    for _ in range(subdivision_steps):
        step = subdivide_fn(
            logits, predict_points, uncertainty_fn, subdivision_num_points, inside_hw
        )
        steps.append(step)
        logits = step.logits
        inside_hw = None if inside_hw is None else 2 * inside_hw
    return steps


def render(
    initial_logits: Float[Array, "N h w K"],
    predict_points: PredictPoints,
    uncertainty_fn: UncertaintyFn,
    **how: Any,
) -> Float[Array, "N H W K"]:
    """The logits after the last of `render_steps`, whose arguments it takes."""
    steps = render_steps(initial_logits, predict_points, uncertainty_fn, **how)
    return steps[-1].logits if steps else initial_logits


def subdivide(
    logits: Float[Array, "N H W K"],
    predict_points: PredictPoints,
    uncertainty_fn: UncertaintyFn,
    num_points: int,
    inside_hw: Int[Array, "N 2"] | None = None,
) -> RenderStep:
    """Doubles the resolution and predicts the `num_points` most uncertain pixels anew."""
    logits = upsample_2x(logits, inside_hw)
    uncertainty = uncertainty_fn(logits)
    if inside_hw is not None:
        rows, columns = (jnp.arange(side)[None, :] for side in uncertainty.shape[1:])
        inside = rows < 2 * inside_hw[:, :1], columns < 2 * inside_hw[:, 1:]
        inside = inside[0][:, :, None] & inside[1][:, None, :]
        uncertainty = jnp.where(inside, uncertainty, -jnp.inf)
    point_indices, point_coords = select_uncertain_points(uncertainty, num_points)
    logits = point_scatter(logits, point_indices, predict_points(point_coords))
    return RenderStep(logits, uncertainty, point_indices, point_coords)


def select_uncertain_points(
    uncertainty: Float[Array, "N H W"], num_points: int
) -> tuple[Int[Array, "N P"], Float[Array, "N P 2"]]:
    """Flat indices and coordinates of the P = min(num_points, H * W) most uncertain pixels."""
    num_regions, height, width = uncertainty.shape
    check_indexable("the pixels of a rendered map", height * width)
    num_points = min(num_points, height * width)
    _, point_indices = top_k(uncertainty.reshape(num_regions, -1), num_points)
    row, column = point_indices // width, point_indices % width
    # Coordinates are float32, whatever the type of the logits.
    x = (column.astype(jnp.float32) + 0.5) / width
    y = (row.astype(jnp.float32) + 0.5) / height
    return point_indices, jnp.stack([x, y], axis=-1)


class CandidatePoints(NamedTuple):
    """The random numbers of `choose_training_points`, uniform in [0, 1).

    oversampled: [N, kP, 2], of which the most uncertain are kept. uniform: [N, P - beta P, 2].
    """

    oversampled: Array
    uniform: Array


def draw_candidate_points(
    key: Array,
    num_regions: int,
    *,
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> CandidatePoints:
    """Candidates for the paper's four ways to choose training points (table 4), by the parameters:

      uniform            k = 1,  beta = 0
      mildly biased      k = 3,  beta = 0.75   (the default)
      heavily biased     k = 10, beta = 1
      regular grid       k = 0: no randomness; P must be a square

    Raises: ValueError if the parameters cannot be met.
    """
    if not 0.0 <= importance_sample_ratio <= 1.0:
        raise ValueError(
            f"importance_sample_ratio must be in [0, 1], got {importance_sample_ratio}."
        )
    if oversample_ratio == 0:
        side = math.isqrt(num_points)
        if side * side != num_points:
            raise ValueError(f"a regular grid needs a square number of points, got {num_points}.")
        grid = jnp.broadcast_to(regular_grid(side), (num_regions, num_points, 2))
        return CandidatePoints(jnp.zeros((num_regions, 0, 2)), grid)
    if oversample_ratio < 1:
        raise ValueError(
            f"oversample_ratio must be 0 (regular grid) or >= 1, got {oversample_ratio}."
        )
    num_uncertain = int(importance_sample_ratio * num_points)
    num_candidates = int(num_points * oversample_ratio) if num_uncertain else 0
    candidate_key, uniform_key = jax.random.split(key)
    return CandidatePoints(
        jax.random.uniform(candidate_key, (num_regions, num_candidates, 2)),
        jax.random.uniform(uniform_key, (num_regions, num_points - num_uncertain, 2)),
    )


def choose_training_points(
    candidates: CandidatePoints,
    coarse_logits: Float[Array, "N h w K"],
    uncertainty_fn: UncertaintyFn,
    *,
    num_points: int,
) -> Float[Array, "N P 2"]:
    """P training points of each region (3.1, training): the beta P most uncertain of the kP random
    candidates, then the uniform ones. No gradient flows through the choice.
    """
    num_uncertain = num_points - candidates.uniform.shape[1]
    if num_uncertain == 0:
        return candidates.uniform
    # Sample first, then take uncertainty: between logits -1 and +1 lies a 0, which is uncertain
    # although both of its neighbours are sure.
    candidate_logits = point_sample(jax.lax.stop_gradient(coarse_logits), candidates.oversampled)
    _, index = top_k(uncertainty_fn(candidate_logits), num_uncertain)
    uncertain = jnp.take_along_axis(candidates.oversampled, index[..., None], axis=1)
    return jnp.concatenate([uncertain, candidates.uniform], axis=1)


# --- 2. Point features --------------------------------------------------------------------------


def point_features(
    feature_maps: Sequence[Float[Array, "B _ _ _"]],
    regions: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    point_coords: Float[Array, "N P 2"],
    *,
    strides: Sequence[int],
) -> Float[Array, "N P C"]:
    """Fine-grained features: the maps' bilinear values at the points, maps concatenated (3.2).

    Args:
      feature_maps: one or more resolutions, zero beyond each image's padding.
      regions: xyxy in pixels of the network's input; may reach beyond the image, where there is 0.
      image_index: the image of each region.
      strides: of each map; its pixel i covers [i * stride, (i + 1) * stride] of the input.
    """
    if len(feature_maps) != len(strides):
        raise ValueError(f"{len(feature_maps)} feature maps need as many strides, got {strides}.")
    xy = points_in_image(regions, point_coords)
    sampled = []
    for features, stride in zip(feature_maps, strides, strict=True):
        _, height, width, channels = features.shape
        first_row = (image_index * (height * width))[:, None]
        rows = features.reshape(-1, channels)
        sampled.append(sample_rows(rows, first_row, (height, width), xy / stride))
    return jnp.concatenate(sampled, axis=-1)


# --- 3. Point head ------------------------------------------------------------------------------


class PointMLP(NamedTuple):
    """The MLP that predicts every point from its own features, shared by points and regions (3.3).

    Its two parts are products with the features, and all that follows.
    `finish(project(sample(maps)))` is the head as the paper writes it. Bilinear sampling is linear,
    zeros outside included, so it commutes with a product of channels. Therefore
    `finish(sample(project(maps)))` is the same, with fewer products where there are more points
    than cells of the maps: what is projected may be the features of maps or those of points.

    Attributes:
      kernels: [inputs, outputs] of each layer; after `of_class` the last is [N, inputs, 1], of each
        region. The rows of the first belong to the fine-grained features and then the coarse
        prediction; those of every other to the layer before it and then, if it sees it again, the
        coarse prediction.
      biases: [outputs] of each layer; after `of_class` the last is [N, 1].
      coarse_channels: Kc.
      coarse_each_layer: whether every layer sees the coarse prediction.
    """

    kernels: list[Array]
    biases: list[Array]
    coarse_channels: int
    coarse_each_layer: bool

    def __call__(
        self, fine_grained_features: Float[Array, "N P C"], coarse_features: Float[Array, "N P Kc"]
    ) -> Float[Array, "N P K"]:
        """Logits of every class at every point."""
        return self.finish(
            self.project_fine(fine_grained_features), self.project_coarse(coarse_features)
        )

    def of_class(self, classes: Int[Array, " N"]) -> "PointMLP":
        """With one output, that of each region's own class: exact, as no output reads another."""
        kernel = take_rows(self.kernels[-1].T, classes)[..., None]
        bias = take_rows(self.biases[-1], classes)[:, None]
        return self._replace(kernels=[*self.kernels[:-1], kernel], biases=[*self.biases[:-1], bias])

    def project_fine(
        self, features: Float[Array, "*S c"], first_channel: int = 0
    ) -> Float[Array, "*S fc_dim"]:
        """The first layer's product with fine-grained features, or with those of one map."""
        return features @ self.kernels[0][first_channel : first_channel + features.shape[-1]]

    def project_coarse(self, features: Float[Array, "N S Kc"]) -> list[Array]:
        """The product of every layer that sees the coarse prediction with it."""
        seeing = self.kernels if self.coarse_each_layer else self.kernels[:1]
        return [features @ kernel[..., -self.coarse_channels :, :] for kernel in seeing]

    def finish(self, fine: Float[Array, "N P fc_dim"], coarse: list[Array]) -> Array:
        """Logits [N, P, K] from both projections at the points: biases, ReLUs and hidden layers."""
        x = fine
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if layer > 0:
                x = relu(x)
                x = x @ kernel[..., : x.shape[-1], :]
            if layer < len(coarse):
                x = x + coarse[layer]
            x = x + bias.reshape(-1, 1, bias.shape[-1])
        return x
