"""Labelled points as a loss: which count, and that the mask heads learn from these alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.labelled_points import labelled_map_loss, labelled_points
from pointrend_jax.layers.regions import Regions, flat_bits
from pointrend_jax.ops.losses import LossTerm, sigmoid_cross_entropy
from pointrend_jax.structures import ObjectBatch
from tests.tiny import object_batch, on_device, tiny_config
from tests.tiny_parts import tiny_head

BOXES = np.array([[10.0, 20, 30, 60], [0, 0, 20, 20], [5, 5, 5, 9]], np.float32)

_labelled_points = jax.jit(labelled_points)


def _batch(coords: list, labels: list) -> ObjectBatch:
    """One image with an object for each list of points."""
    batch = object_batch(1)._replace(
        mask_bits=None,
        point_coords=np.asarray([coords], np.float32),
        point_labels=np.asarray([labels], np.int32),
    )
    return on_device(batch)


def _regions(gt_index: list[int], valid: list[bool]) -> Regions:
    zeros = np.zeros(len(gt_index), np.int32)
    index = np.array(gt_index, np.int32)
    arrays: Any = (BOXES[: len(gt_index)], zeros, zeros, index, np.array(valid))
    return Regions(*on_device(arrays))


def test_points_count_in_the_frame_of_a_region_that_holds_them() -> None:
    coords = [[[15, 30], [30, 60], [9, 30], [15, 61]], [[15, 5], [16, 4], [5, 5], [0, 0]]]
    batch = _batch(coords, [[1, 0, 1, 0], [1, -1, 0, 0]])
    points = _labelled_points(_regions([0, 1], [True, True]), batch)
    np.testing.assert_array_equal(points.valid, [[1, 1, 0, 0], [1, 0, 1, 1]])
    np.testing.assert_allclose(points.coords[0, :2], [[0.25, 0.25], [1, 1]])
    np.testing.assert_allclose(points.coords[1, [0, 2, 3]], [[0.75, 0.25], [0.25, 0.25], [0, 0]])
    np.testing.assert_array_equal(points.labels, [[1, 0, 1, 0], [1, 0, 0, 0]])


def test_a_region_that_is_none_or_has_no_area_holds_no_point() -> None:
    batch = _batch([[[15, 30]], [[5, 6]]], [[1], [1]])
    points = _labelled_points(_regions([0, 0, 1], [False, True, True]), batch)
    assert not points.valid.any()
    assert np.isfinite(points.coords).all()


def test_ignored_points_are_in_neither_the_sum_nor_the_number() -> None:
    # A map of one row: logits 0 and ln 3 at the centres of its halves.
    logits = np.array([[[[0.0], [np.log(3.0)]]]], np.float32)
    coords = [[[15, 40], [25, 40], [25, 40]]]

    @jax.jit
    def loss(regions: Regions, batch: ObjectBatch) -> LossTerm:
        points = labelled_points(regions, batch)
        return labelled_map_loss(jnp.asarray(logits), points, sigmoid_cross_entropy)

    term = loss(_regions([0], [True]), _batch(coords, [[0, 1, -1]]))
    np.testing.assert_allclose(term.total, np.log(2.0) + np.log(4 / 3), rtol=1e-6)
    assert term.denominator == 2


@pytest.mark.parametrize("mask_head", ["pointrend", "implicit", "conv"])
def test_a_mask_head_learns_from_the_points_that_count_and_from_nothing_else(
    mask_head: str,
) -> None:
    coords = [[[15.0, 30], [25, 50], [40, 40]], [[3.0, 4], [18, 9], [7, 7]]]
    batch = _batch(coords, [[1, 0, 1], [0, 1, -1]])  # four of the six count
    moved = [[*coords[0][:2], [50.0, 2]], [*coords[1][:2], [1.0, 1]]]
    head = tiny_head(tiny_config(mask_head=mask_head))
    head = head._replace(
        pyramid=on_device({level: np.asarray(x)[:1] for level, x in head.pyramid.items()}),
        candidates=on_device(jax.tree.map(lambda x: np.asarray(x)[:2], head.candidates)),
    )

    @jax.jit
    def losses(params: Any, batch: ObjectBatch) -> Any:
        def total(params: Any) -> Any:
            given = head._replace(batch=batch)
            _, terms = given.losses(params, head.pyramid, _regions([0, 1], [True, True]))
            return sum(term.total / term.denominator for term in terms.values()), terms

        return jax.value_and_grad(total, has_aux=True)(params)

    (total, terms), gradients = losses(head.variables["params"], batch)
    assert {float(term.denominator) for name, term in terms.items() if name != "loss_l2"} == {4.0}
    changed = batch._replace(point_coords=np.asarray([moved], np.float32))
    (again, _), _ = losses(head.variables["params"], changed)
    assert again == total
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))


def test_a_head_that_needs_masks_says_so() -> None:
    with pytest.raises(ValueError, match=r"learns from masks alone; set config\.data\.supervision"):
        flat_bits(_batch([[[1, 1]]], [[1]]))
