"""The mask loss of Mask2Former, at points (Cheng et al., CVPR 2022, section 3.3), for any network.

PointRend's sampler chooses where a predicted mask is compared with its object, instead of at every
pixel: three times as many points as are wanted are drawn, most of these are the most uncertain ones
(`pointrend.choose_training_points`), and there cross entropy and dice are taken. Which query is to
predict which object is decided before, by costs at points that all masks share.

What this file does not do: the assignment itself. It needs `MatchingCosts.total` alone, so it is
one call of `scipy.optimize.linear_sum_assignment` on the host, or of
`optax.assignment.hungarian_algorithm` within a jitted step.

N matched masks, Q queries, G objects, P points, K classes. Masks are maps of any resolution: the
predicted ones need not have that of the true ones. Only jax is needed.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from pointrend_jax.ops.losses import LossTerm, mean_over, sigmoid_cross_entropy
from pointrend_jax.ops.points import point_sample
from pointrend_jax.ops.scatter import take_rows
from pointrend_jax.pointrend import (
    CandidatePoints,
    binary_uncertainty,
    choose_training_points,
    draw_candidate_points,
)

# Mask2Former's: 112 x 112 points of a mask, and its k and beta.
NUM_POINTS = 12544
OVERSAMPLE_RATIO = 3.0
IMPORTANCE_SAMPLE_RATIO = 0.75
# Its weights of class, cross entropy and dice, in the costs and in the loss.
WEIGHTS = (2.0, 5.0, 5.0)


class MaskLosses(NamedTuple):
    """Sums over valid masks, and their number: divided, Mask2Former's loss_mask and loss_dice.

    With masks on several devices both parts are added over them before dividing.
    """

    cross_entropy: LossTerm
    dice: LossTerm


class MatchingCosts(NamedTuple):
    """[Q, G] each, 0 for objects that are not valid.

    A column of equal costs changes no assignment of the others, if there are no more objects than
    queries, padded ones included.

    Attributes:
      of_class: minus the probability of the object's class.
      cross_entropy: mean over the points.
      dice: 1 - dice.
    """

    of_class: Array
    cross_entropy: Array
    dice: Array

    def total(self, weights: tuple[float, float, float] = WEIGHTS) -> Float[Array, "Q G"]:
        """The weighted sum, to be made smallest by the assignment."""
        return sum((w * cost for w, cost in zip(weights, self, strict=True)), jnp.zeros(()))


def mask_losses(
    key: Array,
    mask_logits: Float[Array, "N H W"],
    masks: Num[Array, "N h w"] | Bool[Array, "N h w"],
    valid: Bool[Array, " N"],
    *,
    num_points: int = NUM_POINTS,
    oversample_ratio: float = OVERSAMPLE_RATIO,
    importance_sample_ratio: float = IMPORTANCE_SAMPLE_RATIO,
    masks_at_a_time: int = 4,
) -> MaskLosses:
    """`mask_losses_at` the points that `loss_points` chooses, drawn anew from the key.

    Memory beyond the arguments and their gradient is that of a few masks: points are drawn and
    compared for so many at a time, and again in the backward pass.

    Args:
      mask_logits: of the query that each object is matched with.
      masks: the objects, 0 and 1 or shares of a pixel.
      valid: False for a padded row, which may hold anything finite.
      masks_at_a_time: does not change which points are drawn.

    Raises: ValueError as `draw_candidate_points`, or if `masks_at_a_time` is below 1.
    """
    if masks_at_a_time < 1:
        raise ValueError(f"masks_at_a_time must be at least 1, got {masks_at_a_time}.")
    num_masks = mask_logits.shape[0]

    def draw(row: Array) -> CandidatePoints:
        drawn = draw_candidate_points(
            jax.random.fold_in(key, row), 1, num_points=num_points,
            oversample_ratio=oversample_ratio, importance_sample_ratio=importance_sample_ratio,
        )  # fmt: skip
        return jax.tree.map(lambda x: x[0], drawn)

    @jax.checkpoint
    def of_some(rows: tuple[Array, Array, Array, Array]) -> MaskLosses:
        numbers, *of_masks = rows
        points = loss_points(jax.vmap(draw)(numbers), of_masks[0], num_points=num_points)
        return mask_losses_at(points, *of_masks)

    at_a_time = max(1, min(masks_at_a_time, num_masks))
    rows = (jnp.arange(num_masks), mask_logits, masks, valid)
    losses = jax.lax.map(of_some, jax.tree.map(lambda x: _in_parts(x, at_a_time), rows))
    return jax.tree.map(jnp.sum, losses)


def loss_points(
    candidates: CandidatePoints, mask_logits: Float[Array, "N H W"], *, num_points: int
) -> Float[Array, "N P 2"]:
    """The points of the loss: of the candidates the most uncertain ones, and uniform ones.

    `pointrend.draw_candidate_points` draws candidates. No gradient flows through the choice.
    """
    points = choose_training_points(
        candidates, mask_logits[..., None], binary_uncertainty, num_points=num_points
    )
    return jax.lax.stop_gradient(points)


def mask_losses_at(
    point_coords: Float[Array, "N P 2"],
    mask_logits: Float[Array, "N H W"],
    masks: Num[Array, "N h w"] | Bool[Array, "N h w"],
    valid: Bool[Array, " N"],
) -> MaskLosses:
    """Cross entropy (mean over the points) and 1 - dice of each mask at its points.

    Dice has 1 added to both parts of its fraction, as Mask2Former has it, and is of soft masks.

    Source: Mask2Former, mask2former/modeling/criterion.py.
    """
    logits = point_sample(mask_logits[..., None], point_coords)[..., 0]
    labels = jax.lax.stop_gradient(_labels_at(point_coords, masks))
    everywhere = jnp.broadcast_to(valid[:, None], logits.shape)
    cross_entropy = jnp.mean(sigmoid_cross_entropy(logits, labels, everywhere), axis=1)
    probabilities = jax.nn.sigmoid(logits)
    shared = jnp.sum(probabilities * labels, axis=1)
    dice = _dice_loss(shared, jnp.sum(probabilities, axis=1) + jnp.sum(labels, axis=1))
    return MaskLosses(mean_over(cross_entropy, valid), mean_over(dice, valid))


def matching_costs(
    point_coords: Float[Array, "P 2"],
    class_logits: Float[Array, "Q K"],
    mask_logits: Float[Array, "Q H W"],
    classes: Int[Array, " G"],
    masks: Num[Array, "G h w"] | Bool[Array, "G h w"],
    valid: Bool[Array, " G"],
) -> MatchingCosts:
    """What it costs that a query predicts an object, of all pairs in one image. Without a gradient.

    Args:
      point_coords: uniform in [0, 1), the same for all masks; Mask2Former draws 12544.
      class_logits: of all classes, and of none if the network has one.
    Source: Mask2Former, mask2former/modeling/matcher.py.
    """
    class_logits, mask_logits = jax.lax.stop_gradient((class_logits, mask_logits))
    probabilities = jax.nn.softmax(class_logits, axis=-1)
    of_class = -take_rows(probabilities.T, classes).T

    def at_points(num: int) -> Array:
        return jnp.broadcast_to(point_coords, (num, *point_coords.shape))

    logits = point_sample(mask_logits[..., None], at_points(len(mask_logits)))[..., 0]
    labels = _labels_at(at_points(len(masks)), masks)
    # The cost of the label 1 at a point, and of the label 0.
    positive, negative = -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
    exact = jax.lax.Precision.HIGHEST
    cross_entropy = jnp.matmul(positive, labels.T, precision=exact)
    cross_entropy += jnp.matmul(negative, (1.0 - labels).T, precision=exact)
    insides = jax.nn.sigmoid(logits)
    shared = jnp.matmul(insides, labels.T, precision=exact)
    both = jnp.sum(insides, axis=1)[:, None] + jnp.sum(labels, axis=1)[None, :]
    costs = MatchingCosts(of_class, cross_entropy / point_coords.shape[0], _dice_loss(shared, both))
    return jax.tree.map(lambda cost: jnp.where(valid[None, :], cost, 0.0), costs)


def _labels_at(point_coords: Float[Array, "N P 2"], masks: Array) -> Float[Array, "N P"]:
    return point_sample(masks.astype(jnp.float32)[..., None], point_coords)[..., 0]


def _dice_loss(shared: Array, both: Array) -> Array:
    return 1.0 - (2.0 * shared + 1.0) / (both + 1.0)


def _in_parts(rows: Array, at_a_time: int) -> Array:
    """[N, ...] as [parts, at_a_time, ...], filled up with zeros, which are not valid."""
    filled = jnp.pad(rows, [(0, -rows.shape[0] % at_a_time), *[(0, 0)] * (rows.ndim - 1)])
    return filled.reshape(-1, at_a_time, *rows.shape[1:])
