"""Zeroing beyond the padded image, by hand."""

import jax.numpy as jnp
import numpy as np

from pointrend_jax.layers.padding import inside_padded, mean_inside, zero_beyond


def test_a_cell_may_be_named_several_times():
    sizes = jnp.asarray([[5, 8], [9, 1]])
    cells, each = (inside_padded(3, 3, sizes, 4, number) for number in (1, 3))
    np.testing.assert_array_equal(each, np.repeat(cells, 3, axis=2))


def test_zero_beyond_keeps_the_cells_of_the_padded_image_only():
    x = jnp.ones((2, 3, 4, 1))
    y = zero_beyond(x, jnp.asarray([[2, 3], [3, 1]]), 1)[..., 0]
    np.testing.assert_array_equal(y[0], [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(y[1], [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


def test_zero_beyond_keeps_a_cell_that_is_partly_inside():
    y = zero_beyond(jnp.ones((1, 3, 3, 1)), jnp.asarray([[5, 8]]), 4)[0, ..., 0]
    np.testing.assert_array_equal(y, [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_zero_beyond_removes_non_finite_padding():
    x = jnp.full((1, 2, 2, 1), jnp.nan).at[0, 0, 0, 0].set(7.0)
    y = zero_beyond(x, jnp.asarray([[1, 1]]), 1)[0, ..., 0]
    np.testing.assert_array_equal(y, [[7, 0], [0, 0]])


def test_mean_inside_leaves_padding_out():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    # Cells 0, 1 and 4, 5.
    np.testing.assert_allclose(mean_inside(x, jnp.asarray([[64, 33]]), 32), [[2.5]], rtol=1e-6)


def test_mean_inside_counts_the_cells_of_a_bfloat16_map_in_float32():
    # 257 cells, which bfloat16 would count as 256.
    x = jnp.ones((1, 1, 257, 1), jnp.bfloat16)
    y = mean_inside(x, jnp.asarray([[1, 257]]), 1)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y.astype(jnp.float32), [[1.0]])
