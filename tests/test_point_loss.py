"""Mask2Former's loss and costs at points: by hand, over padding, and its memory by the compiler."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from benchmarks.point_loss_memory import dense_loss, loss_at_points, memory
from pointrend_jax import point_loss
from pointrend_jax.point_loss import MatchingCosts, loss_points, mask_losses
from pointrend_jax.pointrend import CandidatePoints

# Operation by operation they are some hundred programs.
mask_losses_at = jax.jit(point_loss.mask_losses_at)
matching_costs = jax.jit(point_loss.matching_costs)

# Pixel centres of a map of one row and two columns.
CENTRES = np.array([[[0.25, 0.5], [0.75, 0.5]]], np.float32)
# Probabilities 1/2 and 3/4 of a mask that has the second pixel.
LOGITS, MASKS = np.array([[[0.0, np.log(3.0)]]], np.float32), np.array([[[False, True]]])
# (ln 2 + ln 4/3) / 2, and 1 - (2 * 3/4 + 1) / (5/4 + 1 + 1).
CROSS_ENTROPY, DICE = (np.log(2.0) + np.log(4 / 3)) / 2, 1 - 2.5 / 3.25


def test_losses_at_pixel_centres_are_those_of_the_pixels() -> None:
    losses = mask_losses_at(CENTRES, LOGITS, MASKS, np.array([True]))
    np.testing.assert_allclose(losses.cross_entropy.total, CROSS_ENTROPY, rtol=1e-6)
    np.testing.assert_allclose(losses.dice.total, DICE, rtol=1e-6)
    assert losses.cross_entropy.denominator == losses.dice.denominator == 1


def test_a_mask_may_have_another_resolution_than_its_logits() -> None:
    finer = MASKS.repeat(4, axis=1).repeat(2, axis=2)  # 4 x 4, points between equal ones
    losses = mask_losses_at(CENTRES, LOGITS, finer, np.array([True]))
    np.testing.assert_allclose(losses.dice.total, DICE, rtol=1e-6)


def test_points_are_the_uncertain_candidates_and_then_the_uniform_ones() -> None:
    logits = np.array([[[4, 0, -4, -8]]], np.float32)
    x = np.array([1, 3, 5, 7]) / 8
    oversampled = np.stack([x, np.full(4, 0.5)], axis=-1)[None].astype(np.float32)
    uniform = np.array([[[0.125, 0.875]]], np.float32)
    candidates = CandidatePoints(oversampled, uniform)  # type: ignore[arg-type]
    points = jax.jit(loss_points, static_argnames="num_points")(candidates, logits, num_points=2)
    np.testing.assert_array_equal(points, [[[3 / 8, 0.5], [0.125, 0.875]]])


def _random_masks(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(number, 6, 8)).astype(np.float32), rng.random((number, 12, 16)) < 0.4


@partial(jax.jit, static_argnames="masks_at_a_time")
def _losses_and_gradients(
    logits: jax.Array, masks: jax.Array, valid: jax.Array, masks_at_a_time: int
) -> tuple[jax.Array, jax.Array]:
    def losses(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        terms = mask_losses(
            jax.random.key(0), logits, masks, valid, num_points=40, masks_at_a_time=masks_at_a_time
        )
        of_each = jnp.stack([term.total / term.denominator for term in terms])
        return of_each, of_each

    gradients, of_each = jax.jacobian(losses, has_aux=True)(logits)
    return of_each, gradients


def test_padded_rows_and_parts_change_neither_losses_nor_gradients() -> None:
    logits, masks = _random_masks(5)
    padded = _losses_and_gradients(logits, masks, np.arange(5) < 3, masks_at_a_time=2)
    losses, gradients = (np.asarray(x) for x in padded)
    of_valid = _losses_and_gradients(logits[:3], masks[:3], np.ones(3, bool), masks_at_a_time=3)
    np.testing.assert_allclose(losses, of_valid[0], rtol=1e-6)
    np.testing.assert_allclose(gradients[:, :3], of_valid[1], rtol=1e-5, atol=1e-7)
    assert np.abs(of_valid[1]).max() > 0
    assert not np.any(gradients[:, 3:])


def test_losses_of_no_mask_are_0_of_0() -> None:
    logits, masks = (jnp.asarray(x) for x in _random_masks(1))
    # Operation by operation too, as in a notebook.
    losses = mask_losses(jax.random.key(0), logits, masks, jnp.array([False]), num_points=4)
    assert [float(x) for term in losses for x in term] == [0, 0, 0, 0]


def test_losses_follow_the_key() -> None:
    logits, masks = _random_masks(2)
    losses = jax.jit(partial(mask_losses, num_points=9))
    totals = [
        float(losses(jax.random.key(key), logits, masks, np.ones(2, bool)).dice.total)
        for key in (3, 3, 4)
    ]
    assert totals[0] == totals[1] != totals[2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"masks_at_a_time": 0}, r"masks_at_a_time must be at least 1, got 0"),
        ({"oversample_ratio": 0.5}, r"oversample_ratio must be 0 \(regular grid\) or >= 1"),
        ({"importance_sample_ratio": 1.5}, r"importance_sample_ratio must be in \[0, 1\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_told(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            partial(mask_losses, **wrong), jax.random.key(0), *_random_masks(1), np.array([True])
        )


def test_costs_are_those_of_every_pair() -> None:
    # Query 0 is certain of class 0 to 1/2 and predicts LOGITS; query 1 predicts the opposite.
    class_logits = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], np.float32))
    mask_logits = np.concatenate([LOGITS, LOGITS[..., ::-1]])
    masks = np.concatenate([MASKS, MASKS[..., ::-1]])
    found = matching_costs(
        CENTRES[0], class_logits, mask_logits, np.array([1, 0]), masks, np.array([True, True])
    )
    costs = MatchingCosts(*(np.asarray(x) for x in found))  # type: ignore[arg-type]
    np.testing.assert_allclose(costs.of_class, [[-0.25, -0.5], [-0.75, -0.125]], rtol=1e-6)
    # Of the other object: ln 2 at its own pixel and ln 4 at that which it lacks; nothing but 1/2.
    other = (np.log(2.0) + np.log(4.0)) / 2
    np.testing.assert_allclose(
        costs.cross_entropy, [[CROSS_ENTROPY, other], [other, CROSS_ENTROPY]], rtol=1e-6
    )
    apart = 1 - (2 * 0.5 + 1) / 3.25
    np.testing.assert_allclose(costs.dice, [[DICE, apart], [apart, DICE]], rtol=1e-6)
    np.testing.assert_allclose(
        costs.total((1.0, 10.0, 100.0))[0, 0], -0.25 + 10 * CROSS_ENTROPY + 100 * DICE, rtol=1e-6
    )


def test_the_assignment_of_objects_is_not_changed_by_padded_ones() -> None:
    _, masks = _random_masks(3)
    queries = np.where(masks, 6, -6).astype(np.float32)[[2, 0, 1]]
    points = np.random.default_rng(5).random((64, 2), np.float32)
    found = matching_costs(
        points, np.zeros((3, 2), np.float32), queries,
        np.zeros(3, np.int32), masks, np.array([True, True, False]),
    )  # fmt: skip
    costs = MatchingCosts(*(np.asarray(x) for x in found))  # type: ignore[arg-type]
    assert not np.any(np.stack(costs)[..., 2])
    query, of = linear_sum_assignment(costs.total())
    assert dict(zip(of.tolist(), query.tolist(), strict=True)) == {0: 1, 1: 2, 2: 0}


def test_costs_have_no_gradient() -> None:
    def total(class_logits: jax.Array, logits: jax.Array) -> jax.Array:
        costs: MatchingCosts = matching_costs(
            CENTRES[0], class_logits, logits, np.array([0]), MASKS, np.array([True])
        )
        return jnp.sum(costs.total())

    gradients = jax.jit(jax.grad(total, (0, 1)))(np.zeros((1, 2), np.float32), LOGITS)
    assert not any(np.any(gradient) for gradient in gradients)


def test_memory_at_points_is_a_third_of_the_dense_loss_at_most() -> None:
    dense, at_points = (memory(loss, 100, 256, 256) for loss in (dense_loss, loss_at_points))
    assert dense[:2] == at_points[:2]
    assert 3 * at_points.temporary < dense.temporary
