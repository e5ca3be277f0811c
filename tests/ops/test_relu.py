"""Both forms of a ReLU, whose values and gradients are the same bits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.ops.relu import relu


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_relu_that_keeps_its_result_has_the_gradient_of_any_other(
    dtype: Any, trace_for: Callable[[str], None]
) -> None:
    x = jnp.array([-2.0, -0.0, 0.0, 1e-30, 3.0, jnp.inf, -jnp.inf, jnp.nan], dtype)
    cotangent = jnp.arange(1.0, 9.0).astype(dtype)
    results = []
    for backend in ("cpu", "tpu"):
        trace_for(backend)
        y, transposed = jax.vjp(jax.jit(relu), x)
        results.append([np.asarray(a, np.float32) for a in (y, *transposed(cotangent))])
        assert y.dtype == dtype
    for plain, ours in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, plain)
    np.testing.assert_array_equal(results[1][1], [0, 0, 0, 4, 5, 6, 0, 0])


def test_the_gradient_reads_what_the_relu_gave(trace_for: Callable[[str], None]) -> None:
    trace_for("tpu")
    y, transposed = jax.vjp(relu, jnp.array([-1.0, 2.0]))
    kept = [x for x in jax.tree.leaves(transposed) if np.shape(x) == (2,)]
    assert [x.dtype for x in kept] == [jnp.float32]
    np.testing.assert_array_equal(kept[0], y)
