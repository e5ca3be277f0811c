"""Photos to the network's canvas: resized by the host's threads, or on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, UInt8

from benchmarks.speed.measure import seconds
from pointrend_jax.data.batches.samples import make_sample
from pointrend_jax.data.batches.transforms import resized_hw
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.ops.pillow_resize import most_taps, resize_as_pillow


def both_roads(
    photo: np.ndarray, number: int, canvas: tuple[int, int], repeats: int
) -> dict[str, float]:
    """Times from decoded pixels to a batch on the device, and how far the two batches differ.

    Args:
      photo: uint8 RGB [H, W, 3], of which the batch has `number`.
      canvas: (height, width), whose height is the shorter side and whose width the longer one that
        a photo becomes at most.
    """
    # As of decoded files, each has memory of its own.
    photos = [photo.copy() for _ in range(number)]
    roads = {"host": partial(_by_host, photos, canvas), "device": _by_device(photos, canvas)}
    figures = {}
    for name, road in roads.items():
        times = seconds(road, repeats)
        figures |= {f"{name}_ms": 1e3 * times["median"], f"{name}_first_s": times["first"]}
    host, device = (np.asarray(road()).astype(np.int32) for road in roads.values())
    return figures | {"largest_difference": float(np.abs(host - device).max())}


def _by_host(photos: Sequence[np.ndarray], canvas: tuple[int, int]) -> jax.Array:
    """As `predict` does it: the resized batch is sent."""
    ids = tuple(range(len(photos)))
    sample = make_sample(photos, ids, canvas, *canvas, batch_size=len(photos))
    return jax.device_put(sample.batch.images)


def _by_device(photos: Sequence[np.ndarray], canvas: tuple[int, int]) -> Callable[[], Any]:
    """The originals are sent, all at once, on a canvas of their own size."""
    height, width = photos[0].shape[:2]
    min_size, max_size = canvas
    inside = np.array([(height, width)] * len(photos), np.int32)
    output = np.array([resized_hw((height, width), min_size, max_size)] * len(photos), np.int32)
    taps = most_taps((height, width), min_size=min_size, max_size=max_size)

    def resize(
        pixels: UInt8[Array, "H W 3"], inside_hw: Int[Array, "2"], output_hw: Int[Array, "2"]
    ) -> UInt8[Array, "h w 3"]:
        return resize_as_pillow(pixels, inside_hw, output_hw, canvas, taps=taps)

    # Pillow's two orders of passes are a branch, both sides of which are computed for a batch: that
    # no branch waits for its condition is worth more, where an image has few pixels for a GPU.
    resize_all = jax.jit(jax.vmap(resize), compiler_options=compiler_options())
    return lambda: resize_all(np.stack(photos), inside, output)
