"""Labelled points as a loss: which count, and that the mask heads learn from these alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.labelled_points import labelled_map_loss, labelled_points
from pointrend_jax.layers.regions import Regions, flat_bits
from pointrend_jax.models.mask_heads import build_mask_head
from pointrend_jax.ops.losses import sigmoid_cross_entropy
from pointrend_jax.structures import ObjectBatch
from tests.tiny import object_batch, tiny_config

BOXES = jnp.array([[10.0, 20, 30, 60], [0, 0, 20, 20], [5, 5, 5, 9]])


def _batch(coords: list, labels: list) -> ObjectBatch:
    """One image with an object for each list of points."""
    batch = object_batch(1)._replace(
        mask_bits=None,
        point_coords=np.asarray([coords], np.float32),
        point_labels=np.asarray([labels], np.int32),
    )
    return jax.device_put(batch)


def _regions(gt_index: list[int], valid: list[bool]) -> Regions:
    zeros = jnp.zeros(len(gt_index), jnp.int32)
    boxes = BOXES[: len(gt_index)]
    return Regions(boxes, zeros, zeros, jnp.array(gt_index), jnp.array(valid))


def test_points_count_in_the_frame_of_a_region_that_holds_them() -> None:
    coords = [[[15, 30], [30, 60], [9, 30], [15, 61]], [[15, 5], [16, 4], [5, 5], [0, 0]]]
    batch = _batch(coords, [[1, 0, 1, 0], [1, -1, 0, 0]])
    points = labelled_points(_regions([0, 1], [True, True]), batch)
    np.testing.assert_array_equal(points.valid, [[1, 1, 0, 0], [1, 0, 1, 1]])
    np.testing.assert_allclose(points.coords[0, :2], [[0.25, 0.25], [1, 1]])
    np.testing.assert_allclose(points.coords[1, [0, 2, 3]], [[0.75, 0.25], [0.25, 0.25], [0, 0]])
    np.testing.assert_array_equal(points.labels, [[1, 0, 1, 0], [1, 0, 0, 0]])


def test_a_region_that_is_none_or_has_no_area_holds_no_point() -> None:
    batch = _batch([[[15, 30]], [[5, 6]]], [[1], [1]])
    points = labelled_points(_regions([0, 0, 1], [False, True, True]), batch)
    assert not points.valid.any()
    assert np.isfinite(points.coords).all()


def test_ignored_points_are_in_neither_the_sum_nor_the_number() -> None:
    # A map of one row: logits 0 and ln 3 at the centres of its halves.
    logits = jnp.array([[[[0.0], [np.log(3.0)]]]])
    coords = [[[15, 40], [25, 40], [25, 40]]]
    points = labelled_points(_regions([0], [True]), _batch(coords, [[0, 1, -1]]))
    term = labelled_map_loss(logits, points, sigmoid_cross_entropy)
    np.testing.assert_allclose(term.total, np.log(2.0) + np.log(4 / 3), rtol=1e-6)
    assert term.denominator == 2


@pytest.mark.parametrize("mask_head", ["pointrend", "implicit", "conv"])
def test_a_mask_head_learns_from_the_points_that_count_and_from_nothing_else(
    mask_head: str,
) -> None:
    head: Any = build_mask_head(tiny_config(mask_head=mask_head))
    channels = tiny_config().model.fpn_channels
    pyramid = {
        f"p{i}": jax.random.normal(jax.random.key(i), (1, 64 // 2**i, 64 // 2**i, channels))
        for i in range(2, 6)
    }
    regions = _regions([0, 1], [True, True])
    candidates = head.draw_candidates(jax.random.key(0), 2)
    coords = [[[15.0, 30], [25, 50], [40, 40]], [[3.0, 4], [18, 9], [7, 7]]]
    batch = _batch(coords, [[1, 0, 1], [0, 1, -1]])  # four of the six count
    moved = [[*coords[0][:2], [50.0, 2]], [*coords[1][:2], [1.0, 1]]]
    init = jax.jit(partial(head.init, method="losses"))
    params = init(jax.random.key(1), pyramid, regions, batch, candidates)

    @jax.jit
    def losses(params: dict, batch: ObjectBatch) -> tuple:
        terms = head.apply(params, pyramid, regions, batch, candidates, method="losses")
        total = sum(term.total / term.denominator for term in terms.values())
        return total, terms

    (total, terms), gradients = jax.value_and_grad(losses, has_aux=True)(params, batch)
    assert {float(term.denominator) for name, term in terms.items() if name != "loss_l2"} == {4.0}
    again, _ = losses(params, batch._replace(point_coords=jnp.asarray([moved])))
    assert again == total
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))


def test_a_head_that_needs_masks_says_so() -> None:
    with pytest.raises(ValueError, match=r"learns from masks alone; set config\.data\.supervision"):
        flat_bits(_batch([[[1, 1]]], [[1]]))
