"""The mask head's points: whatever is multiplied before sampling, the logits are the paper's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.coarse_mask_head import CoarseMaskHead, pool_on_grid, pool_windows
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.regions import Regions
from pointrend_jax.ops.losses import select_class
from pointrend_jax.ops.points import cell_sampler, point_sample, sampling_matrix
from pointrend_jax.pointrend import PointMLP, point_features
from tests.tiny import on_device

NUM_CLASSES, NUM_REGIONS, NUM_POINTS = 5, 6, 40


def _uniform(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def _regions() -> Regions:
    """Some reach beyond the image, where features are zero; one is empty."""
    corners = _uniform(2, NUM_REGIONS, 2, low=-20, high=40)
    sides = _uniform(3, NUM_REGIONS, 2, low=3, high=60)
    boxes = np.concatenate([corners, corners + sides], axis=1)
    boxes[-1] = 0.0
    arrays: dict[str, Any] = {
        "boxes": boxes,
        "image_index": np.array([0, 1, 0, 1, 1, 0]),
        "classes": np.array([0, 4, 2, 2, 1, 3]),
        "gt_index": np.zeros(NUM_REGIONS, int),
        "valid": np.ones(NUM_REGIONS, bool),
    }
    return Regions(**on_device(arrays))


def _plain(
    params: dict[str, Any],
    num_fcs: int,
    coarse_each_layer: bool,
    fine: jax.Array,
    coarse: jax.Array,
) -> jax.Array:
    """The head as the paper writes it: each layer multiplies what it sees, side by side."""
    x = jnp.concatenate([fine, coarse], axis=-1)
    for layer in range(1, num_fcs + 1):
        of_layer = params[f"fc{layer}"]
        x = jnp.maximum(x @ of_layer["kernel"] + of_layer["bias"][None, None], 0)
        x = jnp.concatenate([x, coarse], axis=-1) if coarse_each_layer else x
    return x @ params["predictor"]["kernel"] + params["predictor"]["bias"][None, None]


# Every pair of values once.
@pytest.mark.parametrize(
    ("project_first", "coarse_each_layer", "levels", "num_fcs"),
    [
        (True, True, ("p2", "p3"), 3),
        (True, False, ("p2",), 1),
        (False, True, ("p2",), 1),
        (False, False, ("p2", "p3"), 3),
        (True, True, ("p2",), 3),
        (False, True, ("p2", "p3"), 1),
    ],
)
def test_projecting_before_or_after_sampling_gives_the_logits_of_the_plain_head(
    project_first: bool, coarse_each_layer: bool, levels: tuple[str, ...], num_fcs: int
) -> None:
    head = PointHead(NUM_CLASSES, 16, num_fcs, coarse_each_layer)
    # Cells of the maps are 192 or 240; points are 240 or fewer.
    num_points = NUM_POINTS if project_first else 10
    mask_head = PointRendMaskHead(
        CoarseMaskHead(NUM_CLASSES, 8, 8, 1), head, levels,
        subdivision_steps=0, subdivision_num_points=0,
    )  # fmt: skip
    sides = {"p2": (12, 8), "p3": (6, 4)} if project_first else {"p2": (32, 24), "p3": (16, 12)}
    rng = np.random.default_rng(0)
    pyramid = on_device(
        {level: rng.normal(size=(2, *sides[level], 8)).astype(np.float32) for level in ("p2", "p3")}
    )
    cells = sum(2 * h * w for h, w in (sides[level] for level in levels))
    # `prepare` counts the 7x7 grid of each region.
    assert (cells < NUM_REGIONS * 49) == project_first
    points = _uniform(6, NUM_REGIONS, num_points, 2)
    # The corners too, where a coarse cell is blended with zeros.
    points[:, :2] = [[0.0, 0.0], [1.0, 1.0]]
    regions = _regions()

    def logits(m: PointRendMaskHead, points: jax.Array) -> Any:
        return m.point_predictor(pyramid, regions)(points), m.encode_regions(pyramid, regions)

    shapes = jax.eval_shape(partial(mask_head.init, method=logits), jax.random.key(7), points)
    # At initialisation biases are zero and predictors are nearly so, which would hide them.
    variables = on_device(
        jax.tree.map(lambda x: rng.normal(scale=0.4, size=x.shape).astype(np.float32), shapes)
    )

    @jax.jit
    def all_logits(variables: Any, points: jax.Array) -> Any:
        both: Any = mask_head.apply(variables, points, method=logits)
        ours, coarse_logits = both
        features = point_features(
            [pyramid[level] for level in levels], regions.boxes, regions.image_index, points,
            strides=[STRIDES[level] for level in levels],
        )  # fmt: skip
        coarse = point_sample(coarse_logits, points)
        params = variables["params"]["point_head"]
        plain = _plain(params, num_fcs, coarse_each_layer, features, coarse)
        of_head = head.apply({"params": params}, features, coarse)
        return ours, plain, of_head, select_class(plain, regions.classes)

    ours, expected, of_head, own = jax.device_get(all_logits(variables, points))
    scale = float(np.abs(expected).max())
    # Sums of some 30 float32 terms in another order.
    np.testing.assert_allclose(of_head, expected, rtol=1e-5, atol=1e-5 * scale)
    assert ours.shape == own.shape
    np.testing.assert_allclose(ours, own, rtol=1e-5, atol=1e-5 * scale)
    assert float(np.std(own)) > 0.5


def test_bfloat16_maps_are_multiplied_in_float32() -> None:
    features = jax.random.normal(jax.random.key(0), (1, 16, 12, 8)).astype(jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (8 + 3, 16))
    products = PointMLP([kernel], [jnp.zeros(16)], 3, True).project_fine(features)
    assert products.dtype == jnp.float32
    np.testing.assert_array_equal(products, features.astype(jnp.float32) @ kernel[:8])


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_cells_are_sampled_alike_on_every_device(
    backend: str, trace_for: Callable[[str], None]
) -> None:
    rng = np.random.default_rng(0)
    maps, cotangent = (
        rng.normal(size=shape).astype(np.float32) for shape in ((3, 7, 5, 4), (3, 50, 4))
    )
    points = jnp.asarray(_uniform(1, 3, 50, 2, low=-0.3, high=1.3))

    @jax.jit
    def by_products(maps: jax.Array, cotangent: jax.Array) -> Any:
        matrix = sampling_matrix((7, 5), points)
        values, backward = jax.vjp(lambda maps: matrix @ maps.reshape(3, 35, 4), maps)
        return values, backward(cotangent)[0]

    expected, gradient = by_products(maps, cotangent)
    trace_for(backend)

    @jax.jit
    def sampled(maps: jax.Array, cotangent: jax.Array) -> Any:
        def cells(maps: jax.Array) -> jax.Array:
            return cell_sampler((7, 5), points)(maps.reshape(3, 35, 4))

        results = []
        for function in (cells, lambda maps: point_sample(maps, points)):
            values, backward = jax.vjp(function, maps)
            results.append((values, backward(cotangent)[0]))
        return results

    for ours, our_gradient in sampled(maps, cotangent):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(our_gradient, gradient, atol=1e-5)


@pytest.mark.parametrize("side", [4, 5])
def test_windows_are_cut_from_the_grid_without_what_fills_none(side: int) -> None:
    regions, p2 = _regions(), jnp.asarray(_uniform(5, 2, 16, 12, 3))
    given = p2, regions.boxes, regions.image_index
    grid = jax.jit(partial(pool_on_grid, side=side))(*given)
    windows = jax.jit(partial(pool_windows, side=side, window=2))(*given)
    cut = np.asarray(grid)[:, :4, :4].reshape(NUM_REGIONS, 2, 2, 2, 2, 3).swapaxes(2, 3)
    np.testing.assert_array_equal(windows, cut.reshape(NUM_REGIONS, 4, 4, 3))
