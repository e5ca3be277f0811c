"""Operations in the form that the library has, beside what jax makes of the plain one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.measure import product_rate, seconds
from pointrend_jax.layers.conv import convolve
from pointrend_jax.ops.points import sample_rows
from pointrend_jax.ops.roi_align import roi_align

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def compare(kit: Path | None, *, repeats: int = 5) -> dict[str, Any]:
    """Seconds of each operation, plain and ours; plain is None where only ours is kept."""
    del kit
    rows = {
        "1x1 convolution, 200x304, 256 to 64 channels": _conv((1, 200, 304), 1, 256, 64, False),
        "gradient of a 3x3 kernel, 2 x 80x128, 256 channels": _conv(
            (2, 80, 128), 3, 256, 256, True
        ),
        "gradient of samples, 256 x 196 points, 256 channels": _samples(),
        "ROIAlign, 1000 boxes, 7x7, 256 channels, adaptive": (None, _roi_align()),
    }
    times = {
        name: [call and seconds(call, repeats)["median"] for call in forms]
        for name, forms in rows.items()
    }
    return {"operations": times, "product_gflops": product_rate()}


def _random(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _conv(
    pixels: tuple[int, int, int], size: int, channels: int, outputs: int, gradient: bool
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    x, kernel = _random(*pixels, channels), _random(size, size, channels, outputs)
    padding = [(size // 2, size // 2)] * 2

    def form(conv: Callable[..., jax.Array]) -> Callable[[], Any]:
        def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return conv(x, kernel, (1, 1), padding, dimension_numbers=_DIMENSIONS)

        def of_kernel(x: jax.Array, kernel: jax.Array) -> jax.Array:
            y, pull_back = jax.vjp(lambda kernel: run(x, kernel), kernel)
            return pull_back(jnp.ones_like(y))[0]

        compiled = jax.jit(of_kernel if gradient else run)
        return lambda: compiled(x, kernel)

    return form(jax.lax.conv_general_dilated), form(convolve)


def _samples() -> tuple[Callable[[], Any], Callable[[], Any]]:
    rows, first_row = _random(80 * 128, 256), jnp.zeros((256, 1), jnp.int32)
    place = np.random.default_rng(1).uniform(4, 76, (256, 196, 2))
    xy, cotangent = jnp.asarray(place, jnp.float32), _random(256, 196, 256)

    def ours(rows: jax.Array) -> jax.Array:
        return sample_rows(rows, first_row, (80, 128), xy)

    def plain(rows: jax.Array) -> jax.Array:
        low = jnp.floor(xy - 0.5)
        fraction, low = xy - 0.5 - low, low.astype(jnp.int32)
        total = jnp.zeros(())
        for dy in (0, 1):
            for dx in (0, 1):
                weight = jnp.abs(1 - dx - fraction[..., 0]) * jnp.abs(1 - dy - fraction[..., 1])
                total = (
                    total + rows[(low[..., 1] + dy) * 128 + low[..., 0] + dx] * weight[..., None]
                )
        return total

    def form(sample: Callable[[jax.Array], jax.Array]) -> Callable[[], Any]:
        compiled = jax.jit(lambda rows, cotangent: jax.vjp(sample, rows)[1](cotangent)[0])
        return lambda: compiled(rows, cotangent)

    return form(plain), form(ours)


def _roi_align() -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(16), np.log(240), (1000, 2)))
    corners = rng.uniform(0, 1, (1000, 2)) * (np.array([512, 320]) - sides)
    boxes = jnp.asarray(np.concatenate([corners, corners + sides], axis=1), jnp.float32)
    maps = [_random(1, 320 // s, 512 // s, 256) for s in (4, 8, 16, 32)]
    index = jnp.zeros(1000, jnp.int32)
    compiled = jax.jit(
        lambda maps: roi_align(maps, boxes, index, strides=(4, 8, 16, 32), output_size=7)
    )
    return lambda: compiled(maps)
