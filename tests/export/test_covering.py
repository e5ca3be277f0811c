"""Which program a photo goes to, and the parts of photos for programs that none goes to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.data.batches.transforms import choose_bucket, resized_hw
from pointrend_jax.export.artefact import canvases_in_order
from pointrend_jax.export.covering import Programs
from pointrend_jax.export.program import Canvases

NETWORKS = ((64, 96), (96, 64))


def _programs(*canvases: Canvases) -> Programs:
    return Programs(canvases_in_order(canvases), min_size=61, max_size=93)


def _photo(height: int, width: int) -> np.ndarray:
    """A photo whose pixels say where they lie."""
    rows, columns = np.indices((height, width), np.uint8)
    return np.stack([rows, columns, rows], -1)


def test_a_photo_goes_to_the_smallest_program_that_holds_it() -> None:
    small, large = (64, 96), (200, 200)
    programs = _programs(*(Canvases(own, most) for own in NETWORKS for most in (large, small)))
    assert programs.of((64, 96)) == Canvases((64, 96), small)
    assert programs.of((50, 60)) == Canvases((64, 96), small)
    assert programs.of((64, 40)) == Canvases((96, 64), small)
    assert programs.of((65, 96)) == Canvases((64, 96), large)
    assert programs.of((201, 10)) is None
    assert programs.of((10, 100)) == Canvases((64, 96), large)


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_photo_goes_where_predict_lays_it(height: int, width: int) -> None:
    own = _programs(*(Canvases(network, (200, 200)) for network in NETWORKS)).of((height, width))
    assert own is not None
    assert own.network == choose_bucket(resized_hw((height, width), 61, 93), NETWORKS)


def test_a_canvas_without_a_photo_gets_the_upright_middle_of_one() -> None:
    programs = _programs(*(Canvases(network, (120, 120)) for network in NETWORKS))
    photos = programs.photos([_photo(60, 90)], lambda photo: True)
    assert list(photos) == ["photo 0", "a part of photo 0, 60 x 56 pixels"]
    part = list(photos.values())[1]
    np.testing.assert_array_equal(part, _photo(60, 90)[:, 17:73])
    assert programs.of((60, 56)) == Canvases((96, 64), (120, 120))


def test_a_part_is_enlarged_for_a_program_of_larger_photos() -> None:
    small, large = (Canvases((64, 96), most) for most in ((64, 96), (300, 300)))
    photos = _programs(small, large).photos([_photo(64, 96)], lambda photo: True)
    part = list(photos.values())[1]
    assert part.shape == (200, 300, 3)
    assert part.dtype == np.uint8
    # Row 100 of 200 is row 32 of 64.
    assert part[100, 150].tolist() == [32, 48, 32]


@pytest.mark.parametrize(("found", "chosen"), [(2, "photo 1"), (9, "photo 0")])
def test_the_first_photo_is_taken_whose_part_shows_something(found: int, chosen: str) -> None:
    programs = _programs(*(Canvases(network, (120, 120)) for network in NETWORKS))
    photos = [np.full((60, 90, 3), value, np.uint8) for value in (1, 2, 3)]
    named = programs.photos(photos, lambda photo: photo[0, 0, 0] == found)
    assert len(named) == 4
    assert list(named)[3].startswith(f"a part of {chosen}, ")


def test_a_program_that_no_image_goes_to_is_known() -> None:
    tall, square = Canvases((96, 64), (10, 90)), Canvases((32, 32), (120, 120))
    landscape = Canvases((64, 96), (120, 120))
    programs = _programs(tall, square, landscape)
    assert programs.largest_images(square) == []
    assert (10, 9) in programs.largest_images(tall)
    assert max(programs.largest_images(landscape)) == (120, 120)
    with pytest.raises(ValueError, match=r"no image goes to the program of .*32, 32"):
        programs.photos([_photo(60, 90)], lambda photo: True)
