"""Outlines: where they lie to a fraction of a pixel; parts, holes, borders; what readers see."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import points_in_poly

from pointrend_jax.masks.outlines import Polygon, coco_polygons, joined, joined_parts, rings
from pointrend_jax.masks.rle import encode_polygons
from pointrend_jax.masks.runs import decode_rle

_HW = (60, 80)


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    """Probabilities that fall from 1 to 0 over four pixels, one half on the circle."""
    rows, columns = np.mgrid[: _HW[0], : _HW[1]] + 0.5
    distance = np.hypot(columns - x, rows - y)
    return np.clip(0.5 + (radius - distance) / 4, 0, 1).astype(np.float32)


def _outlines(probs: np.ndarray, tolerance: float = 0.0) -> list[Polygon]:
    height, width = probs.shape
    return joined_parts(rings(probs, (0, 0), (height, width), tolerance=tolerance))


def _held_centres(polygons: list[Polygon], hw: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre lies within a polygon, by scikit-image's even-odd rule."""
    rows, columns = np.mgrid[: hw[0], : hw[1]] + 0.5
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    held = [points_in_poly(points, polygon) for polygon in polygons]
    return np.any([np.zeros(len(points), bool), *held], axis=0).reshape(hw)


def _coco_raster(polygons: list[Polygon], hw: tuple[int, int]) -> np.ndarray:
    return decode_rle(encode_polygons(coco_polygons(polygons), hw))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _deviation(polygon: Polygon, x: float, y: float, radius: float) -> float:
    """The farthest that points along the polygon, a twentieth of a side apart, lie off a circle."""
    parts = np.linspace(0, 1, 20)[:, None, None]
    along = polygon + parts * (np.roll(polygon, -1, axis=0) - polygon)
    return float(np.abs(np.hypot(along[..., 0] - x, along[..., 1] - y) - radius).max())


