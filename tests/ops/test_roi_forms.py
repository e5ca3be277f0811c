"""All forms of ROIAlign against its definition, and the loops that a GPU's program may have."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import deterministic
from pointrend_jax.ops.masks import crop_masks
from pointrend_jax.ops.roi_align import roi_align
from pointrend_jax.ops.roi_samples import place_samples
from pointrend_jax.ops.roi_windows import MOST, num_windows, plan_windows
from tests.lowered import data_dependent_loops, loops_outside_branches, lowered_for
from tests.ops.plain_roi_align import plain_gradients, plain_rois, plain_values

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# The finer map is 5 windows high and 9 wide, the coarser one smaller than a window.
SHAPES, STRIDES, NUMBER = [(2, 70, 130, 3), (2, 18, 13, 3)], (4, 16), 61


def _boxes(low: float, high: float, side: tuple[float, float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    corner = rng.uniform(low, high, (NUMBER, 2))
    sides = np.exp(rng.uniform(np.log(side[0]), np.log(side[1]), (NUMBER, 2)))
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def _mixed() -> np.ndarray:
    boxes = _boxes(-60, 300, (2, 300))
    boxes[0] = [-90, -90, 700, 500]  # More windows than a RoI may take.
    boxes[1] = [10, 100, 500, 103]
    boxes[2] = [200, 3, 205, 270]
    boxes[3] = [900, 20, 950, 60]  # Beyond the map.
    boxes[4] = [30, 30, 30, 30]
    boxes[5] = [120, 130, 60, 40]  # Turned inside out.
    boxes[6] = [20, 90, 60, 40]
    boxes[7] = [-8, 12, 104, 124]  # Bins of whole cells.
    boxes[8] = [-8, 12, 132, 152]  # As many samples as cells, the first a cell before the map.
    return boxes


# Boxes, the part of each image that exists, and options that a program is compiled with.
EVERYTHING, PADDED = [[280, 520]] * 2, [[256, 480], [192, 224]]
CASES: dict[str, tuple[np.ndarray, list[list[int]], dict[str, Any]]] = {
    "boxes of all sizes": (_mixed(), EVERYTHING, {}),
    "images with padding": (_mixed(), PADDED, {}),
    "more boxes than windows": (_boxes(10, 20, (160, 180)), EVERYTHING, {}),  # 9 each.
    "no box with samples": (np.zeros((NUMBER, 4), np.float32), EVERYTHING, {}),
    "no box": (np.zeros((0, 4), np.float32), EVERYTHING, {}),
    "a fixed number of samples": (_mixed(), PADDED, {"sampling_ratio": 2}),
    "legacy": (_mixed(), PADDED, {"aligned": False}),
    "fourteen bins": (_mixed(), PADDED, {"output_size": 14}),
}


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("case", list(CASES))
def test_values_and_gradients_are_those_of_the_definition(
    case: str, backend: str, trace_for: Callable[[str], None]
) -> None:
    trace_for(backend)
    boxes, padded_hw, changes = CASES[case]
    rng = np.random.default_rng(1)
    image, level = np.arange(len(boxes)) % 2, np.where(np.arange(len(boxes)) % 5 == 4, 1, 0)
    maps = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    side = changes.get("output_size", 7)
    cotangent = rng.normal(size=(len(boxes), side, side, 3)).astype(np.float32)

    arguments = [np.asarray(x, np.int32) for x in (image, level, padded_hw)]
    pooled, gradients = _program(backend, **changes)(maps, boxes, *arguments, cotangent)

    options: dict[str, Any] = {"output_size": 7, "padded_hw": np.array(padded_hw)} | changes
    map_hw = [shape[1:3] for shape in SHAPES]
    rois = plain_rois(map_hw, boxes, image, level, strides=STRIDES, **options)
    # Positions have seven digits, three of them before the point.
    np.testing.assert_allclose(pooled, plain_values(maps, rois, side), atol=5e-5)
    for ours, plain in zip(gradients, plain_gradients(SHAPES, rois, cotangent), strict=True):
        np.testing.assert_allclose(ours, plain, atol=5e-5 * max(np.abs(plain).max(), 1.0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_forms_are_equal_up_to_rounding(dtype: Any, trace_for: Callable[[str], None]) -> None:
    rng = np.random.default_rng(2)
    maps = [jnp.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]
    index = jnp.arange(NUMBER, dtype=jnp.int32) % 2
    cotangent = jnp.asarray(rng.normal(size=(NUMBER, 7, 7, 3)), dtype)
    results = []
    for backend in ("cpu", "gpu", "tpu"):
        trace_for(backend)
        arguments = jnp.asarray(_mixed()), index, index, jnp.array(PADDED)
        pooled, gradients = _program(backend)(maps, *arguments, cotangent)
        assert {x.dtype for x in (pooled, *gradients)} == {jnp.dtype(dtype)}
        results.append([np.asarray(x, np.float64) for x in (pooled, *gradients)])
    # A sum near the middle between two bfloat16 may round to either.
    tolerance = 1e-5 if dtype == jnp.float32 else 2**-7
    for loop, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(other, loop, rtol=tolerance, atol=1e-5 * np.abs(loop).max())
            if dtype == jnp.bfloat16:
                assert np.mean(other != loop) < 0.01


def test_a_deterministic_gradient_has_the_same_bits_in_any_order_of_the_boxes(
    trace_for: Callable[[str], None],
) -> None:
    trace_for("gpu")
    rng = np.random.default_rng(3)
    boxes, index = _boxes(-20, 200, (20, 150)), np.arange(NUMBER, dtype=np.int32) % 2
    maps = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    cotangent = rng.normal(size=(NUMBER, 7, 7, 3)).astype(np.float32)
    padded_hw = np.array(PADDED, np.int32)

    def gradients(name: str, order: np.ndarray) -> list[np.ndarray]:
        arguments = boxes[order], index[order], index[order], padded_hw, cotangent[order]
        return [np.asarray(x) for x in _program(name)(maps, *arguments)[1]]

    orders = [np.arange(NUMBER), rng.permutation(NUMBER)]
    usual = gradients("gpu", orders[0])
    with deterministic():
        first, second = (gradients("gpu, deterministic", order) for order in orders)
    for one, other, added in zip(first, second, usual, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, added, rtol=1e-5, atol=1e-5 * np.abs(added).max())


@cache
def _program(
    backend: str, output_size: int = 7, sampling_ratio: int = 0, aligned: bool = True
) -> Callable[..., tuple[jax.Array, list[jax.Array]]]:
    """The value and the gradient in the maps, compiled once for the backend that is traced for."""
    del backend

    def both(
        maps: list[jax.Array],
        boxes: jax.Array,
        image: jax.Array,
        level: jax.Array,
        padded_hw: jax.Array,
        cotangent: jax.Array,
    ) -> tuple[jax.Array, list[jax.Array]]:
        def pool(maps: list[jax.Array]) -> jax.Array:
            return roi_align(
                maps, boxes, image, strides=STRIDES, levels=level, padded_hw=padded_hw,
                output_size=output_size, sampling_ratio=sampling_ratio, aligned=aligned,
            )  # fmt: skip

        pooled, backward = jax.vjp(pool, maps)
        return pooled, backward(cotangent)[0]

    return jax.jit(both)


# Cells of a map at stride 4 that a box's samples touch: its own, and one where it ends between two.
@pytest.mark.parametrize(
    ("box", "number"),
    [
        ((40, 40, 98, 98), 1),  # 16 x 16 cells.
        ((40, 40, 100, 98), 2),
        ((40, 40, 98, 100), 2),
        ((0, 0, 760, 100), 24),
        ((0, 0, 780, 100), 0),  # More than a RoI may have.
        ((40, 40, 40, 40), 0),
    ],
)
def test_a_roi_takes_the_windows_that_cover_it(box: tuple[int, ...], number: int) -> None:
    plan = _plan(np.array([box, (0, 0, 20, 20)], np.float32))
    assert plan.number.tolist() == [number, 1]
    assert plan.left_over.tolist() == [box[2] == 780, False]
    filled = plan.windows.lines > 0
    np.testing.assert_array_equal(plan.windows.roi[filled], [0] * number + [1])


def test_rois_have_windows_as_long_as_there_are_any() -> None:
    # The most windows that a RoI may have.
    plan = _plan(np.tile(np.array([[0, 0, 760, 100]], np.float32), (100, 1)))
    served = num_windows(100) // MOST
    assert served == 21  # 507 // 24
    np.testing.assert_array_equal(plan.number, [MOST] * served + [0] * (100 - served))
    np.testing.assert_array_equal(plan.left_over, plan.number == 0)
    assert int(jnp.sum(plan.windows.lines > 0)) == served * MOST


def _plan(boxes: np.ndarray) -> Any:
    index = jnp.zeros(len(boxes), jnp.int32)
    samples = place_samples(
        [(1, 100, 200)], jnp.asarray(boxes), index, index, None,
        strides=(4,), output_size=7, sampling_ratio=0, aligned=True,
    )  # fmt: skip
    return plan_windows(samples, 7)


def _pool(maps: jax.Array, boxes: jax.Array) -> jax.Array:
    index = jnp.zeros(len(boxes), jnp.int32)
    return roi_align([maps], boxes, index, strides=(4,), output_size=7, levels=index)


def _pool_gradient(maps: jax.Array, boxes: jax.Array) -> jax.Array:
    return jax.grad(lambda maps: jnp.sum(_pool(maps, boxes)))(maps)


def _crop(maps: jax.Array, boxes: jax.Array) -> jax.Array:
    bits, index = maps[0, ..., :8].astype(jnp.uint8), jnp.zeros(len(boxes), jnp.int32)
    return crop_masks(bits, index, boxes, jnp.full((len(boxes), 2), 64), output_size=7)


def _lowered(platform: str, function: Callable[..., jax.Array], number: int) -> Any:
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 64, 64, 8), (number, 4))]
    return lowered_for(platform, function, *shapes)


# How many loops there are outside of branches: one over blocks of windows or masks, whose number is
# known.
@pytest.mark.parametrize(
    ("function", "number", "known"),
    [(_pool, 300, 0), (_pool, 2000, 1), (_pool_gradient, 300, 0), (_pool_gradient, 2000, 1),
     (_crop, 300, 1)],
)  # fmt: skip
def test_no_loop_of_a_gpu_turns_as_often_as_the_data_says(
    function: Callable[..., jax.Array], number: int, known: int
) -> None:
    module = _lowered("gpu", function, number)
    assert loops_outside_branches(module) == known
    # Those over boxes without windows, in a branch.
    assert bool(data_dependent_loops(module)) == (function is not _crop)


def test_the_loops_of_a_cpu_are_found() -> None:
    module = _lowered("cpu", _pool, 300)
    assert loops_outside_branches(module) == 2
    assert data_dependent_loops(module)
