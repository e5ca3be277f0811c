"""What every backbone is given: images as numbers, in the order that its weights expect."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pointrend_jax.layers.padding import zero_beyond


def normalise(
    images: Array, image_hw: Array, mean: tuple[float, ...], std: tuple[float, ...], *, bgr: bool
) -> Float[Array, "B H W C"]:
    """Pixels of any type to network input: channel order, mean and deviation, 0 beyond each image.

    Args:
      mean, std: of the C channels, in the order of the network (BGR if `bgr`).
    """
    x = images[..., ::-1] if bgr else images
    shape = (1, 1, 1, len(mean))
    x = (x.astype(jnp.float32) - jnp.reshape(jnp.array(mean), shape)) / jnp.reshape(
        jnp.array(std), shape
    )
    return zero_beyond(x, image_hw, 1)
