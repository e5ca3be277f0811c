"""Tiles: every pixel is given once, reads stay within a tile, and impossible tiles are named."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.pixel_format import PixelFormat
from pointrend_jax.predict.tiles import Tiling, predict_tiles
from pointrend_jax.structures import ImageBatch


@given(
    length=st.integers(1, 700),
    side=st.integers(1, 6).map(lambda n: 32 * n),
    overlap=st.integers(0, 3).map(lambda n: 32 * n),
)
def test_tiles_cover_an_axis_once_and_begin_on_whole_cells(
    length: int, side: int, overlap: int
) -> None:
    tiles = Tiling((side, side), min(overlap, side // 64 * 32)).along(0, length)
    given_by = np.zeros(length, int)
    for tile in tiles:
        given_by[tile.first : tile.last] += 1
        assert tile.start % 32 == 0
        assert tile.start <= tile.first < tile.last <= tile.end <= tile.start + side
    assert (given_by == 1).all()
    assert tiles[-1].end == length


@given(length=st.integers(200, 700))
def test_a_pixel_comes_from_the_tile_in_which_it_lies_deepest(length: int) -> None:
    tiles = Tiling((96, 96), 32).along(0, length)
    for tile, following in itertools.pairwise(tiles):
        # At the cut, both see equally far beyond it, but for the half pixel.
        assert abs((tile.end - tile.last) - (following.first - following.start)) <= 1


def _brightness(batch: ImageBatch) -> Any:
    """A network that sees single pixels only."""
    assert batch.images.shape == (1, 64, 96, 3)
    return batch.images[..., 0] // 2


class _Recorded:
    """An image that remembers how much of it was read at a time."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.largest = 0

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        part = self.pixels[key]
        self.largest = max(self.largest, part.size)
        return part


def test_tiles_of_a_local_network_equal_the_whole_image() -> None:
    image = np.random.default_rng(0).integers(0, 255, (150, 333, 3), dtype=np.uint8)
    source, out = _Recorded(image), np.zeros((150, 333), np.uint8)
    result = predict_tiles(_brightness, source, Tiling((64, 96), 32), out, progress=False)
    assert result is out
    np.testing.assert_array_equal(out, image[..., 0] // 2)
    assert source.largest == 64 * 96 * 3


def test_an_image_smaller_than_a_tile_is_one_tile() -> None:
    image = np.full((10, 20, 3), 8, np.uint8)
    result = predict_tiles(_brightness, image, Tiling((64, 96), 32), None, progress=False)
    np.testing.assert_array_equal(result, np.full((10, 20), 4))


@pytest.mark.parametrize(
    ("tile_hw", "overlap", "match"),
    [
        ((100, 96), 32, r"multiples of 32 pixels, got \(100, 96\)"),
        ((0, 96), 32, "multiples of 32"),
        ((96, 96), 20, "must overlap by a multiple of 32 from 0 to half"),
        ((96, 96), 64, "must overlap"),
        ((96, 96), -32, "must overlap"),
    ],
)
def test_impossible_tiles_are_refused(tile_hw: tuple, overlap: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Tiling.checked(tile_hw, overlap)


@pytest.mark.parametrize(
    ("image", "out", "match"),
    [
        (np.zeros((9, 9), np.uint8), None, r"the image must be a uint8 \[height, width, 3\]"),
        (np.zeros((9, 9, 3)), None, "got float64"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8), np.uint8), r"out must be uint8 \(9, 9\)"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.int32), "got int32"),
    ],
)
def test_wrong_arrays_are_refused(image: np.ndarray, out: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        predict_tiles(_brightness, image, Tiling((64, 96), 32), out, progress=False)


def test_values_that_are_no_numbers_are_named_by_their_part() -> None:
    image = np.zeros((64, 150, 1), np.float32)
    image[3, 140] = np.nan
    pixels = PixelFormat(1, "float32", (0.0, 1.0), ())
    match = r"at row 0, column 64 has 1 values that are NaN .* row 3, column 76, channel 0"

    def predict(batch: ImageBatch) -> Any:
        return batch.images[..., 0].astype(np.uint8)

    with pytest.raises(ValueError, match=match):
        predict_tiles(predict, image, Tiling((64, 96), 32), None, pixels=pixels, progress=False)
