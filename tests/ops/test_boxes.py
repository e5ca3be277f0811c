"""Box geometry by property and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.ops import boxes as ops
from pointrend_jax.ops.boxes import SCALE_CLAMP, AnchorGrid, anchors_of, clip_boxes, nonempty

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Operation by operation it is some ten programs each.
assign_levels, box_iou = jax.jit(ops.assign_levels), jax.jit(ops.box_iou)
encode_boxes = jax.jit(ops.encode_boxes, static_argnames="weights")
decode_boxes = jax.jit(ops.decode_boxes, static_argnames="weights")

_side = st.floats(1, 200, width=32)
_place = st.floats(-100, 100, width=32)
_box = st.tuples(_place, _place, _side, _side).map(
    lambda b: np.array([[b[0], b[1], b[0] + b[2], b[1] + b[3]]], np.float32)
)


@given(_box, _box)
def test_decode_inverts_encode(box: np.ndarray, target: np.ndarray) -> None:
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = np.asarray(encode_boxes(box, target, weights))
    if deltas[:, 2:].max() / 5.0 < SCALE_CLAMP:
        decoded = decode_boxes(box, deltas, weights)
        np.testing.assert_allclose(decoded, target, atol=2e-3)


@given(_box, _box)
def test_box_iou_is_symmetric_and_within_0_and_1(a: np.ndarray, b: np.ndarray) -> None:
    iou = box_iou(a, b)
    assert 0.0 <= iou.item() <= 1.0 + 1e-5
    np.testing.assert_allclose(iou, box_iou(b, a), rtol=1e-5)
    np.testing.assert_allclose(box_iou(a, a), [[1.0]], rtol=1e-4)


def test_encode_of_a_padded_row_is_zero_and_finite() -> None:
    boxes = jnp.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 4.0]])
    # Operation by operation, as in a notebook.
    deltas = ops.encode_boxes(boxes, jnp.zeros((2, 4)))
    np.testing.assert_array_equal(deltas, np.zeros((2, 4)))


def test_clip_boxes_uses_each_image_its_own_size() -> None:
    boxes = np.tile(np.array([-50, -50, 50, 50], np.float32), (2, 1, 1))
    clipped = jax.jit(clip_boxes)(boxes, np.array([[10, 20], [30, 40]]))
    np.testing.assert_array_equal(clipped, [[[0, 0, 20, 10]], [[0, 0, 40, 30]]])
    assert np.all(jax.jit(nonempty)(clipped))


def test_assign_levels_of_a_box_without_area_is_the_finest() -> None:
    boxes = np.array([[0, 0, 0, 0], [0, 0, 224, 224], [0, 0, 111, 111], [5, 5, 1, 9]], np.float32)
    np.testing.assert_array_equal(assign_levels(boxes), [2, 4, 2, 2])


def test_grid_anchors_go_y_x_anchor_from_the_corner() -> None:
    grid = AnchorGrid((2, 2), 4, 8, (1.0, 0.25))
    anchors = np.asarray(jax.jit(grid.anchors)(np.arange(grid.number)))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_allclose(centres[::2], [[0, 0], [4, 0], [0, 4], [4, 4]])
    np.testing.assert_allclose(anchors[1], [-8, -2, 8, 2])


def test_anchors_of_several_levels_are_numbered_one_level_after_another() -> None:
    fine, coarse = AnchorGrid((1, 3), 4, 8, (1.0,)), AnchorGrid((1, 2), 8, 16, (1.0,))
    assert (fine.number, coarse.number) == (3, 2)
    anchors = jax.jit(lambda index: anchors_of((fine, coarse), index))(np.array([4, 2, 0, 3]))
    np.testing.assert_allclose(
        anchors, [[0, -8, 16, 8], [4, -4, 12, 4], [-4, -4, 4, 4], [-8, -8, 8, 8]]
    )


def test_every_anchor_is_the_constant_of_those_that_are_computed() -> None:
    grid = AnchorGrid((13, 7), 4, 31, (0.5, 1.0, 2.0))
    computed = jax.jit(grid.anchors)(np.arange(grid.number))
    np.testing.assert_array_equal(grid.every_anchor(), computed)
