"""Subdivision that ends where cells are small: the paper's, or upsampling, or something between."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.regions import (
    Regions,
    grid_step,
    points_of_window,
    render_regions,
    render_windows,
    skip_full_subdivisions,
    skipped_steps,
    window_start,
)
from pointrend_jax.masks.boundary import boundary_iou
from pointrend_jax.models.build import build_model
from pointrend_jax.ops.resize import upsample_2x
from pointrend_jax.pointrend import binary_uncertainty, render, render_steps
from tests.tiny import tiny_config

NUM_POINTS = 20
# Cells of 8, 4 and 2 px before the three steps of the first; of 1.25, 0.6 and 0.3 of the second.
BOXES = np.array([[0.0, 0.0, 64.0, 20.0], [5.0, 5.0, 15.0, 15.0]], np.float32)


def _predict_points(point_coords: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(9 * point_coords), axis=-1, keepdims=True)


@cache
def _rendered(steps: int, min_cell_px: float) -> np.ndarray:
    def rendered() -> jax.Array:
        none = jnp.zeros(2, jnp.int32)
        regions = Regions(jnp.asarray(BOXES), none, none, none, jnp.ones(2, bool))
        return render_regions(
            _predict_points, regions,
            start=(8, steps), subdivision_num_points=NUM_POINTS, min_cell_px=min_cell_px,
        )[-1].logits  # fmt: skip

    return np.asarray(jax.jit(rendered)())


@cache
def _paper() -> list[list[np.ndarray]]:
    """After each number of steps, 0 to 3: the logits, upsampled to each size up to the last."""

    def rendered() -> list[list[jax.Array]]:
        start = grid_step(_predict_points, 2, 8).logits
        steps = render_steps(
            start, _predict_points, binary_uncertainty,
            subdivision_steps=3, subdivision_num_points=NUM_POINTS,
        )  # fmt: skip
        by_steps = []
        for number, logits in enumerate((start, *(step.logits for step in steps))):
            sizes = [logits]
            for _ in range(3 - number):
                sizes.append(upsample_2x(sizes[-1]))
            by_steps.append(sizes)
        return by_steps

    return jax.device_get(jax.jit(rendered)())


def test_without_a_smallest_cell_every_region_is_subdivided_as_in_the_paper():
    np.testing.assert_array_equal(_rendered(3, 0.0), _paper()[3][-1])


@pytest.mark.parametrize(("side", "sides"), [(7, [14]), (14, []), (3, [6, 12, 24])])
def test_the_skipped_steps_predict_every_cell_up_to_where_rendering_starts(side, sides):
    """The paper's own steps do so: whatever the mask before them holds, no cell of it is left."""

    @jax.jit
    def both() -> Any:
        steps = skipped_steps(_predict_points, 2, side, 28)
        papers = [
            render(
                jnp.full((2, s // 2, s // 2, 1), 99.0), _predict_points, binary_uncertainty,
                subdivision_steps=1, subdivision_num_points=784,
            )
            for s in sides
        ]  # fmt: skip
        return [step.logits for step in steps], papers

    steps, papers = both()
    assert [logits.shape for logits in steps] == [(2, s, s, 1) for s in sides]
    for logits, paper in zip(steps, papers, strict=True):
        np.testing.assert_allclose(logits, paper, rtol=1e-6)


# The steps of each region's own before its cells are too small.
@pytest.mark.parametrize(
    ("min_cell_px", "steps"), [(0.1, (3, 3)), (2.0, (3, 0)), (3.0, (2, 0)), (9.0, (0, 0))]
)
def test_a_region_is_subdivided_while_its_own_cells_are_large_enough(min_cell_px, steps):
    ours = _rendered(3, min_cell_px)
    for region, own in enumerate(steps):
        expected = _paper()[own][-1]
        np.testing.assert_allclose(ours[region], expected[region], rtol=1e-5, atol=1e-6)
    assert float(np.abs(_paper()[3][-1] - _paper()[2][-1]).max()) > 0.1


@pytest.mark.parametrize(
    ("side", "steps", "num_points", "expected"),
    [(7, 5, 784, (28, 3)), (7, 5, 195, (7, 5)), (7, 5, 196, (14, 4)), (7, 1, 784, (14, 0))],
)
def test_skip_full_subdivisions_skips_only_full_steps(
    side: int, steps: int, num_points: int, expected: tuple[int, int]
) -> None:
    assert skip_full_subdivisions(side, steps, num_points) == expected


WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]] * 2, np.float32)


def _window(windows: np.ndarray, hw: tuple[int, int], num_points: int = NUM_POINTS) -> list:
    @jax.jit
    def steps(windows: jax.Array) -> list:
        return render_windows(
            _predict_points, windows,
            hw=hw, side=64, coarse_side=8, subdivision_num_points=num_points,
        )  # fmt: skip

    return steps(windows)


