"""The two choices of training at points: which points, and what a wrong prediction there costs.

Both are plain functions that a config names, the same for masks and for label maps but for what
a label is; what they give is checked when they are traced.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pointrend_jax.ops.losses import LossTerm, mean_over
from pointrend_jax.pointrend import CandidatePoints, UncertaintyFn


@runtime_checkable
class Sampler(Protocol):
    """Which points a region is trained on; `pointrend.choose_training_points` is the paper's."""

    def __call__(
        self,
        candidates: CandidatePoints,
        coarse_logits: Array,
        uncertainty_fn: UncertaintyFn,
        *,
        num_points: int,
    ) -> Array:
        """Points float32 [N, P, 2], (x, y) in [0, 1] of their region.

        They are a function of the arguments alone: `candidates` are the random numbers. No gradient
        flows through the choice.

        Args:
          candidates: as many as `oversample_ratio` and `importance_sample_ratio` say
            (`pointrend.draw_candidate_points`).
          coarse_logits: float32 [N, h, w, K]; of masks K is 1, the region's own class.
          uncertainty_fn: from logits [..., K] to [...]; higher is more uncertain.
          num_points: P.
        """
        ...


@runtime_checkable
class PointLoss(Protocol):
    """What predictions at points cost; `ops.losses.sigmoid_cross_entropy` (masks) and
    `softmax_cross_entropy` (label maps) are the paper's."""

    def __call__(self, logits: Array, labels: Array, valid: Array) -> Array:
        """The loss of every point, float32 [N, P]; its mean over the valid ones is optimised.

        A loss of a region as a whole is repeated at its points.

        Args:
          logits: float32; of masks [N, P], of the region's own class; of label maps [N, P, K].
          labels: of masks float32 [N, P] in [0, 1], the bilinear value of the mask; of label
            maps int32 [N, P], the class, 0 where there is no ground truth.
          valid: bool [N, P]; False where a region or a label is none.
        """
        ...


def training_points(
    sampler: Sampler,
    candidates: CandidatePoints,
    coarse_logits: Float[Array, "N h w K"],
    uncertainty_fn: UncertaintyFn,
    *,
    num_points: int,
) -> Float[Array, "N P 2"]:
    """The points that `sampler` chooses, without a gradient.

    Raises: ValueError, when traced, unless they are float32 [N, P, 2].
    """
    point_coords = sampler(candidates, coarse_logits, uncertainty_fn, num_points=num_points)
    expected = (coarse_logits.shape[0], num_points, 2)
    _check(point_coords, expected, f"the sampler {_name(sampler)} must give points [N, P, 2]")
    return jax.lax.stop_gradient(point_coords)


def loss_at_points(
    loss: PointLoss,
    logits: Float[Array, "N P *K"],
    labels: Array,
    valid: Bool[Array, "N P"],
) -> LossTerm:
    """`loss` summed over the valid points, and their number.

    Raises: ValueError, when traced, unless it gives float32 [N, P].
    """
    of_points = loss(logits, labels, valid)
    what = f"the point loss {_name(loss)} must give the loss of every point [N, P]"
    _check(of_points, valid.shape, what)
    return mean_over(of_points, valid)


def _check(given: Any, shape: tuple[int, ...], what: str) -> None:
    if getattr(given, "shape", None) != shape or given.dtype != jnp.float32:
        got = f"{given.dtype} {list(given.shape)}" if hasattr(given, "shape") else repr(given)[:200]
        raise ValueError(f"{what} = {list(shape)} in float32, got {got}.")


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
