"""The stem on blocks of 4 x 4 pixels is the plain one, and its parts are what they should be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.layers.norm import BatchNorm, FrozenBatchNorm
from pointrend_jax.layers.resnet import Stem, stem_pool
from pointrend_jax.layers.stem_blocks import max_pool_parts, pixels_to_blocks
from tests.lowered import lowered_for, operations

HW = np.array([[32, 32], [32, 64]])
SHAPE = (2, 32, 64, 3)


def test_a_block_has_its_pixels_row_by_row() -> None:
    x = np.arange(4 * 8, dtype=np.float32).reshape(1, 4, 8, 1)
    left = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]
    blocks = np.asarray(jax.jit(pixels_to_blocks)(x))
    np.testing.assert_array_equal(blocks[0, 0, 0], left)
    np.testing.assert_array_equal(blocks[0, 0, 1], np.array(left) + 4)


def test_pooling_of_parts_is_that_of_the_map() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (2, 6, 8, 3)).astype(np.float32)
    parts = [x[:, i::2, j::2] for i in range(2) for j in range(2)]
    np.testing.assert_array_equal(jax.jit(max_pool_parts)(parts), jax.jit(stem_pool)(x))


@pytest.mark.parametrize("norm", [FrozenBatchNorm, BatchNorm])
def test_it_is_the_plain_stem_up_to_rounding_with_its_parameters(norm: Any) -> None:
    stem, rng = Stem(norm), np.random.default_rng(0)
    x = rng.normal(size=SHAPE).astype(np.float32)
    weights = rng.normal(size=(2, 8, 16, 64)).astype(np.float32)

    def trained(platform: str) -> tuple[Any, Any, Any]:
        with traced_for(platform):
            variables = jax.jit(lambda *x: stem.init(*x))(jax.random.key(0), x, HW)

            def weighted(params: Any) -> tuple[jax.Array, jax.Array]:
                inputs = jnp.asarray(x), jnp.asarray(HW)
                y = stem.apply({**variables, "params": params}, *inputs)
                assert isinstance(y, jax.Array)
                return jnp.sum(y * weights), y

            value_and_gradient = jax.value_and_grad(weighted, has_aux=True)
            (_, y), gradient = jax.jit(value_and_gradient)(variables["params"])
            return variables, y, gradient

    plain, in_blocks = trained("gpu"), trained("tpu")
    jax.tree.map(np.testing.assert_array_equal, in_blocks[0], plain[0])
    # A sum of 147 products in another order.
    np.testing.assert_allclose(in_blocks[1], plain[1], rtol=1e-5, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()),
        in_blocks[2],
        plain[2],
    )


def test_on_a_tpu_no_convolution_reads_three_channels() -> None:
    stem = Stem(FrozenBatchNorm)
    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    variables = jax.eval_shape(stem.init, jax.random.key(0), x, HW)
    module = lowered_for("tpu", stem.apply, variables, x, HW)
    convolutions = operations(module, "stablehlo.convolution")
    # Three columns of blocks of 48.
    assert [list(x.operands[0].type.shape)[-1] for x in convolutions] == 4 * [3 * 48]
