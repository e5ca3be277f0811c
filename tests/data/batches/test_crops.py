"""Objects are cut out of photos, on canvases of one size, and what changes there comes back."""

import numpy as np
import pytest

from pointrend_jax.data.batches.crops import (
    Crop,
    CropShape,
    change_by,
    given_batch,
    make_crop,
    on_canvas,
)

_SHAPE = CropShape(canvas=64, margin=0.25, least_side=16)


def _photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _rectangle(hw: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("hw", "box", "window", "inside_hw"),
    [
        # Around the box a quarter of its longer side; the shorter one has as much room.
        ((200, 300), (100, 80, 140, 100), (90, 60, 150, 120), (64, 64)),
        # Moved into the photo.
        ((200, 300), (0, 180, 40, 200), (0, 140, 60, 200), (64, 64)),
        # A speck is seen with its surroundings.
        ((200, 300), (50, 50, 51, 51), (42, 42, 58, 58), (64, 64)),
        # The photo is smaller than the window: the canvas is padded below.
        ((20, 300), (100, 0, 140, 20), (90, 0, 150, 20), (21, 64)),
    ],
)
def test_the_window_is_a_square_around_the_object_inside_the_photo(
    hw: tuple[int, int],
    box: tuple[int, int, int, int],
    window: tuple[int, int, int, int],
    inside_hw: tuple[int, int],
) -> None:
    crop = make_crop(_photo(*hw), _rectangle(hw, *box), _SHAPE)
    assert (crop.window, crop.inside_hw) == (window, inside_hw)
    assert crop.image.shape == (*inside_hw, 3)
    assert crop.soft.shape == inside_hw
    assert crop.given.shape == (window[3] - window[1], window[2] - window[0])
    assert crop.given.sum() == (box[2] - box[0]) * (box[3] - box[1])


def test_a_large_photo_gives_the_crop_of_its_part() -> None:
    hw = (900, 1200)
    image, mask = _photo(*hw), _rectangle(hw, 600, 400, 700, 480)
    whole = make_crop(image, mask, _SHAPE)
    part = make_crop(image[300:600, 500:800], mask[300:600, 500:800], _SHAPE)
    for ours, theirs in zip(whole[2:], part[2:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _crop(side: int) -> Crop:
    mask = _rectangle((side, side), side // 4, side // 4, 3 * side // 4, 3 * side // 4)
    return make_crop(_photo(side, side), mask, CropShape(64, 0.5, 16))


@pytest.mark.parametrize("side", [16, 32, 64, 148, 332])
def test_a_canvas_that_says_the_same_changes_no_pixel(side: int) -> None:
    crop = _crop(side)
    assert crop.given.shape == (side, side)
    np.testing.assert_array_equal(change_by(crop, crop.soft / 255, sure=0.7), crop.given)


@pytest.mark.parametrize("side", [400, 1000])
def test_strands_and_gaps_that_are_finer_than_the_canvas_stay(side: int) -> None:
    # A third of a cell of the canvas.
    thin, mask = side // 200, _rectangle((side, side), side // 5, side // 5, side // 2, side // 2)
    mask[side // 4 : side // 4 + thin, side // 2 : 4 * side // 5] = True
    mask[side // 3 : side // 3 + thin, side // 5 : side // 3] = False
    crop = make_crop(_photo(side, side), mask, CropShape(64, 0.5, 16))
    np.testing.assert_array_equal(change_by(crop, crop.soft / 255, sure=0.7), crop.given)
    # All else goes where the canvas says so.
    assert change_by(crop, np.zeros((64, 64)), sure=0.7).sum() < 0.05 * mask.sum()


@pytest.mark.parametrize("side", [32, 64, 256])
def test_a_canvas_that_says_another_mask_gives_that(side: int) -> None:
    crop, shift = _crop(side), side // 8
    moved = np.roll(crop.given, shift, axis=1)
    other = make_crop(_photo(side, side), moved, CropShape(64, 0.5, 16))._replace(given=crop.given)
    # The window moved with the mask as far as the photo lets it; here it is the whole photo.
    assert other.window == crop.window
    changed = change_by(crop, other.soft / 255, sure=0.7)
    assert (changed ^ moved).mean() < 0.01


@pytest.mark.parametrize("side", [32, 64, 256])
def test_of_a_mask_that_was_too_wide_nothing_stays_along_its_outline(side: int) -> None:
    crop, by = _crop(side), side // 8
    wide = crop.given | np.roll(crop.given, by, axis=1)
    soft = on_canvas(wide, crop.inside_hw)
    changed = change_by(crop._replace(given=wide, soft=soft), crop.soft / 255, sure=0.7)
    assert (changed ^ crop.given).mean() < 0.01
    outline = wide & ~np.roll(wide, -1, axis=1)
    assert not (changed & outline)[:, by:].any()


def test_slots_without_a_crop_are_not_valid() -> None:
    batch = given_batch([_crop(64)], 64, 3)
    np.testing.assert_array_equal(batch.valid, [True, False, False])
    np.testing.assert_array_equal(batch.image_hw, [[64, 64], [32, 32], [32, 32]])
    assert not batch.given[1:].any()
