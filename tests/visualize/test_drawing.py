"""The strokes of the pictures, by hand."""

import cv2
import numpy as np
import pytest

from pointrend_jax.visualize import drawing

_GREY = (128, 128, 128)


def _canvas(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_resample_of_the_whole_window_is_the_identity():
    field = np.arange(35, dtype=np.float32).reshape(5, 7)
    window = (10.0, 20.0, 24.0, 30.0)
    np.testing.assert_allclose(drawing.resample(field, window, window, (7, 5)), field)


def test_resample_nearest_repeats_each_sample():
    field = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    result = drawing.resample(
        field, (0.0, 0.0, 2.0, 2.0), (0.0, 0.0, 2.0, 2.0), (6, 6), interpolation=cv2.INTER_NEAREST
    )
    np.testing.assert_array_equal(result, field.repeat(3, 0).repeat(3, 1))


def test_resample_beyond_the_source_is_outside():
    field = np.ones((4, 4, 3), np.uint8)
    result = drawing.resample(
        field,
        (0.0, 0.0, 4.0, 4.0),
        (2.0, 0.0, 6.0, 4.0),
        (4, 4),
        interpolation=cv2.INTER_NEAREST,
        outside=(7, 8, 9),
    )
    np.testing.assert_array_equal(result[:, :2], 1)
    np.testing.assert_array_equal(result[:, 2:], np.broadcast_to((7, 8, 9), (4, 2, 3)))


def test_resample_without_overlap_is_outside():
    field = np.ones((4, 4), np.float32)
    result = drawing.resample(field, (0.0, 0.0, 4.0, 4.0), (50.0, 50.0, 60.0, 60.0), (5, 5))
    np.testing.assert_array_equal(result, np.zeros((5, 5)))


def test_resample_to_less_averages():
    noise = np.random.default_rng(0).uniform(size=(64, 64)).astype(np.float32)
    window = (0.0, 0.0, 64.0, 64.0)
    result = drawing.resample(noise, window, window, (8, 8))
    np.testing.assert_allclose(result, noise.reshape(8, 8, 8, 8).mean(axis=(1, 3)), atol=1e-6)


def test_resample_of_a_very_wide_image_keeps_its_proportions():
    image = np.zeros((8, 40_000, 3), np.uint8)
    image[:, 20_000:] = 200
    window = (0.0, 0.0, 40_000.0, 8.0)
    result = drawing.resample(image, window, window, (400, 8))
    assert result[4, 190].max() == 0
    assert result[4, 210].min() == 200


def test_fill_blends_by_coverage_within_its_window():
    canvas = _canvas(4, 4)
    drawing.fill(canvas, np.array([[1.0, 0.5]], np.float32), (1, 2), (228, 28, 128))
    expected = _canvas(4, 4)
    expected[2, 1] = (228, 28, 128)
    expected[2, 2] = (178, 78, 128)
    np.testing.assert_array_equal(canvas, expected)


def test_draw_outline_lies_where_the_field_is_one_half():
    field = np.zeros((20, 20), np.float32)
    field[5:15, 5:15] = 1
    canvas = _canvas(30, 30)
    drawing.draw_outline(canvas, field, (255, 0, 0), width=1, at=(3, 6))
    red = np.argwhere(canvas[..., 0] > canvas[..., 1] + 60)
    # Between samples 4 and 5, and between 14 and 15, moved by (x 3, y 6).
    assert red.min(axis=0) == pytest.approx((10.5, 7.5), abs=0.5)
    assert red.max(axis=0) == pytest.approx((20.5, 17.5), abs=0.5)
    assert tuple(canvas[15, 12]) == _GREY


def test_draw_dots_puts_the_centre_of_a_pixel_at_its_half():
    canvas = _canvas(9, 9)
    drawing.draw_dots(canvas, np.array([[2.5, 6.5]], np.float32), 1.0, (0, 255, 0))
    assert tuple(canvas[6, 2]) == (0, 255, 0)
    assert tuple(canvas[2, 6]) == _GREY


@pytest.mark.parametrize("color", drawing.COLORS)
def test_readable_on_every_color_contrasts(color: drawing.Color):
    luma = np.array([0.299, 0.587, 0.114])
    assert abs(luma @ color - luma @ drawing.readable_on(color)) > 80


def test_colors_are_told_apart():
    colors = np.array([drawing.color_of(i) for i in range(12)], float)
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distances[~np.eye(len(colors), dtype=bool)].min() > 50


def test_captions_of_a_row_have_one_size_and_fit_their_panels():
    panels = [(_canvas(10, 100), "uncertainty, last step"), (_canvas(10, 100), "unc")]
    # Their captions alone.
    long, short = np.split(drawing.captioned_row(panels, 14)[10:], [100 + drawing.GAP], axis=1)
    ink = np.argwhere(long[:, :100].min(axis=2) < 128)
    # Cut off it would touch the edge.
    assert ink[:, 1].min() > 0
    assert ink[:, 1].max() < 99
    # Alone the short text is larger.
    alone = drawing.captioned_row(panels[1:], 14)[10:]
    widths = [np.ptp(np.argwhere(text.min(axis=2) < 128)[:, 1]) for text in (short, alone)]
    assert widths[0] < widths[1]


def test_a_long_name_is_cut_before_its_score_instead_of_shrinking_the_row():
    name = "a lighthouse keeper's very long bicycle"
    panels = [(_canvas(10, 100), f"{name} 0.98"), (_canvas(10, 100), "coarse, 7x7")]
    picture = drawing.captioned_row(panels, 14)
    # Captions are twice as high as their text.
    assert picture.shape[0] - 10 == 2 * 11
    short = drawing.shortened(f"{name} 0.98", 86, 11)
    assert short.startswith("a ligh")
    assert short.endswith("... 0.98")
    ink = np.argwhere(picture[10:, :100].min(axis=2) < 128)
    assert ink[:, 1].min() > 0
    assert ink[:, 1].max() < 99
    assert drawing.shortened("one", 86, 11) == "one"
    assert drawing.shortened("w" * 40, 60, 11).startswith("www")
    assert drawing.shortened("w" * 40, 60, 11).endswith("w...")


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_a_panel_is_scaled_to_the_size_that_is_said(scale: float):
    panel = _canvas(7, 10)
    scaled = drawing.scaled(panel, scale)
    assert scaled.shape[:2] == drawing.scaled_size(panel, scale) == (round(7 * scale), 10 * scale)
    assert scaled is not panel


def test_small_images_are_enlarged_to_a_side_and_no_more_than_a_picture_may_be():
    sides = ((100, 192), (480, 320), (200, 3000), (1, 9))
    scales = [drawing.enlarging(np.zeros((*hw, 3), np.uint8), 480) for hw in sides]
    assert scales == [2.5, 1, 1, drawing.MOST_ENLARGED]


def test_rings_are_filled_within_and_not_in_their_holes():
    canvas = _canvas(30, 30)
    outer = np.array([(4, 4), (26, 4), (26, 26), (4, 26)], float)
    hole = np.array([(10, 10), (10, 20), (20, 20), (20, 10)], float)
    drawing.fill_rings(canvas, [outer, hole], (228, 128, 28), 0.5)
    assert tuple(canvas[7, 7]) == (178, 128, 78)
    assert tuple(canvas[15, 15]) == _GREY
    assert tuple(canvas[1, 1]) == _GREY


def test_row_and_column_keep_every_panel():
    a, b = np.full((2, 3, 3), 1, np.uint8), np.full((4, 5, 3), 2, np.uint8)
    side_by_side, stacked = drawing.row([a, b], 6), drawing.column([a, b], 6)
    assert side_by_side.shape == (4, 14, 3)
    assert stacked.shape == (12, 5, 3)
    for picture in (side_by_side, stacked):
        assert (picture == 1).sum() == a.size
        assert (picture == 2).sum() == b.size
