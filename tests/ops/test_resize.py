"""Upsampling and resizing against the general resize, on canvases larger than the map too."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import deterministic
from pointrend_jax.ops import resize as ops
from pointrend_jax.ops.resize import upsample_2x, upsample_nearest_2x

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Operation by operation it is some thirty programs each.
best_labels = jax.jit(ops.best_labels, static_argnames="canvas_hw")
map_rows = jax.jit(ops.map_rows, static_argnames=("canvas_hw", "reduce"))
resize_bilinear = jax.jit(ops.resize_bilinear, static_argnames="output_hw")
resize_windows = jax.jit(ops.resize_windows, static_argnames="hw")
resize_within = jax.jit(ops.resize_within, static_argnames="canvas_hw")
upsample_by = jax.jit(ops.upsample_by, static_argnames="factor")


# The two forms: shifts and sums, and products.
PLATFORMS = ["gpu", "tpu"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_upsample_2x_equals_the_general_bilinear_resize(
    platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    doubled = jax.jit(lambda x: upsample_2x(x))(x)
    np.testing.assert_allclose(doubled, resize_bilinear(x, (10, 6)), atol=1e-6)


def test_upsample_2x_of_one_pixel_repeats_it() -> None:
    # Operation by operation, as in a notebook.
    doubled = upsample_2x(jnp.full((1, 1, 1, 1), 3.0))
    np.testing.assert_array_equal(doubled, np.full((1, 2, 2, 1), 3.0))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_upsample_nearest_2x_makes_blocks_exactly(
    platform: str, dtype: Any, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(dtype)
    expected = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(jax.jit(lambda x: upsample_nearest_2x(x))(x), expected)


def test_upsample_nearest_2x_by_hand() -> None:
    x = jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    doubled = np.squeeze(upsample_nearest_2x(x))
    np.testing.assert_array_equal(doubled, [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]])


def _on_canvas() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A 5 x 7 map, the same at the top left of a noisy 8 x 12 canvas, and its size."""
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(1, 5, 7, 3)).astype(np.float32)
    canvas = 100 * rng.normal(size=(1, 8, 12, 3)).astype(np.float32)
    canvas[:, :5, :7] = exact
    return exact, canvas, np.array([[5, 7]])


@pytest.mark.parametrize("factor", [1, 2, 4, 16])
def test_what_lies_beyond_the_map_changes_no_upsampled_pixel(factor: int) -> None:
    exact, canvas, inside = _on_canvas()
    expected = resize_bilinear(exact, (5 * factor, 7 * factor))
    ours = np.asarray(upsample_by(canvas, factor, inside))[:, : 5 * factor, : 7 * factor]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_window_of_the_whole_map_is_its_resize():
    exact, canvas, inside = _on_canvas()
    window = np.array([[0, 0, 7, 5]], np.float32)
    ours = resize_windows(canvas, inside, window, (15, 14))
    np.testing.assert_allclose(ours, resize_bilinear(exact, (15, 14)), rtol=1e-5, atol=1e-5)


def test_a_window_is_sampled_at_the_centres_of_its_pixels_and_repeats_the_border():
    # The value of a pixel is the place of its centre.
    x = np.arange(0.5, 8, dtype=np.float32)[None, None, :, None]
    inside = np.array([[1, 8]])
    # Pixels of half a cell from 2 on; and of a cell, the last two of them beyond the map.
    for window, expected in (
        ([2.0, 0.0, 4.0, 1.0], [2.25, 2.75, 3.25, 3.75]),
        ([6.0, 0.0, 10.0, 1.0], [6.5, 7.5, 7.5, 7.5]),
    ):
        ours = resize_windows(x, inside, np.array([window], np.float32), (1, 4))
        np.testing.assert_allclose(np.ravel(ours), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(5, 7), (3, 4), (9, 20), (1, 1)])
def test_resize_within_equals_the_resize_of_the_map_alone(size: tuple[int, int]) -> None:
    exact, canvas, inside = _on_canvas()
    ours = np.asarray(resize_within(canvas, inside, np.array([size]), (12, 20)))
    expected = resize_bilinear(exact, size)
    np.testing.assert_allclose(ours[:, : size[0], : size[1]], expected, rtol=1e-5, atol=1e-5)


