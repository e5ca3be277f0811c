"""Backbones whose blocks are computed again for the gradient: the same numbers, from the same
variables."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.efficientnet_lite import EfficientNetLite
from pointrend_jax.layers.norm import BatchNorm
from pointrend_jax.layers.resnet import ResNet
from pointrend_jax.structures import DATA_AXIS
from pointrend_jax.tasks.task import with_fixed_as_constants
from tests.tiny import drawn_variables

PADDED_HW = jnp.array([[64, 64], [64, 32]])
PIXELS = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)


def _resnet(*, remat: bool) -> ResNet:
    return ResNet(18, freeze_at=4, norm=BatchNorm, remat=remat)


def _gradients(backbone: Any, variables: Any, x: jax.Array) -> Any:
    """Of the sum of all maps by the trained parameters, and the buffers after it."""
    frozen = backbone.frozen_modules()

    def total(params: Any, x: jax.Array) -> Any:
        given = with_fixed_as_constants(
            {**variables, "params": params}, lambda path: path[0] not in frozen
        )
        maps, updated = backbone.apply(given, x, PADDED_HW, mutable=["buffers"])
        return sum((jnp.sum(jnp.sin(m)) for m in maps.values()), jnp.zeros(())), updated

    gradient = jax.grad(total, has_aux=True)
    return jax.vmap(gradient, in_axes=(None, 0), axis_name=DATA_AXIS)(variables["params"], x[None])


def _shapes(backbone: Any) -> Any:
    return jax.eval_shape(backbone.init, jax.random.key(0), PIXELS, PADDED_HW)


@pytest.mark.parametrize(
    ("kept", "again", "num_trained_blocks"),
    [
        (_resnet(remat=False), _resnet(remat=True), 2),
        (EfficientNetLite(0, freeze_at=4), EfficientNetLite(0, freeze_at=4, remat=True), 5),
    ],
    ids=["resnet18", "efficientnet_lite0"],
)
def test_remat_is_of_every_trained_block_and_changes_no_name(
    kept: Any, again: Any, num_trained_blocks: int
) -> None:
    # A parameter of another name would be missed.
    program = jax.make_jaxpr(lambda v, x: _gradients(again, v, x))(_shapes(kept), PIXELS)
    assert str(program).count("differentiated=True") == num_trained_blocks


def test_remat_changes_no_gradient_and_no_statistic() -> None:
    variables = drawn_variables(_shapes(_resnet(remat=False)), {})
    x = np.random.default_rng(1).normal(size=PIXELS.shape).astype(np.float32)
    ours, theirs = (
        jax.jit(lambda v, x, remat=remat: _gradients(_resnet(remat=remat), v, x))(variables, x)
        for remat in (True, False)
    )

    def compare(a: jax.Array, b: jax.Array) -> None:
        # Rounding: the compiler fuses what it computes a second time in another way.
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(b).max()), rtol=1e-4)

    jax.tree.map(compare, ours, theirs)
    assert np.any(ours[0]["res5_1"]["conv1"]["kernel"])
    statistics = ours[1]["buffers"]["res5_1"]["bn1"]
    assert np.all(statistics["mean"][0] != variables["buffers"]["res5_1"]["bn1"]["mean"])
