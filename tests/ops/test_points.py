"""Reading and writing maps at points, by hand and by property."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.ops import points as ops
from pointrend_jax.ops.points import point_scatter, regular_grid

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Operation by operation it is some twenty programs each.
point_sample = jax.jit(ops.point_sample)
point_sample_bits = jax.jit(ops.point_sample_bits)
point_sample_nearest = jax.jit(ops.point_sample_nearest)
points_in_image = jax.jit(ops.points_in_image)


def test_point_sample_at_pixel_centres_gives_back_the_map() -> None:
    features = np.arange(25.0, dtype=np.float32).reshape(1, 5, 5, 1)
    # Operation by operation too, as in a notebook.
    sampled = ops.point_sample(jnp.asarray(features), regular_grid(5)[None])
    np.testing.assert_allclose(np.reshape(sampled, (5, 5)), features[0, ..., 0], atol=1e-5)


def test_point_sample_blends_with_zero_in_the_outer_half_cell() -> None:
    ones = np.ones((1, 4, 4, 1), np.float32)
    corner_edge_outside = [[[0.0, 0.0], [0.0, 0.5], [1.2, 0.5], [-1e9, 0.5]]]
    sampled = point_sample(ones, np.array(corner_edge_outside, np.float32))
    np.testing.assert_allclose(np.ravel(sampled), [0.25, 0.5, 0.0, 0.0], atol=1e-6)


def test_point_scatter_writes_only_the_points() -> None:
    canvas = jnp.zeros((1, 2, 3, 1))
    written = point_scatter(canvas, jnp.array([[1, 5]]), jnp.array([[[7.0], [9.0]]]))
    np.testing.assert_array_equal(np.squeeze(written), [[0, 7, 0], [0, 0, 9]])


def test_point_sample_nearest_rounds_half_to_even() -> None:
    labels = np.array([[[1, 2, 3, 4]]], np.float32)
    # x * 4 - 0.5 is 0.5, 1.5 and 3.5: rounds to 0, 2 and 4, which is outside.
    points = np.array([[[0.25, 0.5], [0.5, 0.5], [1.0, 0.5]]], np.float32)
    np.testing.assert_array_equal(point_sample_nearest(labels, points), [[1, 3, 0]])


def test_point_sample_bits_equals_sampling_the_unpacked_mask() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((3, 9, 16)) < 0.5
    bits = np.packbits(masks, axis=-1, bitorder="little")
    points = rng.uniform(-0.2, 1.2, (2, 40, 2)).astype(np.float32)
    index = np.array([2, 0])
    ours = point_sample_bits(bits, index, points * np.array([16, 9], np.float32))
    of_maps = point_sample(masks[index, ..., None].astype(np.float32), points)
    np.testing.assert_allclose(ours, np.squeeze(of_maps, -1), atol=1e-5)


@given(
    x0=st.floats(-50, 50), y0=st.floats(-50, 50), width=st.floats(1, 90), height=st.floats(1, 90)
)
def test_points_in_image_maps_corners_to_corners(
    x0: float, y0: float, width: float, height: float
) -> None:
    region = np.array([[x0, y0, x0 + width, y0 + height]], np.float32)
    corners = np.array([[[0, 0], [1, 1]]], np.float32)
    mapped = points_in_image(region, corners)
    np.testing.assert_allclose(np.reshape(mapped, (1, 4)), region, rtol=1e-5, atol=1e-4)


def test_point_sample_of_bfloat16_interpolates_in_float32() -> None:
    # 300 columns: their number and the weights need more than eight bits.
    features = np.arange(300).reshape(1, 1, 300, 1).astype(jnp.bfloat16)
    point_coords = np.array([[[0.3317, 0.5], [0.7713, 0.5]]], np.float32)
    sampled = point_sample(features, point_coords)
    assert sampled.dtype == jnp.float32
    exact = point_sample(features.astype(np.float32), point_coords)
    np.testing.assert_array_equal(sampled, exact)


def test_gradients_of_points_of_a_bfloat16_pixel_are_added_in_float32() -> None:
    # In bfloat16, 256 + 1 is 256.
    centre = np.full((1, 1000, 2), 0.5, np.float32)
    features = np.zeros((1, 1, 1, 1), jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda x: point_sample(x, centre).sum()))(features)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.ravel(gradient), [1000.0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_at_points_are_those_of_every_device(
    dtype: Any, trace_for: Callable[[str], None]
) -> None:
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(3, 5, 7, 4)), dtype)
    # Many points of a cell, and some outside of the map.
    point_coords = rng.uniform(-0.1, 1.1, (3, 40, 2)).astype(np.float32)
    weights = rng.normal(size=(3, 40, 4)).astype(np.float32)

    def evaluate(platform: str) -> Any:
        trace_for(platform)

        def total(features: jax.Array, point_coords: jax.Array) -> tuple[jax.Array, jax.Array]:
            sampled = ops.point_sample(features, point_coords)
            return (sampled * weights).sum(), sampled

        program = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
        (_, sampled), gradients = jax.device_get(program(features, point_coords))
        return sampled, *(x.astype(np.float32) for x in gradients)

    expected = evaluate("cpu")
    # Sums in another order, which are rounded to the type of the maps.
    rounding = 1e-2 if dtype == jnp.bfloat16 else 1e-5
    for platform in ("gpu", "tpu"):
        for ours, theirs, atol in zip(
            evaluate(platform), expected, (1e-6, rounding, 1e-5), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=rounding, atol=atol)
