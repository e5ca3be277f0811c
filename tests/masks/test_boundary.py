"""The boundary of a mask, by hand and against faster-coco-eval's own implementation."""

import numpy as np
import pytest
from faster_coco_eval.core.mask import rleToBoundary

from pointrend_jax.masks.boundary import boundary_iou, boundary_width, mask_boundary
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_rle
from tests.evaluation.scenes import HEIGHT, WIDTH, ellipse


def test_boundary_width_is_rounded_and_at_least_one():
    assert boundary_width((300, 400), 0.02) == 10
    assert boundary_width((300, 400), 0.005) == 2  # 2.5 to even, as the authors' code
    assert boundary_width((10, 10), 0.02) == 1


def test_boundary_is_the_band_inside_the_outline():
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[10:30, 20:50] = True
    expected = mask.copy()
    expected[12:28, 22:48] = False  # the diagonal is 100, so the band is 2 wide
    np.testing.assert_array_equal(mask_boundary(mask, 0.02), expected)


def test_border_of_the_image_counts_as_outline():
    mask = np.ones((HEIGHT, WIDTH), np.bool_)
    expected = mask.copy()
    expected[2:-2, 2:-2] = False
    np.testing.assert_array_equal(mask_boundary(mask, 0.02), expected)


def test_empty_mask_has_no_boundary():
    assert not mask_boundary(np.zeros((HEIGHT, WIDTH), np.bool_), 0.02).any()


@pytest.mark.parametrize("dilation", [0.005, 0.02, 0.05])
def test_boundary_equals_another_implementation(dilation: float):
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        for _ in range(3):
            centre, axes = rng.uniform(0, 80, 2), rng.uniform(2, 30, 2)
            mask ^= ellipse(tuple(centre), tuple(axes), float(rng.uniform(0, 180)))
        theirs = rleToBoundary(encode_mask(mask), dilation)
        theirs = {"size": theirs["size"], "counts": theirs["counts"].decode()}
        np.testing.assert_array_equal(mask_boundary(mask, dilation), decode_rle(theirs))


def test_boundary_iou_is_that_of_the_bands():
    mask, moved = np.zeros((2, HEIGHT, WIDTH), np.bool_)
    mask[10:30, 20:50] = True  # a band 2 wide has 20 * 30 - 16 * 26 = 184 pixels
    moved[12:32, 20:50] = True
    # Common are the two columns at each side, over the 18 rows that both masks have: 4 * 18 = 72.
    assert boundary_iou(mask, mask) == 1
    assert boundary_iou(mask, moved) == pytest.approx(72 / (2 * 184 - 72))
    assert boundary_iou(mask, np.zeros_like(mask)) == boundary_iou(mask & False, mask & False) == 0
