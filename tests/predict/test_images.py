"""Images from a program: what is refused with which advice, and how few canvases there are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.data.batches.transforms import padded_hw, resized_hw
from pointrend_jax.predict.images import check_image, check_images, choose_canvas

COCO_BUCKETS = ((800, 1088), (1088, 800), (800, 1344), (1344, 800), (1344, 1344))


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        (np.zeros((4, 5, 3), np.float32), r"float32 \(4, 5, 3\); .*\* 255"),
        (np.zeros((4, 5), np.uint8), r"np\.dstack"),
        (np.zeros((4, 5, 1), np.uint8), r"np\.dstack"),
        (np.zeros((4, 5, 4), np.uint8), "alpha"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"list\(images\)"),
        (np.zeros((3, 4, 5), np.uint8), "channels come last"),
        (np.zeros((0, 5, 3), np.uint8), "no side is 0"),
        (np.zeros(3, np.uint8), "channels come last"),
    ],
)
def test_another_array_is_refused_with_advice(image: np.ndarray, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        check_image(image, "the image")


def test_a_grey_image_is_taken_after_the_advice() -> None:
    for grey in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 1), np.uint8)):
        check_image(np.dstack([grey] * 3), "the image")


def test_the_wrong_image_of_several_is_named() -> None:
    right = np.zeros((4, 5, 3), np.uint8)
    check_images([right, right])
    with pytest.raises(ValueError, match="image 1 must be"):
        check_images((right, right[..., 0]))


@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_every_image_fits_its_canvas(height: int, width: int) -> None:
    for buckets in (((64, 64),), ((64, 96), (96, 64))):
        canvas = choose_canvas((height, width), 64, 500, buckets)
        needed = padded_hw(resized_hw((height, width), 64, 500))
        assert canvas[0] >= needed[0]
        assert canvas[1] >= needed[1]


def test_images_of_all_sizes_need_few_canvases() -> None:
    sizes: Any = np.random.default_rng(0).integers(1, 3000, (3000, 2)).tolist()
    canvases = {choose_canvas((h, w), 64, 500, ((64, 64),)) for h, w in sizes}
    # 64 doubled to 512, the padded maximum.
    sides = (128, 256, 512)
    assert canvases == {(64, 64), *((64, s) for s in sides), *((s, 64) for s in sides)}


def test_buckets_made_for_the_sizes_hold_every_image() -> None:
    rng = np.random.default_rng(0)
    sizes: Any = [(1, 3000), (3000, 1), *rng.integers(1, 3000, (2000, 2)).tolist()]
    assert {choose_canvas((h, w), 800, 1333, COCO_BUCKETS) for h, w in sizes} < set(COCO_BUCKETS)


def test_a_maximum_below_the_minimum_bounds_both_sides() -> None:
    assert choose_canvas((100, 300), 256, 64, ((32, 32),)) == (64, 64)


def test_an_image_without_pixels_has_no_canvas() -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        choose_canvas((0, 5), 64, 96, ((64, 96),))
