"""Output strides below 32: dilated stages compute what strided ones do, and the cells between."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.efficientnet_lite import EfficientNetLite
from pointrend_jax.layers.resnet import ResNet
from tests.programs import products

PADDED_HW = jnp.array([[32, 64]])


def _maps(dilated: Any, strided: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Of the same pixels and weights; one program, so what both compute alike is compiled once."""
    x = jax.ShapeDtypeStruct((1, 32, 64, 3), jnp.float32)
    shapes = jax.eval_shape(strided.init, jax.random.key(0), x, PADDED_HW)
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "kernel":
            # By their fan-in, so that no map grows out of bounds.
            spread = np.sqrt(np.prod(leaf.shape[:-1]))
            return (rng.normal(size=leaf.shape) / spread).astype(np.float32)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    pixels = rng.normal(size=x.shape).astype(np.float32)
    return jax.jit(lambda v, x: tuple(b.apply(v, x, PADDED_HW) for b in (dilated, strided)))(
        variables, pixels
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_a_dilated_resnet_holds_the_maps_of_the_strided_one(groups: int) -> None:
    # With the stride in the first 1x1, the 3x3 after it already sees every second cell.
    resnet = partial(ResNet, 50, groups=groups, width_per_group=64 // groups)
    dilated, strided = _maps(resnet(output_stride=8), resnet())
    for name, skip in (("res4", 2), ("res5", 4)):
        assert dilated[name].shape[1:3] == (32 // 8, 64 // 8)
        ours = np.asarray(dilated[name])[:, ::skip, ::skip]
        np.testing.assert_allclose(ours, strided[name], rtol=1e-3, atol=1e-4)


def test_a_dilated_efficientnet_holds_the_maps_of_the_strided_one() -> None:
    dilated, strided = _maps(EfficientNetLite(0, output_stride=16), EfficientNetLite(0))
    # TensorFlow's padding centres the strided 5x5 on the odd cells.
    ours = np.asarray(dilated["res5"])[:, 1::2, 1::2]
    np.testing.assert_allclose(ours, strided["res5"], rtol=1e-3, atol=1e-4)


def test_the_multi_grid_multiplies_the_dilation_of_each_block_of_res5() -> None:
    """Read off the program: the nine taps of a block of dilation d lie d cells apart."""
    backbone = ResNet(50, output_stride=16, multi_grid=(1, 2, 4))
    x = jax.ShapeDtypeStruct((1, 32, 64, 3), jnp.float32)
    variables = jax.eval_shape(backbone.init, jax.random.key(0), x, PADDED_HW)
    dilations = [
        product.equation.params["rhs_dilation"]
        for product in products(jax.make_jaxpr(backbone.apply)(variables, x, PADDED_HW))
        if product.equation.primitive.name == "conv_general_dilated"
    ]
    assert [d for d in dilations if d != (1, 1)] == [(2, 2), (4, 4), (8, 8)]
