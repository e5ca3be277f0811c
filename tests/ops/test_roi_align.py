"""ROIAlign by hand, under padding, and its gradient against finite differences of its own value."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops import roi_align as form

pytestmark = pytest.mark.usefixtures("strict_dtypes")

_SETTINGS = ("strides", "output_size", "sampling_ratio", "aligned")
# Operation by operation it is some hundred programs.
roi_align = jax.jit(form.roi_align, static_argnames=_SETTINGS)


def test_roi_align_of_a_linear_map_gives_bin_centres() -> None:
    ramp = jnp.broadcast_to(jnp.arange(32.0)[None, None, :, None], (1, 32, 32, 1))
    boxes = jnp.array([[16.0, 16.0, 72.0, 72.0]])
    pooled = roi_align(
        [ramp], boxes, jnp.array([0]), strides=(4,), output_size=7, levels=jnp.array([0])
    )
    # A box of 56 px is 14 cells wide: bins of 2 cells from cell 4 on, whose centres read x - 0.5.
    np.testing.assert_allclose(pooled[0, 3, :, 0], 4 + 2 * np.arange(7) + 1 - 0.5, rtol=1e-5)


def test_roi_align_of_an_empty_box_is_zero() -> None:
    pooled = roi_align(
        [jnp.ones((1, 8, 8, 2))],
        jnp.zeros((3, 4)),
        jnp.zeros(3, jnp.int32),
        strides=(4,),
        output_size=7,
    )
    np.testing.assert_array_equal(pooled, np.zeros((3, 7, 7, 2)))


def test_roi_align_does_not_see_a_larger_canvas() -> None:
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(2, 8, 8, 3)), jnp.float32)
    # What lies in the padding is arbitrary: the border must be repeated before it.
    canvas = jnp.full((2, 16, 24, 3), 1e6).at[:, :8, :8].set(features)
    boxes = jnp.array([[3.0, 2.0, 31.9, 31.0], [20.0, 20.0, 40.0, 33.0]])
    padded_hw = jnp.full((2, 2), 32)
    kwargs = {"strides": (4,), "output_size": 7, "padded_hw": padded_hw}
    index = jnp.array([0, 1])
    exact = roi_align([features], boxes, index, **kwargs)
    np.testing.assert_allclose(roi_align([canvas], boxes, index, **kwargs), exact, rtol=1e-6)


def test_roi_align_gradient_is_the_transpose_of_its_value() -> None:
    rng = np.random.default_rng(1)
    maps = [jnp.asarray(rng.normal(size=(1, 16 >> i, 16 >> i, 2)), jnp.float32) for i in range(2)]
    weights = jnp.asarray(rng.normal(size=(70, 7, 7, 2)), jnp.float32)
    corner = rng.uniform(-10, 40, (70, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (70, 2))], axis=1)
    boxes, index = jnp.asarray(boxes, jnp.float32), jnp.zeros(70, jnp.int32)
    levels = jnp.asarray(rng.integers(0, 2, 70), jnp.int32)

    def weighted(maps: list[jax.Array]) -> jax.Array:
        pooled = roi_align(maps, boxes, index, strides=(4, 8), output_size=7, levels=levels)
        return jnp.sum(pooled * weights)

    # Linear in the maps: <gradient, maps> equals the value.
    value, gradient = jax.jit(jax.value_and_grad(weighted))(maps)
    product = sum(np.vdot(g, m) for g, m in zip(gradient, maps, strict=True))
    np.testing.assert_allclose(product, value, rtol=1e-3)


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
def test_roi_align_gradient_has_the_weights_of_its_value(
    sampling_ratio: int, backend: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(backend)
    rng = np.random.default_rng(3)
    height, width, number = 9, 11, 60
    corner = rng.uniform(-12, 30, (number, 2))
    side = rng.uniform(0.2, 40, (number, 2))
    # Bins of a whole number of pixels, at whole and half pixels: floors are decided by rounding.
    side[:20] = rng.integers(1, 5, (20, 2)) * 12
    corner[:20] = rng.integers(-4, 12, (20, 2)) * 2
    # An empty box, and one turned inside out.
    side[-2:] = [[0.0, 0.0], [-25.0, -9.0]]
    boxes = jnp.asarray(np.concatenate([corner, corner + side], axis=1), jnp.float32)

    def pool(maps: jax.Array) -> jax.Array:
        index = jnp.zeros(number, jnp.int32)
        return form.roi_align(
            [maps], boxes, index, strides=(4,), output_size=3, sampling_ratio=sampling_ratio,
            levels=index, padded_hw=jnp.array([[4 * height - 4, 4 * width]]),
        )  # fmt: skip

    # A channel a pixel, with 1 at that pixel: the value of a channel is the weight of its pixel.
    pixels = np.eye(height * width, dtype=np.float32).reshape(1, height, width, -1)
    weights = np.asarray(jax.jit(pool)(pixels))
    cotangent = rng.normal(size=(*weights.shape[:3], 2)).astype(np.float32)
    maps = np.zeros((1, height, width, 2), np.float32)
    (gradient,) = jax.jit(lambda x: jax.vjp(pool, x)[1](jnp.asarray(cotangent)))(maps)
    expected = np.einsum("nijp,nijc->pc", weights, cotangent).reshape(gradient.shape)
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_roi_align_names_a_missing_stride() -> None:
    with pytest.raises(ValueError, match="as many strides"):
        roi_align(
            [jnp.ones((1, 8, 8, 2))],
            jnp.zeros((1, 4)),
            jnp.zeros(1, jnp.int32),
            strides=(4, 8),
            output_size=7,
        )


def test_roi_align_of_bfloat16_adds_samples_and_gradients_in_float32() -> None:
    features = jnp.asarray(np.random.default_rng(2).normal(size=(1, 16, 16, 2)), jnp.bfloat16)
    # 40 boxes over the same cells; the gradient of a bfloat16 sum would stand still on the way.
    boxes = jnp.tile(jnp.array([[5.0, 3.0, 55.0, 60.0]]), (40, 1))
    index = jnp.zeros(40, jnp.int32)

    @jax.jit
    def pooled_and_gradient(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def pool(x: jax.Array) -> jax.Array:
            return roi_align([x], boxes, index, strides=(4,), output_size=2, levels=index)

        pooled, backward = jax.vjp(pool, x)
        return pooled, backward(jnp.ones_like(pooled))[0]

    pooled, gradient = pooled_and_gradient(features)
    exact, exact_gradient = pooled_and_gradient(features.astype(jnp.float32))
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(pooled, exact.astype(jnp.bfloat16))
    np.testing.assert_array_equal(gradient, exact_gradient.astype(jnp.bfloat16))