def test_a_disc_is_outlined_far_closer_than_by_stairs() -> None:
    probs = _disc(40.3, 30.7, 20.4)
    (polygon,) = _outlines(probs)
    (stairs,), _ = cv2.findContours(
        (probs >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    of_stairs = _deviation(stairs[:, 0] + 0.5, 40.3, 30.7, 20.4)
    # The sagitta of a chord of one pixel is 1 / (8 * 20.4) = 0.006.
    assert _deviation(polygon, 40.3, 30.7, 20.4) < 0.015 < 0.5 < of_stairs
    assert _iou(_coco_raster([polygon], _HW), probs >= 0.5) > 0.995
    np.testing.assert_array_equal(_held_centres([polygon], _HW), probs >= 0.5)


def test_a_tolerance_leaves_corners_out_and_moves_no_side_farther() -> None:
    probs = _disc(40.3, 30.7, 20.4)
    (whole,), (simple,) = _outlines(probs), _outlines(probs, 0.05)
    assert len(simple) < len(whole) / 2
    assert _deviation(simple, 40.3, 30.7, 20.4) < 0.05 + 0.015


@pytest.mark.parametrize(
    ("x", "y", "corner"), [(5, 7, (0, 0)), (75, 55, (80, 60)), (76, 4, (80, 0))]
)
def test_a_part_that_leaves_the_image_is_closed_along_its_border(
    x: float, y: float, corner: tuple[float, float]
) -> None:
    (polygon,) = _outlines(_disc(x, y, 20))
    assert corner in [tuple(point) for point in polygon.tolist()]
    assert (polygon >= 0).all()
    assert (polygon <= [80, 60]).all()
    np.testing.assert_array_equal(_held_centres([polygon], _HW), _disc(x, y, 20) >= 0.5)


def test_a_mask_of_the_whole_image_is_its_rectangle() -> None:
    (polygon,) = _outlines(np.full((3, 5), 0.9, np.float32), 0.01)
    assert {tuple(point) for point in polygon.tolist()} == {(0, 0), (5, 0), (5, 3), (0, 3)}


def test_a_pixel_is_a_diamond_around_its_centre() -> None:
    probs = np.zeros((4, 6), np.float32)
    probs[1, 2] = 1
    (polygon,) = _outlines(probs)
    expected = {(2.0, 1.5), (3.0, 1.5), (2.5, 1.0), (2.5, 2.0)}
    assert {tuple(np.round(point, 5)) for point in polygon.tolist()} == expected


def test_a_window_lies_where_it_is_said_to() -> None:
    probs = _disc(40, 30, 10)
    window = joined_parts(rings(probs[15:46, 25:56], (25, 15), _HW, tolerance=0))
    np.testing.assert_allclose(window[0], _outlines(probs)[0])


def test_a_hole_stays_empty_in_every_reader() -> None:
    probs = np.minimum(_disc(40, 30, 22), 1 - _disc(42, 31, 9))
    polygons = _outlines(probs)
    assert len(polygons) == 1
    np.testing.assert_array_equal(_held_centres(polygons, _HW), probs >= 0.5)
    assert not _coco_raster(polygons, _HW)[31, 42]
    assert _iou(_coco_raster(polygons, _HW), probs >= 0.5) > 0.995


def test_an_island_in_a_hole_is_a_part_of_its_own_and_the_largest_comes_first() -> None:
    ring = np.minimum(_disc(40, 30, 26), 1 - _disc(40, 30, 18))
    probs = np.maximum(np.maximum(_disc(40, 30, 8), ring), _disc(5, 5, 3))
    polygons = _outlines(probs)
    held = [_held_centres([polygon], _HW).sum() for polygon in polygons]
    assert held == [(ring >= 0.5).sum(), (_disc(40, 30, 8) >= 0.5).sum(), 32]
    np.testing.assert_array_equal(_held_centres(polygons, _HW), probs >= 0.5)


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_an_empty_mask_has_no_outline(value: float) -> None:
    assert _outlines(np.full((3, 5), value, np.float32)) == []


def test_a_pixel_that_only_just_reaches_the_level_leaves_nothing() -> None:
    probs = np.zeros((3, 5), np.float32)
    probs[1, 2] = 0.5
    assert _outlines(probs) == []


@given(seed=st.integers(0, 10_000), height=st.integers(2, 40), width=st.integers(2, 40))
def test_polygons_and_all_of_them_joined_hold_the_centres_of_any_mask(
    seed: int, height: int, width: int
) -> None:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 1.5)
    probs = np.clip((blurred - blurred.mean()) * 4 + 0.5, 0, 1).astype(np.float32)
    polygons = _outlines(probs)
    mask = _held_centres(polygons, (height, width))
    # Parts below a hundredth of a square pixel are left out: those of values next to the level.
    differ = mask != (probs >= 0.5)
    assert (np.abs(probs[differ] - 0.5) < 0.05).all()
    assert differ.sum() <= 2
    if polygons:
        one = _held_centres([joined(polygons)], (height, width))
        np.testing.assert_array_equal(one, mask)


def test_polygons_are_joined_between_near_corners_and_walked_both_ways() -> None:
    square = np.asarray([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    whole = joined([square + np.asarray([x, 0]) for x in (3, 7, 0)])
    assert whole.tolist() == [
        *([3, 0], [2, 0], [2, 2], [0, 2], [0, 0], [2, 0], [3, 0]),
        *([5, 0], [7, 0], [9, 0], [9, 2], [7, 2], [7, 0], [5, 0]),
        *([5, 2], [3, 2]),
    ]


def test_coco_gets_flat_lists_in_hundredths_of_a_pixel() -> None:
    polygon = np.asarray([[0.004, 1.0], [2.346, 1.0], [2.0, 3.5]])
    assert coco_polygons([polygon]) == [[0.0, 1.0, 2.35, 1.0, 2.0, 3.5]]
