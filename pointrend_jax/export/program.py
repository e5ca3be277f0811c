"""A model as one function from the pixels of an original image to plain arrays, and its lowering.

Resizing, the network, rendering and pasting are inside; the weights are arguments, so that a model
of many programs holds them once. Each platform has programs of its own, traced in the forms of
devices/backend.py: they are what `predict()` runs there, where one program for all would carry the
forms of all three and choose between them at every operation.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Int, UInt8

from pointrend_jax.data.batches.transforms import SIZE_DIVISIBILITY
from pointrend_jax.devices.backend import traced_for
from pointrend_jax.ops.pillow_resize import most_taps, resize_as_pillow
from pointrend_jax.structures import Array, ImageBatch
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.trees import nested

# What jax calls a platform, and what devices/backend.py does.
PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}

# (weights by path, pixels, original and resized height and width) to arrays by name.
ImageProgram = Callable[[Mapping[str, Array], Array, Array, Array], dict[str, Array]]


class Canvases(NamedTuple):
    """What a program is made for, (height, width) in pixels.

    Attributes:
      network: of the network's input, multiples of 32.
      largest: of original images; any up to that size fit.
    """

    network: tuple[int, int]
    largest: tuple[int, int]


def image_program(task: Task, canvases: Canvases, *, min_size: int, max_size: int) -> ImageProgram:
    """The function; `Task.exported` says which arrays it gives.

    Args:
      min_size, max_size: by which images are resized, in pixels. The sizes themselves are arguments
        of the function: they are computed in float64.
    """
    taps = most_taps(canvases.largest, min_size=min_size, max_size=max_size)

    def program(
        weights: Mapping[str, Array],
        pixels: UInt8[Array, "H W 3"],
        original_hw: Int[Array, "2"],
        image_hw: Int[Array, "2"],
    ) -> dict[str, Array]:
        resized = resize_as_pillow(pixels, original_hw, image_hw, canvases.network, taps=taps)
        padded_hw = -(-image_hw // SIZE_DIVISIBILITY) * SIZE_DIVISIBILITY
        batch = ImageBatch(resized[None], image_hw[None], padded_hw[None], jnp.ones(1, bool))
        # Whatever they are kept as, they are float32 in the network.
        wide = {
            path: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x
            for path, x in weights.items()
        }
        predictions = task.predict({"buffers": {}} | nested(wide), batch)
        return task.exported(predictions, batch, original_hw[None], canvases.largest)

    return program


def serialized(
    program: ImageProgram, weights: Mapping[str, Any], canvases: Canvases, platform: str
) -> bytes:
    """The program as `jax.export.deserialize` reads it; nothing is compiled.

    Args:
      weights: arrays, or their shapes and types. platform: a key of `PLATFORMS`.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), dict(weights))
    pixels = jax.ShapeDtypeStruct((*canvases.largest, 3), jnp.uint8)
    size = jax.ShapeDtypeStruct((2,), jnp.int32)
    with traced_for(PLATFORMS[platform]):
        # A function of its own: what jax has traced already keeps its form.
        traced = jax.jit(lambda *arguments: program(*arguments))
        exported = export.export(traced, platforms=[platform])(shapes, pixels, size, size)
    return bytes(exported.serialize())
