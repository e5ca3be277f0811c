"""Images from a program: what is refused with which advice, and how few canvases there are."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pointrend_jax.data.batches.transforms import padded_hw, resized_hw
from pointrend_jax.data.images import read_image
from pointrend_jax.predict.images import check_image, choose_canvas, read_images, read_one

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
    read_images([right, right])
    with pytest.raises(ValueError, match="image 1 must be"):
        read_images((right, right[..., 0]))


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


def test_an_image_is_taken_in_every_form(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels)
    forms = [pixels, jnp.asarray(pixels), picture, tmp_path / "a.png", str(tmp_path / "a.npy")]
    for image in read_images(forms):
        np.testing.assert_array_equal(image, pixels)


def test_a_pillow_image_becomes_what_its_file_does(tmp_path: Path) -> None:
    exif = Image.Exif()
    # Turned by a quarter: seen upright it is 4 high and 6 wide.
    exif[0x0112] = 6
    Image.new("RGBA", (4, 6), (9, 8, 7, 100)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        taken = read_one(picture, "the image")
    np.testing.assert_array_equal(taken, read_image(tmp_path / "a.png"))
    assert taken.shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (iter([]), "got list_iterator; .*give several images as a list"),
        ([[1, 2], [3, 4]], "got list"),
        (jnp.zeros((4, 5)), r"got float32 \(4, 5\)"),
        (Image.new("F", (4, 5)), "the image has 32-bit pixels"),
        ("missing.png", r"missing\.png cannot be read"),
        ("~nobody-here/a.png", "no such home folder"),
    ],
    ids=["iterator", "numbers", "jax", "pillow", "path", "home"],
)
def test_what_is_no_image_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_one(given, "the image")
