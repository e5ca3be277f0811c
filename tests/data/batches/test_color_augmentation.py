"""SSD's colour changes: each step by hand, their order, and how often they happen."""

import numpy as np
import pytest

from pointrend_jax.data.batches.color_augmentation import (
    ColorChange,
    change_brightness,
    change_color,
    change_color_channels,
    change_contrast,
    change_hue,
    change_saturation,
    draw_color_change,
)
from pointrend_jax.pixel_format import PHOTO, PixelFormat

_NOTHING = ColorChange(None, None, None, None, contrast_first=True)
_ALL = ColorChange(20.0, 1.4, 0.6, 9, contrast_first=True)


def _pixel(*rgb: int) -> np.ndarray:
    return np.array([[rgb]], np.uint8)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)


def test_brightness_is_added_clipped_and_cut_off():
    assert change_brightness(_pixel(10, 250, 0), 9.9).tolist() == [[[19, 255, 9]]]
    assert change_brightness(_pixel(10, 250, 0), -20.5).tolist() == [[[0, 229, 0]]]


def test_contrast_is_a_factor_clipped_and_cut_off():
    assert change_contrast(_pixel(10, 200, 3), 1.5).tolist() == [[[15, 255, 4]]]
    assert change_contrast(_pixel(10, 200, 3), 0.5).tolist() == [[[5, 100, 1]]]


def test_saturation_leaves_gray_and_fades_colours():
    assert change_saturation(_pixel(90, 90, 90), 0.5).tolist() == [[[90, 90, 90]]]
    # The brightest channel is the value of HSV and stays: 255 - 0.5 * 255, up to rounding.
    assert change_saturation(_pixel(255, 0, 0), 0.5).tolist() == [[[255, 128, 128]]]


def test_hue_turns_the_circle_of_180():
    assert change_hue(_pixel(255, 0, 0), 60).tolist() == [[[0, 255, 0]]]
    assert change_hue(_pixel(255, 0, 0), -60).tolist() == [[[0, 0, 255]]]
    assert change_hue(_pixel(255, 0, 0), 180).tolist() == [[[255, 0, 0]]]


def test_no_step_changes_nothing(noise: np.ndarray):
    np.testing.assert_array_equal(change_color(noise, _NOTHING), noise)


def test_input_is_not_written_to(noise: np.ndarray):
    before = noise.copy()
    change_color(noise, _ALL)
    np.testing.assert_array_equal(noise, before)


def test_contrast_comes_first_or_last(noise: np.ndarray):
    bright = change_brightness(noise, 20.0)
    first = change_hue(change_saturation(change_contrast(bright, 1.4), 0.6), 9)
    last = change_contrast(change_hue(change_saturation(bright, 0.6), 9), 1.4)
    np.testing.assert_array_equal(change_color(noise, _ALL), first)
    np.testing.assert_array_equal(change_color(noise, _ALL._replace(contrast_first=False)), last)
    assert (first != last).any()


def test_steps_are_drawn_half_of_the_time_and_within_their_range():
    rng = np.random.default_rng(0)
    changes = [draw_color_change(rng) for _ in range(2000)]
    ranges = {"brightness": (-32, 32), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5)}
    ranges["hue"] = (-18, 18)
    for field, (low, high) in ranges.items():
        values = [v for c in changes if (v := getattr(c, field)) is not None]
        # Five standard deviations of 2000 throws of a coin.
        assert abs(len(values) - 1000) < 112
        assert low <= min(values) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(values) <= high
    assert abs(sum(c.contrast_first for c in changes) - 1000) < 112


def test_equal_seeds_draw_equal_changes():
    def drawn(seed: int) -> list[ColorChange]:
        rng = np.random.default_rng(seed)
        return [draw_color_change(rng) for _ in range(5)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_photos_change_as_before_and_other_channels_never_do(noise: np.ndarray):
    expected = change_color(noise, _ALL)
    np.testing.assert_array_equal(change_color_channels(noise, _ALL, PHOTO), expected)
    # Blue, nothing, green, red, nothing.
    many = np.dstack([noise[..., 2], noise[..., 0], noise[..., 1], noise[..., 0], noise[..., 1]])
    before, pixels = many.copy(), PixelFormat(5, "uint8", (0.0, 255.0), (3, 2, 0))
    changed = change_color_channels(many, _ALL, pixels)
    np.testing.assert_array_equal(changed[..., [3, 2, 0]], expected)
    np.testing.assert_array_equal(changed[..., [1, 4]], before[..., [1, 4]])
    np.testing.assert_array_equal(many, before)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("first", [True, False])
def test_values_of_other_types_change_as_bytes_do(noise: np.ndarray, dtype: str, first: bool):
    pixels = PixelFormat(4, dtype, (100.0, 1120.0), (0, 1, 2))  # 4 for each step of a byte
    image = np.dstack([noise, noise[..., :1]]).astype(np.float32) * 4 + 100
    image = image.astype(dtype)
    change = _ALL._replace(contrast_first=first)
    changed = change_color_channels(image, change, pixels)
    assert changed.dtype == dtype
    np.testing.assert_array_equal(changed[..., 3], image[..., 3])
    expected = change_color(noise, change)
    found = (changed[..., :3].astype(np.float32) - 100) / 4
    # Bytes are cut off after every step, and hues of bytes are whole: 8 of 255 in places.
    assert np.abs(found - expected).mean() < 2
    assert np.abs(found - expected).max() < 10
    outside = np.full((2, 2, 4), 2000, dtype)
    nothing = change_color_channels(outside, _NOTHING, pixels)
    np.testing.assert_array_equal(nothing, outside)
