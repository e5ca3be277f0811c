"""The rectified linear unit, whose gradient asks for no more memory than the layers around it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pointrend_jax.devices.backend import forms


def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x, 0), with the gradient 0 at 0, as torch and jax have it."""
    return _relu(x) if forms().relu_keeps_result else jax.nn.relu(x)


@jax.custom_vjp
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    y = _relu(x)
    return y, y


def _relu_backward(y: Array, cotangent: Array) -> tuple[Array]:
    # Without the barrier the compiler asks for the sign of `x` instead, and keeps all signs.
    y = jax.lax.optimization_barrier(y)
    return (jnp.where(y > 0, cotangent, jnp.zeros((), cotangent.dtype)),)


_relu.defvjp(_relu_forward, _relu_backward)
