"""Changing the resolution of maps on the device: half-pixel centres, as torch's `interpolate`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def upsample_2x(x: Float[Array, "N H W C"]) -> Float[Array, "N 2*H 2*W C"]:
    """Bilinear x2 with half-pixel centres and a repeated border.

    Each output lies a quarter cell from its nearest input, so it is 3/4 of that and 1/4 of the
    next: two shifts and adds an axis, where a general resize would gather.
    """
    return _double(_double(x, axis=1), axis=2)


def _double(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    before = jnp.concatenate(
        [jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)],
        axis=axis,
    )
    after = jnp.concatenate(
        [
            jax.lax.slice_in_dim(x, 1, size, axis=axis),
            jax.lax.slice_in_dim(x, size - 1, size, axis=axis),
        ],
        axis=axis,
    )
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def resize_bilinear(
    x: Float[Array, "N H W C"], output_hw: tuple[int, int]
) -> Float[Array, "N h w C"]:
    """Bilinear to any size, without antialiasing, as torch's `interpolate(align_corners=False)`."""
    shape = (x.shape[0], *output_hw, x.shape[3])
    return jax.image.resize(x, shape, method="linear", antialias=False)


def upsample_nearest_2x(x: Float[Array, "N H W C"]) -> Float[Array, "N 2*H 2*W C"]:
    """Each pixel becomes a 2 x 2 block."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
