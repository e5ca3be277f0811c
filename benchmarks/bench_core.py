"""Times of the operations that prediction spends itself on, and ratios taken in this one run.

    PYTHONPATH=. python benchmarks/bench_core.py        (or: make bench)

Random inputs of the size of one 800 x 1216 image; median of repeated calls after a warm-up.
"""

import time
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.ops.losses import select_class
from pointrend_jax.ops.nms import nms_sorted
from pointrend_jax.ops.points import point_sample
from pointrend_jax.ops.roi_align import roi_align
from pointrend_jax.pointrend import (
    PointHead,
    binary_uncertainty,
    point_features,
    predict_grid,
    render,
)

_REPEATS = 5
_CLASSES = 80
_INSTANCES = 100


def seconds(function: Callable[..., object], *args: object) -> float:
    """Median time of a call; the first one compiles and is not counted."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return median(times)


def random_boxes(rng: np.random.Generator, number: int) -> jax.Array:
    """Boxes of log-uniform sides from 16 to 600 px inside an 800 x 1216 image."""
    sides = np.exp(rng.uniform(np.log(16), np.log(600), (number, 2)))
    corners = rng.uniform(0, 1, (number, 2)) * (np.array([1216, 800]) - sides)
    return jnp.asarray(np.concatenate([corners, corners + sides], axis=1), jnp.float32)


def bench_nms(rng: np.random.Generator) -> None:
    boxes, groups = random_boxes(rng, 5000), jnp.asarray(rng.integers(0, 5, 5000), jnp.int32)
    everything = jnp.ones(5000, bool)
    nms = jax.jit(nms_sorted, static_argnames=("iou_threshold", "max_outputs"))
    took = seconds(lambda: nms(boxes, groups, everything, iou_threshold=0.7, max_outputs=1000))
    print(f"nms_sorted, 5000 boxes to 1000: {1e3 * took:.1f} ms")


def bench_roi_align(rng: np.random.Generator) -> None:
    maps = [jnp.ones((1, 800 // s, 1216 // s, 256)) for s in (4, 8, 16, 32)]
    boxes, index = random_boxes(rng, 1000), jnp.zeros(1000, jnp.int32)

    def pool(maps: list[jax.Array], ratio: int) -> jax.Array:
        return roi_align(
            maps, boxes, index, strides=(4, 8, 16, 32), output_size=7, sampling_ratio=ratio
        )

    def gradient(maps: list[jax.Array]) -> list[jax.Array]:
        return jax.grad(lambda m: jnp.sum(pool(m, 0)))(maps)

    adaptive = seconds(jax.jit(lambda m: pool(m, 0)), maps)
    fixed = seconds(jax.jit(lambda m: pool(m, 2)), maps)
    print(f"roi_align, 1000 x 7 x 7 x 256, adaptive: {1e3 * adaptive:.0f} ms")
    print(f"  fixed 2 x 2 samples: {1e3 * fixed:.0f} ms; adaptive is {adaptive / fixed:.2f} of it")
    print(f"  forward and backward: {1e3 * seconds(jax.jit(gradient), maps):.0f} ms")


def bench_render(rng: np.random.Generator) -> None:
    p2 = jnp.asarray(rng.normal(size=(1, 200, 304, 256)), jnp.float32)
    boxes, index = random_boxes(rng, _INSTANCES), jnp.zeros(_INSTANCES, jnp.int32)
    coarse = jnp.asarray(rng.normal(size=(_INSTANCES, 7, 7, _CLASSES)), jnp.float32)
    classes = jnp.asarray(rng.integers(0, _CLASSES, _INSTANCES))
    head = PointHead(num_classes=_CLASSES)
    variables = head.init(jax.random.key(0), jnp.ones((1, 1, 256)), jnp.ones((1, 1, _CLASSES)))

    def predict_points(p2: jax.Array, point_coords: jax.Array) -> jax.Array:
        fine = point_features([p2], boxes, index, point_coords, strides=(4,))
        logits = head.apply(variables, fine, point_sample(coarse, point_coords))
        return jnp.asarray(logits)

    def own_class(p2: jax.Array) -> jax.Array:
        def predict(coords: jax.Array) -> jax.Array:
            return select_class(predict_points(p2, coords), classes)

        return render(
            predict_grid(predict, _INSTANCES, 28), predict, binary_uncertainty,
            subdivision_steps=3, subdivision_num_points=784,
        )  # fmt: skip

    def all_classes(p2: jax.Array) -> jax.Array:
        def predict(coords: jax.Array) -> jax.Array:
            return predict_points(p2, coords)

        def uncertainty(logits: jax.Array) -> jax.Array:
            return binary_uncertainty(select_class(logits, classes))

        logits = render(
            predict_grid(predict, _INSTANCES, 28), predict, uncertainty,
            subdivision_steps=3, subdivision_num_points=784,
        )  # fmt: skip
        return select_class(logits, classes)

    own, every = seconds(jax.jit(own_class), p2), seconds(jax.jit(all_classes), p2)
    difference = float(jnp.max(jnp.abs(jax.jit(own_class)(p2) - jax.jit(all_classes)(p2))))
    print(f"render, {_INSTANCES} instances, 28 to 224, own class: {own:.2f} s")
    print(f"  all {_CLASSES} classes: {every:.2f} s, {every / own:.1f} times; "
          f"largest difference {difference:.0e}")  # fmt: skip


def main() -> None:
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}")
    rng = np.random.default_rng(0)
    bench_nms(rng)
    bench_roi_align(rng)
    bench_render(rng)


if __name__ == "__main__":
    main()
