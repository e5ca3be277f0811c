"""Convolutions in other forms are flax's, with their parameters and gradients."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.layers.conv import Conv, ConvOfWindows

SMALL = (2, 7, 6, 8)
# As many pixels as from which the gradient of a 3x3 kernel takes another form on a CPU.
LARGE = (1, 64, 64, 2)

# The shape of the input, channels of the output, and the convolution.
CASES: dict[str, tuple[tuple[int, ...], int, dict[str, Any]]] = {
    "pointwise": (SMALL, 4, {"kernel_size": (1, 1)}),
    "pointwise, wide": ((1, 3, 2, 128), 128, {"kernel_size": (1, 1)}),
    "pointwise, strided": (SMALL, 4, {"kernel_size": (1, 1), "strides": (2, 2)}),
    "pointwise, strides apart": (
        SMALL, 4, {"kernel_size": (1, 1), "strides": (2, 1), "use_bias": False}),
    "pointwise, padded": (SMALL, 4, {"kernel_size": (1, 1), "padding": 1}),
    "pointwise, grouped": (SMALL, 4, {"kernel_size": (1, 1), "feature_group_count": 2}),
    "pointwise, dilated input": (
        SMALL, 4, {"kernel_size": (1, 1), "padding": 0, "input_dilation": 2}),
    "windows": (SMALL, 4, {"kernel_size": (2, 2), "padding": "VALID", "strides": (2, 2)}),
    "windows, unequal": (SMALL, 4, {"kernel_size": (2, 3), "padding": "VALID", "strides": (2, 3)}),
    "windows, padded": (SMALL, 4, {"kernel_size": (2, 2), "padding": "SAME", "strides": (2, 2)}),
    "strided": (LARGE, 3, {"kernel_size": (3, 3), "padding": 1, "strides": (2, 2)}),
    "small": (SMALL, 4, {"kernel_size": (3, 3), "padding": 1}),
    "large": (LARGE, 3, {"kernel_size": (3, 3), "padding": 1}),
    "large, SAME": (LARGE, 3, {"kernel_size": (3, 3), "padding": "SAME"}),
    "large, unpadded": (LARGE, 3, {"kernel_size": (3, 3), "padding": "VALID"}),
    "large, dilated": (LARGE, 3, {"kernel_size": (3, 3), "padding": 2, "kernel_dilation": 2}),
}  # fmt: skip


def _inputs(name: str) -> tuple[Any, jax.Array]:
    """Variables, as flax has them, and an input."""
    shape, channels, how = CASES[name]
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(nn.Conv(channels, **how).init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), (variables, x))


# Those that have a form of their own on a TPU.
ON_A_TPU = ("large", "large, SAME", "small")


@cache
def _values_and_gradients() -> tuple[Any, Any, Any]:
    """Values and gradients of all cases, ours and flax's, and ours as on a TPU: three programs."""

    def weighted_sum(conv: Any, variables: Any, x: jax.Array) -> Any:
        y = conv.apply(variables, x)
        # Unequal weights, so that a gradient in the wrong place shows.
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum(), y

    evaluate = jax.value_and_grad(weighted_sum, argnums=(1, 2), has_aux=True)

    def of_all(conv: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: evaluate(conv(CASES[name][1], **CASES[name][2]), *given)
            for name, given in inputs.items()
        }

    inputs = {name: _inputs(name) for name in CASES}
    ours, theirs = (jax.jit(of_all, static_argnums=0)(conv, inputs) for conv in (Conv, nn.Conv))
    with traced_for("tpu"):
        chosen = {name: inputs[name] for name in ON_A_TPU}
        # A function of its own: what jax has traced already keeps its form.
        on_a_tpu = jax.jit(lambda inputs: of_all(Conv, inputs))(chosen)
    return ours, theirs, on_a_tpu


@pytest.mark.parametrize("name", list(CASES))
def test_conv_has_the_values_and_gradients_of_flax(name: str) -> None:
    ours, theirs, _ = _values_and_gradients()
    _assert_equal(ours[name], theirs[name])


@pytest.mark.parametrize("name", ON_A_TPU)
def test_conv_has_them_in_the_form_of_a_tpu(name: str) -> None:
    _, theirs, on_a_tpu = _values_and_gradients()
    _assert_equal(on_a_tpu[name], theirs[name])


def test_a_convolution_of_windows_is_that_of_the_map_they_are_cut_from() -> None:
    variables, x = _inputs("windows")
    batch, height, width, channels = x.shape
    across = height // 2, width // 2
    even = x[:, : 2 * across[0]].reshape(batch, across[0], 2, across[1], 2, channels)
    windows = jnp.swapaxes(even, 2, 3).reshape(batch, across[0] * across[1], 4, channels)
    outputs, how = CASES["windows"][1:]
    ours = jax.jit(ConvOfWindows(outputs, **how).apply)(variables, windows)
    theirs = jax.jit(nn.Conv(outputs, **how).apply)(variables, x)
    np.testing.assert_allclose(ours, np.reshape(theirs, ours.shape), rtol=1e-5, atol=1e-5)


def _assert_equal(ours: Any, theirs: Any) -> None:
    ((_, value), gradients), ((_, expected), of_flax) = ours, theirs
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)
    # Sums over all pixels, in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()),
        gradients,
        of_flax,
    )


@pytest.mark.parametrize("name", ["pointwise", "windows", "large"])
def test_conv_has_the_parameters_of_flax(name: str) -> None:
    shape, channels, how = CASES[name]
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    ours, theirs = (
        jax.eval_shape(conv(channels, **how).init, jax.random.key(0), x) for conv in (Conv, nn.Conv)
    )
    assert ours == theirs


@pytest.mark.parametrize(("name", "convolutions"), [("pointwise", 0), ("windows", 0), ("large", 2)])
def test_forms_are_what_they_are_chosen_for(name: str, convolutions: int) -> None:
    """A product for the first two; and for the gradient of a kernel of many pixels nine of them."""
    _, channels, how = CASES[name]
    variables, x = _inputs(name)

    def total(variables: Any) -> jax.Array:
        return Conv(channels, **how).apply(variables, x).sum()  # type: ignore[union-attr]

    # "pointwise" is narrow, so that the gradient of its kernel is a convolution's.
    function = jax.grad(total) if name == "large" else total
    program = str(jax.make_jaxpr(function)(variables))
    assert "dot_general" in program
    assert program.count("conv_general_dilated[") <= convolutions


def test_on_a_tpu_the_columns_of_a_map_are_the_batch_of_a_3x3_convolution() -> None:
    """So that of one image too there are many, and nothing varies along a convolution but rows."""
    variables, x = _inputs("small")
    with traced_for("tpu"):
        program = str(
            jax.make_jaxpr(Conv(CASES["small"][1], **CASES["small"][2]).apply)(variables, x)
        )
    assert "lhs_spec=(2, 3, 0, 1)" in program
