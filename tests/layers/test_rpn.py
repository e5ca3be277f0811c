"""The RPN's scores as a TPU lines them up are those of the plain form."""

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.layers.rpn import in_a_row
from tests.lowered import lowered_for, operations


def test_scores_come_into_one_row_by_a_product_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    # All bits of float32, of large and small numbers, and zeros.
    x = rng.normal(size=(2, 5, 7, 3)) * 10.0 ** rng.integers(-20, 20, (2, 5, 7, 3))
    x = np.where(rng.uniform(size=x.shape) < 0.1, 0.0, x).astype(np.float32)
    weights = rng.normal(size=(2, 105)).astype(np.float32)

    def weighted(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = in_a_row(x)
        return jnp.sum(rows * weights), rows

    def traced(platform: str) -> tuple[jax.Array, jax.Array]:
        with traced_for(platform):
            # A function of its own: what jax has traced already keeps its form.
            made = jax.jit(jax.grad(lambda x: weighted(x), has_aux=True))
            gradient, rows = made(jnp.asarray(x))
        return rows, gradient

    rows, gradient = traced("tpu")
    np.testing.assert_array_equal(rows, x.reshape(2, -1))
    np.testing.assert_array_equal(gradient, weights.reshape(x.shape))
    jax.tree.map(np.testing.assert_array_equal, (rows, gradient), traced("cpu"))


def test_only_a_tpu_lines_scores_up_by_a_product() -> None:
    for platform, products in (("cpu", 0), ("gpu", 0), ("tpu", 1)):
        module = lowered_for(platform, in_a_row, jnp.zeros((2, 5, 7, 3)))
        assert len(list(operations(module, "stablehlo.dot_general"))) == products
