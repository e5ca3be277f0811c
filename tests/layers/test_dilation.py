"""Output strides below 32: dilated stages compute what strided ones do, and the cells between."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.depthwise import depthwise_conv
from pointrend_jax.layers.efficientnet_lite import EfficientNetLite
from pointrend_jax.layers.resnet import ResNet

PADDED_HW = jnp.array([[64, 96]])


def _maps(backbone: Any, strided: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Maps of both, of the same weights and pixels."""
    x = jax.random.normal(jax.random.key(1), (1, 64, 96, 3))
    variables = jax.jit(strided.init)(jax.random.key(0, impl="unsafe_rbg"), x, PADDED_HW)
    return jax.jit(backbone.apply)(variables, x, PADDED_HW), jax.jit(strided.apply)(
        variables, x, PADDED_HW
    )


@pytest.mark.parametrize("output_stride", [16, 8])
def test_a_dilated_resnet_holds_the_maps_of_the_strided_one(output_stride: int) -> None:
    # With the stride in the first 1x1, the 3x3 after it already sees every second cell.
    dilated, strided = _maps(ResNet(50, output_stride=output_stride), ResNet(50))
    skip = 32 // output_stride
    assert dilated["res5"].shape[1:3] == (64 // output_stride, 96 // output_stride)
    np.testing.assert_allclose(
        dilated["res5"][:, ::skip, ::skip], strided["res5"], rtol=1e-3, atol=1e-4
    )


def test_a_dilated_efficientnet_holds_the_maps_of_the_strided_one() -> None:
    dilated, strided = _maps(EfficientNetLite(0, output_stride=16), EfficientNetLite(0))
    # TensorFlow's padding centres the strided 5x5 on the odd cells.
    np.testing.assert_allclose(
        dilated["res5"][:, 1::2, 1::2], strided["res5"], rtol=1e-3, atol=1e-4
    )


def test_the_multi_grid_multiplies_the_dilation_of_res5() -> None:
    """A block of dilation d sees d cells away and none between."""
    backbone = ResNet(50, output_stride=16, multi_grid=(1, 2, 4))
    dilations = [backbone.multi_grid[block] * 2 for block in range(3)]
    plain, grid = _maps(ResNet(50, output_stride=16), backbone)
    assert dilations == [2, 4, 8]
    np.testing.assert_array_equal(plain["res4"], grid["res4"])
    assert not np.allclose(plain["res5"], grid["res5"])


@pytest.mark.parametrize("size", [3, 5])
def test_both_forms_of_a_dilated_depthwise_convolution_agree(size: int) -> None:
    x = jax.random.normal(jax.random.key(0), (1, 9, 8, 4))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 1, 4))
    forms = [
        depthwise_conv(x, kernel, dilation=2, implementation=form)
        for form in ("shifted", "grouped")
    ]
    np.testing.assert_allclose(*forms, rtol=1e-4, atol=1e-5)
