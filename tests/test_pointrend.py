"""The algorithm: what selection, rendering and the point head promise, on cases checked by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.regions import grid_step
from pointrend_jax.ops import resize
from pointrend_jax.ops.points import regular_grid
from pointrend_jax.pointrend import (
    binary_uncertainty,
    choose_training_points,
    draw_candidate_points,
    multiclass_uncertainty,
    point_features,
    render,
    select_uncertain_points,
    subdivide,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Operation by operation it is some ten programs.
upsample_2x = jax.jit(resize.upsample_2x)


def disc(point_coords: jax.Array) -> jax.Array:
    """A sharp-edged truth: logit of the signed distance to a circle of radius 0.3."""
    distance = jnp.sqrt(jnp.sum((point_coords - 0.5) ** 2, axis=-1))
    return 40.0 * (0.3 - distance)[..., None]


@partial(jax.jit, static_argnums=(0, 1))
def _grid(num_regions: int, side: int) -> jax.Array:
    return grid_step(disc, num_regions, side).logits


@pytest.fixture(scope="module")
def coarse() -> jax.Array:
    return _grid(1, 7)


def test_render_with_all_points_chosen_equals_predicting_every_pixel(coarse: jax.Array) -> None:
    # Operation by operation too, as in a notebook.
    rendered = render(
        coarse, disc, binary_uncertainty, subdivision_steps=2, subdivision_num_points=28 * 28
    )
    np.testing.assert_allclose(rendered, _grid(1, 28), atol=1e-5)


def test_unchosen_pixels_equal_plain_upsampling(coarse: jax.Array) -> None:
    step = jax.jit(lambda x: subdivide(x, disc, binary_uncertainty, 20))(coarse)
    upsampled = np.ravel(upsample_2x(coarse))
    chosen = np.zeros(14 * 14, bool)
    chosen[step.point_indices[0]] = True
    assert chosen.sum() == 20
    logits = np.ravel(step.logits)
    np.testing.assert_array_equal(logits[~chosen], upsampled[~chosen])
    np.testing.assert_allclose(
        logits[chosen],
        np.asarray(jax.jit(disc)(step.point_coords))[0, np.argsort(step.point_indices[0]), 0],
        rtol=1e-5,
        atol=1e-5,
    )


def test_render_sharpens_the_boundary_that_upsampling_blurs(coarse: jax.Array) -> None:
    truth = np.asarray(_grid(1, 56)) > 0

    @jax.jit
    def rendered(coarse: jax.Array) -> jax.Array:
        return render(
            coarse, disc, binary_uncertainty, subdivision_steps=3, subdivision_num_points=196
        )

    smooth = upsample_2x(upsample_2x(upsample_2x(coarse)))
    wrong = [((np.asarray(logits) > 0) != truth).sum() for logits in (rendered(coarse), smooth)]
    assert wrong[0] == 0
    assert wrong[1] > 30


def test_select_uncertain_points_picks_the_highest_and_their_pixel_centres() -> None:
    uncertainty = jnp.array([[[0.0, 5.0, 1.0], [9.0, 2.0, 3.0]]])
    index, coords = select_uncertain_points(uncertainty, 2)
    np.testing.assert_array_equal(index, [[3, 1]])
    np.testing.assert_allclose(coords[0], [[1 / 6, 3 / 4], [1 / 2, 1 / 4]], rtol=1e-6)


def test_select_uncertain_points_takes_no_more_than_there_are() -> None:
    index, _ = select_uncertain_points(jnp.zeros((2, 2, 2)), 100)
    assert index.shape == (2, 4)


def test_uncertainty_is_highest_at_even_odds() -> None:
    binary = binary_uncertainty(jnp.array([-3.0, 0.0, 1.0])[:, None])
    assert int(jnp.argmax(binary)) == 1
    multiclass = multiclass_uncertainty(jnp.array([[5.0, 4.9, 0.0], [9.0, 0.0, 1.0]]))
    np.testing.assert_allclose(multiclass, [-0.1, -8.0], rtol=1e-5)


STRATEGIES = {"uniform": (1.0, 0.0), "mild": (3.0, 0.75), "heavy": (10.0, 1.0)}


@partial(jax.jit, static_argnames=("ratio", "importance", "num_points"))
def _training_points(
    ratio: float, importance: float, coarse_logits: jax.Array, num_points: int = 196
) -> jax.Array:
    candidates = draw_candidate_points(
        jax.random.key(0), len(coarse_logits),
        num_points=num_points, oversample_ratio=ratio, importance_sample_ratio=importance,
    )  # fmt: skip
    return choose_training_points(
        candidates, coarse_logits, binary_uncertainty, num_points=num_points
    )


def test_training_points_crowd_the_boundary_as_the_bias_grows() -> None:
    distance = {
        name: np.abs(jax.jit(disc)(_training_points(*how, _grid(4, 28)))).mean()
        for name, how in STRATEGIES.items()
    }
    assert distance["heavy"] < 0.5 * distance["mild"] < 0.5 * distance["uniform"]


def test_training_points_are_as_many_as_asked_and_inside() -> None:
    for how in STRATEGIES.values():
        points = np.asarray(_training_points(*how, _grid(4, 28)))
        assert points.shape == (4, 196, 2)
        assert points.min() >= 0.0
        assert points.max() <= 1.0


def test_mild_sampling_keeps_a_quarter_uniform() -> None:
    draw = partial(
        draw_candidate_points, num_regions=2,
        num_points=196, oversample_ratio=3.0, importance_sample_ratio=0.75,
    )  # fmt: skip
    candidates = jax.eval_shape(draw, jax.random.key(1))
    assert candidates.oversampled.shape == (2, 588, 2)
    assert candidates.uniform.shape == (2, 49, 2)


def test_regular_grid_strategy_has_no_randomness() -> None:
    points = _training_points(0.0, 0.0, _grid(3, 7), num_points=49)
    np.testing.assert_array_equal(points, np.broadcast_to(regular_grid(7), (3, 49, 2)))


@pytest.mark.parametrize(
    ("num_points", "ratio", "importance", "message"),
    [(50, 0.0, 0.0, "square"), (49, 0.5, 0.0, "oversample_ratio"), (49, 3.0, 1.5, "importance")],
)
def test_impossible_sampling_parameters_are_named(
    num_points: int, ratio: float, importance: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw_candidate_points(
            jax.random.key(0), 1,
            num_points=num_points, oversample_ratio=ratio, importance_sample_ratio=importance,
        )  # fmt: skip


def test_point_features_concatenate_every_level() -> None:
    fine, coarse = np.full((2, 8, 8, 3), 2, np.float32), np.full((2, 4, 4, 5), 7, np.float32)
    regions, points = np.array([[8, 8, 24, 24]], np.float32), np.full((1, 4, 2), 0.5, np.float32)
    features = jax.jit(point_features, static_argnames="strides")(
        [fine, coarse], regions, np.array([1]), points, strides=(4, 8)
    )
    np.testing.assert_allclose(np.asarray(features)[0, 0], [2, 2, 2, 7, 7, 7, 7, 7], rtol=1e-6)


@pytest.mark.parametrize("each_layer", [True, False])
def test_point_head_sees_the_coarse_prediction_at_every_layer_or_once(*, each_layer: bool) -> None:
    head = PointHead(num_classes=2, fc_dim=8, num_fcs=3, coarse_each_layer=each_layer)
    fine, coarse = np.ones((1, 5, 4), np.float32), np.ones((1, 5, 2), np.float32)
    params: Any = jax.eval_shape(head.init, jax.random.key(0), fine, coarse)["params"]
    widths = [params[name]["kernel"].shape[0] for name in ("fc1", "fc2", "fc3", "predictor")]
    assert widths == ([6, 10, 10, 10] if each_layer else [6, 8, 8, 8])


def test_point_head_is_shared_by_points_and_regions() -> None:
    head = PointHead(num_classes=3, fc_dim=8)
    rng = np.random.default_rng(0)
    fine, coarse = (rng.normal(size=(2, 3, width)).astype(np.float32) for width in (4, 3))
    variables = jax.jit(head.init)(jax.random.key(0), fine, coarse)
    together = jax.jit(head.apply)(variables, fine, coarse)
    alone = jax.jit(head.apply)(variables, fine[1:, 2:], coarse[1:, 2:])
    np.testing.assert_allclose(np.asarray(together)[1:, 2:], alone, rtol=1e-5, atol=1e-6)
