"""The two forms of the grouped convolution, and of the depthwise one, are one function."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.layers.grouped_conv import GroupedConv, depthwise_init, grouped_conv

# (what, height and width, channels, kernel's shape, options): each size of kernel, each stride, and
# odd and even sides with each.
_CASES = [
    ("depthwise 3x3", (8, 7), 3, (3, 3, 1, 3), {"padding": "SAME"}),
    ("depthwise 3x3, stride 2", (8, 7), 3, (3, 3, 1, 3), {"padding": "SAME", "stride": 2}),
    ("depthwise 5x5", (7, 6), 3, (5, 5, 1, 3), {"padding": "SAME"}),
    ("depthwise 5x5, stride 2", (7, 6), 3, (5, 5, 1, 3), {"padding": "SAME", "stride": 2}),
    ("depthwise 3x3, dilated", (9, 8), 4, (3, 3, 1, 4), {"padding": "SAME", "dilation": 2}),
    ("depthwise 5x5, dilated", (9, 8), 4, (5, 5, 1, 4), {"padding": "SAME", "dilation": 2}),
    ("groups of 4", (8, 6), 12, (3, 3, 4, 6), {"padding": "half"}),
    ("groups of 4, stride 2", (8, 6), 12, (3, 3, 4, 6), {"padding": "half", "stride": 2}),
    ("groups of 4, odd sides", (7, 9), 12, (3, 3, 4, 6), {"padding": "half"}),
    ("groups of 4, odd, stride 2", (7, 9), 12, (3, 3, 4, 6), {"padding": "half", "stride": 2}),
    ("groups of 4, dilated", (8, 9), 12, (3, 3, 4, 6), {"padding": "half", "dilation": 2}),
]


def _inputs(hw: tuple[int, int], channels: int, shape: tuple[int, ...]) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=size) for size in ((2, *hw, channels), shape))
    return x.astype(np.float32), kernel.astype(np.float32)


def _as_on(platform: str, function: Callable, *args: Any) -> Any:
    with traced_for(platform):
        # A function of its own, as what is traced already keeps its form.
        return jax.jit(lambda *args: function(*args))(*args)


@pytest.mark.parametrize(
    ("hw", "channels", "shape", "options"), [c[1:] for c in _CASES], ids=[c[0] for c in _CASES]
)
def test_form_of_a_cpu_and_its_gradient_equal_those_of_an_accelerator(
    hw: tuple[int, int], channels: int, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    def weighted_sum(x: Any, kernel: Any) -> tuple[Any, Any]:
        y = grouped_conv(x, kernel, **options)
        # Unequal weights, so that a gradient in the wrong place shows.
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum(), y

    evaluate = jax.value_and_grad(weighted_sum, argnums=(0, 1), has_aux=True)
    inputs = _inputs(hw, channels, shape)
    (_, ours), our_gradient = _as_on("cpu", evaluate, *inputs)
    (_, theirs), their_gradient = _as_on("gpu", evaluate, *inputs)
    # float32 sums of up to 36 or 9 * 112 terms in another order.
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for one, other in zip(our_gradient, their_gradient, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_dilated_groups_are_those_of_flax(platform: str) -> None:
    x, kernel = _inputs((8, 9), 12, (3, 3, 4, 6))
    ours = GroupedConv(channels=6, kernel_size=3, groups=3, dilation=2)
    theirs = nn.Conv(6, (3, 3), padding=2, kernel_dilation=2, feature_group_count=3, use_bias=False)
    params = {"params": {"kernel": kernel}}
    y = _as_on(platform, ours.apply, params, x)
    # float32 sums of 36 terms in another order.
    np.testing.assert_allclose(y, jax.jit(theirs.apply)(params, x), atol=1e-5)


def test_depthwise_conv_by_hand() -> None:
    x = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    y = _as_on("cpu", lambda *args: grouped_conv(*args, padding="SAME"), x, kernel)
    y = np.squeeze(y)
    assert float(y[0, 0]) == 1 * 4 + 2 * 5 + 3 * 7 + 4 * 8
    assert float(y[1, 1]) == 1 * 0 + 2 * 1 + 3 * 3 + 4 * 4


@pytest.mark.parametrize("shape", [(3, 3, 1, 8), (3, 3, 4, 6)], ids=["depthwise", "groups of 4"])
def test_groups_are_kept_apart(shape: tuple[int, ...]) -> None:
    x, kernel = _inputs((5, 5), 8, shape)
    last = x[..., -shape[2] :], kernel[..., -(shape[3] * shape[2] // 8) :]
    together, alone = (
        np.asarray(_as_on("cpu", lambda *args: grouped_conv(*args, padding="half"), *inputs))
        for inputs in ((x, kernel), last)
    )
    np.testing.assert_allclose(together[..., -alone.shape[-1] :], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(5, 5, 1, 12), (3, 3, 4, 6)], ids=["depthwise", "groups of 4"])
def test_sum_in_bfloat16_is_rounded_only_once(platform: str, shape: tuple[int, ...]) -> None:
    x, kernel = (value.astype(jnp.bfloat16) for value in _inputs((8, 6), 12, shape))

    def conv(x: Any, kernel: Any) -> Any:
        return grouped_conv(x, kernel, padding="half")

    y = _as_on(platform, conv, x, kernel)
    exact = _as_on(platform, conv, x.astype(np.float32), kernel.astype(np.float32))
    assert y.dtype == jnp.bfloat16
    # Half a unit of eight bits; sums near 0 cancel in another order.
    np.testing.assert_allclose(np.float32(y), exact, rtol=2**-8, atol=1e-5)


def test_module_has_a_kernel_of_its_groups_inputs_and_uses_it() -> None:
    x, kernel = _inputs((4, 4), 8, (3, 3, 4, 6))
    module = GroupedConv(channels=6, kernel_size=3, groups=2)
    variables: Any = jax.eval_shape(module.init, jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == kernel.shape
    y = jax.jit(module.apply)({"params": {"kernel": kernel}}, x)
    conv = jax.jit(lambda *args: grouped_conv(*args, padding="half"))
    np.testing.assert_array_equal(y, conv(x, kernel))


def test_depthwise_init_keeps_the_variance_of_one_channel() -> None:
    kernel = depthwise_init(jax.random.key(0), (3, 3, 1, 4096), jnp.float32)
    # Kaiming: 2 / fan, fan 9; the standard error over 36864 values is 0.4 %.
    np.testing.assert_allclose(np.var(kernel), 2 / 9, rtol=0.03)
