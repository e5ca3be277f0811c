"""The RPN's scores as a TPU lines them up are those of the plain form; its losses, of a few cells
alone, are those of all."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.rpn import RPN, RPNOutputs, in_a_row
from pointrend_jax.ops.boxes import encode_boxes
from pointrend_jax.ops.losses import LossTerm, binary_cross_entropy, l1
from pointrend_jax.ops.matching import match_boxes, sample_by_priority
from pointrend_jax.structures import ObjectBatch
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


def _losses_of_all_cells(
    rpn: RPN, outputs: RPNOutputs, batch: ObjectBatch, priority: jax.Array
) -> dict[str, LossTerm]:
    anchors = jnp.asarray(np.concatenate([grid.every_anchor() for grid in outputs.grids]))
    deltas = jnp.concatenate([x.reshape(x.shape[0], -1, 4) for x in outputs.deltas], axis=1)

    def of_image(inside: Any, boxes: Any, valid: Any, priority: Any, *outputs: Any) -> Any:
        matches = match_boxes(
            anchors, boxes, boxes_valid=inside, gt_valid=valid, thresholds=rpn.iou_thresholds,
            allow_low_quality=True,
        )  # fmt: skip
        index, foreground, sampled = sample_by_priority(
            matches.labels == 1, matches.labels == 0, priority,
            num_samples=rpn.samples_per_image, positive_fraction=rpn.positive_fraction,
        )  # fmt: skip
        targets = encode_boxes(anchors[index], boxes[matches.gt_index[index]])
        return *(x[index] for x in outputs), targets, foreground, sampled

    logits, deltas, targets, foreground, sampled = jax.vmap(of_image)(
        outputs.inside, batch.boxes, batch.valid, priority, outputs.logits, deltas
    )
    count = jnp.asarray(2.0 * rpn.samples_per_image)
    return {
        "cls": binary_cross_entropy(logits, foreground.astype(jnp.float32), sampled, count),
        "loc": l1(deltas, targets, foreground, count),
    }


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_losses_and_gradients_of_sampled_cells_are_those_of_all_cells(platform: str) -> None:
    rng = np.random.default_rng(0)
    pyramid = {
        f"p{level}": rng.normal(size=(2, 128 >> level, 192 >> level, 8)).astype(np.float32)
        for level in range(2, 7)
    }
    hw = jnp.array([[128, 192], [100, 130]], jnp.int32)
    corner = rng.uniform(0, 90, (2, 5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 60, (2, 5, 2))], -1)
    nothing = jnp.zeros(())
    batch = ObjectBatch(
        *[nothing] * 4, boxes=jnp.asarray(boxes, jnp.float32), classes=nothing, mask_bits=nothing,
        valid=jnp.arange(5)[None] < jnp.array([[5], [2]]),
    )  # fmt: skip
    # There are so many samples that one cell has several.
    rpn = RPN(samples_per_image=1024, anchor_sizes=(8, 16, 32, 64, 128))
    variables = jax.jit(rpn.init)(jax.random.key(0), pyramid, hw)
    variables = jax.tree.map(lambda x: x + rng.normal(0, 0.2, x.shape).astype(x.dtype), variables)
    number = sum(x.shape[1] * x.shape[2] * 3 for x in pyramid.values())
    priority = jnp.asarray(rng.uniform(size=(2, number)), jnp.float32)

    def value_and_gradients(losses: Callable[..., dict[str, LossTerm]]) -> Any:
        def loss(variables: Any, pyramid: Any) -> jax.Array:
            def method(rpn: RPN, pyramid: Any) -> dict[str, LossTerm]:
                return losses(rpn, rpn(pyramid, hw), batch, priority)

            terms: Any = rpn.apply(variables, pyramid, method=method)
            return sum((x.total / x.denominator for x in terms.values()), jnp.zeros(()))

        with traced_for(platform):
            return jax.jit(jax.value_and_grad(loss, (0, 1)))(variables, pyramid)

    found, expected = value_and_gradients(RPN.losses), value_and_gradients(_losses_of_all_cells)
    assert all(np.any(np.asarray(x) != 0) for x in jax.tree.leaves(expected[1][0]))

    def check(found: Any, expected: Any) -> None:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())

    jax.tree.map(check, found, expected)


def test_the_head_has_the_parameters_of_its_convolutions() -> None:
    pyramid = {
        f"p{level}": np.zeros((1, 64 >> level, 64 >> level, 8), np.float32) for level in range(2, 7)
    }
    found = jax.jit(RPN().init)(jax.random.key(0), pyramid, np.array([[64, 64]], np.int32))

    class Convolutions(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> list[jax.Array]:
            init = nn.initializers.normal(0.01)
            sizes = {"conv": (8, (3, 3)), "objectness": (3, (1, 1)), "deltas": (12, (1, 1))}
            return [Conv(*size, kernel_init=init, name=name)(x) for name, size in sizes.items()]

    expected = jax.jit(Convolutions().init)(jax.random.key(0), pyramid["p2"])
    jax.tree.map(np.testing.assert_array_equal, found, expected)