def test_in_a_deterministic_step_it_is_the_same_but_for_rounding() -> None:
    _, canvas, inside = _on_canvas()
    arguments = canvas, inside, np.array([(9, 20)])
    plain = np.asarray(resize_within(*arguments, (12, 20)))
    with deterministic():
        exact = np.asarray(
            jax.jit(lambda *x: ops.resize_within(*x, canvas_hw=(12, 20)))(*arguments)
        )
    np.testing.assert_allclose(exact[:, :9], plain[:, :9], rtol=1e-5, atol=1e-5)


def test_strips_give_what_the_whole_gives() -> None:
    _, canvas, inside = _on_canvas()
    # Of 16 rows each, the last of which reaches beyond the canvas.
    size, hw = np.array([[35, 11]]), (37, 16)
    whole = np.asarray(resize_within(canvas, inside, size, hw))
    strips = np.asarray(map_rows(canvas, inside, size, hw, lambda strip: strip))
    assert strips.shape == whole.shape
    np.testing.assert_allclose(strips[:, :35, :11], whole[:, :35, :11], rtol=1e-5, atol=1e-5)


def test_a_label_map_is_the_best_class_of_the_resized_logits() -> None:
    _, canvas, inside = _on_canvas()
    size = np.array([[9, 11]])
    labels = np.asarray(best_labels(canvas, inside, size, (13, 16)))
    best = np.argmax(resize_within(canvas, inside, size, (13, 16)), axis=-1)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[:, :9, :11], best[:, :9, :11])


def test_a_label_map_of_the_same_size_changes_nothing() -> None:
    exact, _, inside = _on_canvas()
    labels = best_labels(exact, inside, inside, (5, 7))
    np.testing.assert_array_equal(labels, np.argmax(exact, axis=-1))


@pytest.mark.parametrize("size", [(5, 7), (9, 11)], ids=["as it is", "enlarged"])
def test_label_maps_of_programs_for_onnx_are_those_of_others(
    size: tuple[int, int], trace_for: Callable[[str], None]
) -> None:
    _, canvas, inside = _on_canvas()
    sizes, (height, width) = np.asarray([size]), size
    ours = np.asarray(best_labels(canvas, inside, sizes, (13, 16)))
    trace_for("onnx")

    def form(canvas: Any, inside: Any, sizes: Any) -> Any:
        return ops.best_labels(canvas, inside, sizes, (13, 16))

    theirs = np.asarray(jax.jit(form)(canvas, inside, sizes))
    assert theirs.dtype == np.uint8
    np.testing.assert_array_equal(theirs[:, :height, :width], ours[:, :height, :width])
    assert "cond" not in str(jax.make_jaxpr(form)(canvas, inside, sizes))


def test_resize_within_of_bfloat16_blends_in_float32() -> None:
    x = np.random.default_rng(3).normal(size=(1, 5, 7, 2)).astype(jnp.bfloat16)
    sizes = np.array([[5, 7]]), np.array([[11, 13]]), (11, 13)
    resized = resize_within(x, *sizes)
    assert resized.dtype == jnp.bfloat16
    exact = resize_within(x.astype(np.float32), *sizes)
    # Rounded after the rows and after the columns.
    np.testing.assert_allclose(np.float32(resized), exact, rtol=2**-7, atol=2**-7)


def test_labels_of_maps_that_keep_their_size_are_those_of_resizing() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 8, 12, 5)).astype(np.float32)
    for canvas in ((8, 12), (6, 10), (10, 16)):
        inside = np.array([[6, 10], [5, 7]])
        ours = np.asarray(best_labels(logits, inside, inside, canvas))
        best = map_rows(logits, inside, inside, canvas, lambda x: jnp.argmax(x, -1))
        rows = np.asarray(best)
        assert ours.shape == (2, *canvas)
        for image, (height, width) in enumerate(inside):
            expected = rows[image, :height, :width]
            np.testing.assert_array_equal(ours[image, :height, :width], expected)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_infinite_logit_spoils_none_beside_its_own(
    platform: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(platform)
    x = np.array([0, -np.inf, 1, 2], np.float32).reshape(1, 1, 4, 1)
    doubled = np.asarray(jax.jit(lambda x: upsample_2x(x))(x))[0, 0, :, 0]
    np.testing.assert_allclose(doubled[[0, 5, 6, 7]], [0, 1.25, 1.75, 2], atol=1e-6)
    assert (doubled[1:5] < -1e20).all()
