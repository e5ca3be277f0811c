"""The first convolution of a backbone of photos as one of images with other channels.

The kernels of red, green and blue go to the channels that are these; every other channel gets the
mean of the three. All are then scaled by 3 / n: an image whose n channels show the same has the
response that the grey photo has, so the layers and the frozen statistics behind it fit as before.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from pointrend_jax.importers.take_tensors import Rule
from pointrend_jax.pixel_format import PixelFormat

# Ours; one of them is there, but for backbones of a user's own.
_PATHS = ("params/backbone/stem/conv/kernel", "params/backbone/stem/conv1/kernel")


def inflate_first(
    tensors: Mapping[str, np.ndarray],
    rules: Mapping[str, Rule],
    pixels: PixelFormat,
    *,
    bgr: bool,
) -> tuple[Mapping[str, np.ndarray], str]:
    """The tensors with the first convolution for images of `pixels`, and in words what it became.

    It is left as it is, and the words are "", if it is no convolution of three channels, or none
    that is known.

    Args:
      rules: of every array of the model, by path.
      pixels: of the model; other than red, green and blue in this order.
      bgr: whether the convolution of the tensors has blue first.
    """
    path = next((p for p in _PATHS if p in rules), None)
    if path is None or rules[path].name not in tensors:
        return tensors, ""
    rule, kernel = rules[path], tensors[rules[path].name]
    # The axis of inputs, in the layout of the tensors.
    axis = rule.layout.their_shape((0, 1, 2, 3)).index(2)
    if kernel.ndim != 4 or kernel.shape[axis] != 3:
        return tensors, ""
    moved = np.moveaxis(kernel, axis, 0)
    inflated = inflate(moved[::-1] if bgr else moved, pixels)
    return {**tensors, rule.name: np.moveaxis(inflated, 0, axis)}, _in_words(pixels)


def inflate(
    kernels: Float[np.ndarray, "3 ..."], pixels: PixelFormat
) -> Float[np.ndarray, "_C ..."]:
    """Kernels of each channel of a format, of those of red, green and blue."""
    inflated = np.repeat(kernels.mean(axis=0, keepdims=True), pixels.channels, axis=0)
    inflated[list(pixels.rgb_channels)] = kernels[: len(pixels.rgb_channels)]
    return inflated * kernels.dtype.type(3 / pixels.channels)


def _in_words(pixels: PixelFormat) -> str:
    colours, rest = len(pixels.rgb_channels), pixels.channels - len(pixels.rgb_channels)
    kept = f"channels {pixels.rgb_channels} have its kernels" if colours else ""
    means = f"{rest} have their mean" if rest else ""
    return (
        f"the first convolution of photos was made one of {pixels.channels} channels: "
        f"{' and '.join(text for text in (kept, means) if text)}, times 3 / {pixels.channels}"
    )
