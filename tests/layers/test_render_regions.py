"""Subdivision that ends where cells are small: the paper's, or upsampling, or something between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.regions import (
    Regions,
    grid_step,
    render_regions,
    skip_full_subdivisions,
    skipped_steps,
)
from pointrend_jax.models.build import build_model
from pointrend_jax.ops.resize import upsample_2x
from pointrend_jax.pointrend import binary_uncertainty, render
from tests.tiny import tiny_config

NUM_POINTS = 20
# Cells of 8, 4 and 2 px before the three steps of the first; of 1.25, 0.6 and 0.3 of the second.
BOXES = jnp.array([[0.0, 0.0, 64.0, 20.0], [5.0, 5.0, 15.0, 15.0]])


def _predict_points(point_coords: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(9 * point_coords), axis=-1, keepdims=True)


def _rendered(steps: int, min_cell_px: float) -> jax.Array:
    none = jnp.zeros(2, jnp.int32)
    regions = Regions(BOXES, none, none, none, jnp.ones(2, bool))
    return render_regions(
        _predict_points, regions,
        start=(8, steps), subdivision_num_points=NUM_POINTS, min_cell_px=min_cell_px,
    )[-1].logits  # fmt: skip


def _paper(steps: int) -> jax.Array:
    return render(
        grid_step(_predict_points, 2, 8).logits, _predict_points,
        binary_uncertainty,
        subdivision_steps=steps, subdivision_num_points=NUM_POINTS,
    )  # fmt: skip


def test_without_a_smallest_cell_every_region_is_subdivided_as_in_the_paper():
    np.testing.assert_array_equal(_rendered(3, 0.0), _paper(3))


@pytest.mark.parametrize(("side", "sides"), [(7, [14]), (14, []), (3, [6, 12, 24])])
def test_the_skipped_steps_predict_every_cell_up_to_where_rendering_starts(side, sides):
    """The paper's own steps do so: whatever the mask before them holds, no cell of it is left."""
    steps = skipped_steps(_predict_points, 2, side, 28)
    assert [step.logits.shape for step in steps] == [(2, s, s, 1) for s in sides]
    for step, s in zip(steps, sides, strict=True):
        before = jnp.full((2, s // 2, s // 2, 1), 99.0)
        paper = render(
            before, _predict_points, binary_uncertainty,
            subdivision_steps=1, subdivision_num_points=784,
        )  # fmt: skip
        np.testing.assert_allclose(step.logits, paper, rtol=1e-6)


# The steps of each region's own before its cells are too small.
@pytest.mark.parametrize(
    ("min_cell_px", "steps"), [(0.1, (3, 3)), (2.0, (3, 0)), (3.0, (2, 0)), (9.0, (0, 0))]
)
def test_a_region_is_subdivided_while_its_own_cells_are_large_enough(min_cell_px, steps):
    ours = _rendered(3, min_cell_px)
    for region, own in enumerate(steps):
        expected = _paper(own)
        for _ in range(3 - own):
            expected = upsample_2x(expected)
        np.testing.assert_allclose(ours[region], expected[region], rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(_paper(3) - upsample_2x(_paper(2))).max()) > 0.1


@pytest.mark.parametrize(
    ("side", "steps", "num_points", "expected"),
    [(7, 5, 784, (28, 3)), (7, 5, 195, (7, 5)), (7, 5, 196, (14, 4)), (7, 1, 784, (14, 0))],
)
def test_skip_full_subdivisions_skips_only_full_steps(
    side: int, steps: int, num_points: int, expected: tuple[int, int]
) -> None:
    assert skip_full_subdivisions(side, steps, num_points) == expected


@pytest.mark.parametrize("field", ["min_cell_px", "detections_per_chunk"])
def test_a_negative_setting_is_refused(field):
    config = tiny_config()
    config.model.mask[field] = -1
    with pytest.raises(ValueError, match=f"{field} must be a .* 0.*, got -1"):
        build_model(config)