def test_the_window_of_a_whole_region_is_rendered_as_the_region_is():
    np.testing.assert_array_equal(_window(WHOLE, (64, 64))[-1].logits, _rendered(3, 0.0))


def test_points_of_a_window_are_predicted_where_they_lie_in_the_region():
    # Three quarters of the width from a quarter on, the lower half.
    window = np.array([[0.25, 0.5, 1.0, 1.0]], np.float32)
    # 40 pixels are few enough to be predicted all: rows at 0.55, 0.65 ..., columns at 0.25 + 3/64.
    steps = _window(window, (5, 8), 900)
    assert len(steps) == 1
    y, x = 0.5 + 0.5 * (np.arange(5) + 0.5) / 5, 0.25 + 0.75 * (np.arange(8) + 0.5) / 8
    expected = np.sin(9 * x)[None] + np.sin(9 * y)[:, None]
    np.testing.assert_allclose(steps[0].logits[0, ..., 0], expected, atol=1e-5)


def test_beyond_the_region_its_border_is_repeated():
    logits = _window(np.array([[0.0, 0.0, 1.0, 2.0]], np.float32), (8, 8))[0].logits[0, ..., 0]
    # The lower half of the window lies below the region, at y = 1.
    x = (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(logits[4:], np.tile(np.sin(9 * x) + np.sin(9.0), (4, 1)), atol=1e-5)


def test_a_window_of_twice_the_side_gets_twice_the_points_a_step():
    assert points_of_window((224, 224), 224, 784) == 784
    assert points_of_window((448, 448), 224, 784) == points_of_window((224, 896), 224, 784) == 1568
    steps = jax.eval_shape(lambda windows: _window(windows, (128, 128)), WHOLE)
    assert [step.logits.shape[1] for step in steps] == [8, 16, 32, 64, 128]
    assert [step.point_coords.shape[1] for step in steps] == [64, 40, 40, 40, 40]


@pytest.mark.parametrize(
    ("side", "steps", "num_points"),
    [(7, 5, 784), (7, 5, 195), (7, 5, 196), (7, 1, 784), (28, 3, 784)],
)
def test_a_window_of_the_size_of_the_whole_mask_starts_as_it_does(
    side: int, steps: int, num_points: int
) -> None:
    whole = side * 2**steps
    start, left = skip_full_subdivisions(side, steps, num_points)
    assert window_start((whole, whole), side, num_points) == ((start, start), left)


@pytest.mark.parametrize(
    ("hw", "expected"),
    [((512, 512), ((16, 16), 5)), ((224, 448), ((7, 14), 5)), ((56, 448), ((7, 56), 3)),
     ((100, 60), ((25, 15), 2)), ((33, 64), ((33, 64), 0))],
)  # fmt: skip
def test_windows_of_any_sides_start_from_a_grid_that_is_halved_as_often_as_it_can(
    hw: tuple[int, int], expected: tuple[tuple[int, int], int]
) -> None:
    assert window_start(hw, 7, 300) == expected


def _gear(point_coords: Any) -> Any:
    """Positive within a gear of 24 teeth, each as deep as a tenth of the mask's 28 cells."""
    x, y = (point_coords[..., axis] - 0.5 for axis in (0, 1))
    angle = jnp.arctan2(y, x)
    outline = 0.35 + 0.05 * jnp.sin(24 * angle)
    return (60 * (outline - jnp.hypot(x, y)))[..., None]


def test_an_outline_at_eight_times_the_resolution_is_the_head_s_and_no_upsampled_one():
    """A head that knows the truth gives it at any zoom; the same mask, upsampled, does not."""

    def rendered(side: int) -> jax.Array:
        windows = jnp.asarray(WHOLE[:1])
        return render_windows(
            _gear, windows, hw=(side, side), side=28, coarse_side=7, subdivision_num_points=196
        )[-1].logits

    whole, zoomed = jax.jit(lambda: (rendered(28), rendered(224)))()
    for _ in range(3):
        whole = upsample_2x(whole)
    centres = (np.arange(224) + 0.5) / 224
    truth = np.asarray(_gear(jnp.asarray(np.stack(np.meshgrid(centres, centres), axis=-1))))
    # Bands of two pixels of the zoomed mask.
    band = 2 / np.hypot(224, 224)
    upsampled, head = (
        boundary_iou(np.asarray(logits)[0, ..., 0] > 0, truth[..., 0] > 0, band)
        for logits in (whole, zoomed)
    )
    assert upsampled < 0.5
    assert head > 0.99


@pytest.mark.parametrize("field", ["min_cell_px", "detections_per_chunk"])
def test_a_negative_setting_is_refused(field):
    config = tiny_config()
    config.model.mask[field] = -1
    with pytest.raises(ValueError, match=f"{field} must be a .* 0.*, got -1"):
        build_model(config)
