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

PADDED_HW = jnp.array([[64, 64], [64, 32]])


def _resnet(*, remat: bool) -> ResNet:
    return ResNet(18, freeze_at=3, norm=BatchNorm, remat=remat)


def _gradients(backbone: Any, variables: Any, x: jax.Array) -> Any:
    """Of the sum of all maps, and the buffers after it."""

    def total(params: Any, x: jax.Array) -> Any:
        maps, updated = backbone.apply(
            {**variables, "params": params}, x, PADDED_HW, mutable=["buffers"]
        )
        return sum((jnp.sum(jnp.sin(m)) for m in maps.values()), jnp.zeros(())), updated

    gradient = jax.grad(total, has_aux=True)
    return jax.vmap(gradient, in_axes=(None, 0), axis_name=DATA_AXIS)(variables["params"], x[None])


@pytest.mark.parametrize(
    ("kept", "again", "num_trained_blocks"),
    [
        (_resnet(remat=False), _resnet(remat=True), 4),
        (EfficientNetLite(0, freeze_at=4), EfficientNetLite(0, freeze_at=4, remat=True), 5),
    ],
    ids=["resnet18", "efficientnet_lite0"],
)
def test_remat_is_of_every_trained_block_and_changes_no_name(
    kept: Any, again: Any, num_trained_blocks: int
) -> None:
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    shapes = [jax.eval_shape(b.init, jax.random.key(0), x, PADDED_HW) for b in (kept, again)]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
    program = str(jax.make_jaxpr(lambda v, x: _gradients(again, v, x))(shapes[1], x))
    assert program.count("differentiated=True") == num_trained_blocks


def test_remat_changes_no_gradient_and_no_statistic() -> None:
    x = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
    kept, again = _resnet(remat=False), _resnet(remat=True)
    variables = jax.jit(kept.init)(jax.random.key(0, impl="unsafe_rbg"), x, PADDED_HW)
    ours, theirs = (
        jax.jit(lambda v, x, backbone=backbone: _gradients(backbone, v, x))(variables, x)
        for backbone in (again, kept)
    )

    def compare(a: jax.Array, b: jax.Array) -> None:
        # Rounding: the compiler fuses what it computes a second time in another way.
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()), rtol=1e-4)

    jax.tree.map(compare, ours, theirs)
    statistics = ours[1]["buffers"]["res5_1"]["bn1"]
    assert bool(jnp.all(statistics["mean"][0] != variables["buffers"]["res5_1"]["bn1"]["mean"]))
