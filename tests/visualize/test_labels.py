"""Label maps in colour, and the sheet that explains them."""

import colorsys
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cityscapes_labels import CLASSES
from pointrend_jax.data.images import decode_map
from pointrend_jax.data.sources.categories import CAMVID
from pointrend_jax.structures import IGNORE_LABEL
from pointrend_jax.visualize import (
    colorize,
    drawing,
    explain_labels_picture,
    overlay_labels,
    palette,
    save_label_map,
)
from pointrend_jax.visualize.labels import legend

NAMES = ("sky", "road", "car")
# Where the rows of a sheet of 800x600 begin whose panels are 480x360; captions are 36 px high.
_ZOOMED_ROW = drawing.GAP + 360 + 36 + drawing.GAP
_STEP_ROW = _ZOOMED_ROW + 480 + 36 + drawing.GAP


class _Step(NamedTuple):
    labels: np.ndarray
    uncertainty: np.ndarray
    point_coords: np.ndarray


def _scene(height: int = 600, width: int = 800) -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 :] = 1
    labels[:20, :20] = IGNORE_LABEL
    return np.full((height, width, 3), 200, np.uint8), labels


def test_classes_have_their_published_colours() -> None:
    assert palette(NAMES).tolist() == [[70, 130, 180], [128, 64, 128], [0, 0, 142]]


def test_the_colours_of_camvid_have_the_published_hues_and_are_softer() -> None:
    # Source: label_colors.txt of the data set.
    published = {
        "building": (128, 0, 0), "road": (128, 64, 128), "pavement": (0, 0, 192),
        "tree": (128, 128, 0), "signsymbol": (192, 128, 128), "fence": (64, 64, 128),
        "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
    }  # fmt: skip
    ours = dict(zip(CAMVID, palette(CAMVID).tolist(), strict=True))
    for name, color in published.items():
        hue, saturation, value = colorsys.rgb_to_hsv(*color)
        our_hue, our_saturation, our_value = colorsys.rgb_to_hsv(*ours[name])
        apart = abs(our_hue - hue)
        assert min(apart, 1 - apart) < 0.04, name
        assert our_saturation < max(saturation, 0.34), name
        assert our_value > value, name


def test_published_colours_are_not_mixed_with_others() -> None:
    assert palette(("road", "lighthouse")).tolist() == palette(("a", "b")).tolist()


@pytest.mark.parametrize("names", [CLASSES, CAMVID, tuple("abcdefghijklmnopqrst")])
def test_no_two_classes_share_a_colour(names: tuple[str, ...]) -> None:
    colors = palette(names).astype(int)
    apart = np.abs(colors[:, None] - colors[None]).sum(axis=-1) + 1000 * np.eye(len(names))
    assert apart.min() >= 20


def test_pixels_get_the_colour_of_their_class_and_black_without_one() -> None:
    labels = np.array([[0, 1], [2, IGNORE_LABEL]], np.uint8)
    expected = [*palette(NAMES).tolist(), [0, 0, 0]]
    assert colorize(labels, palette(NAMES)).reshape(-1, 3).tolist() == expected


def test_an_overlay_tints_classes_and_leaves_the_rest() -> None:
    image, labels = _scene()
    picture = overlay_labels(image, labels, NAMES, opacity=0.5)
    assert picture.shape[1] == 800
    assert picture.shape[0] > 600
    sky = (200 + palette(NAMES)[0].astype(int)) / 2
    np.testing.assert_allclose(picture[100, 400], sky, atol=1)
    np.testing.assert_array_equal(picture[5, 5], [200, 200, 200])
    # The line where two classes meet is lighter than both.
    assert picture[300, 400].min() > max(picture[250, 400].min(), picture[350, 400].min())


def test_a_large_overlay_takes_the_memory_of_a_part_and_has_no_seams() -> None:
    image, labels = np.zeros((2048, 512, 3), np.uint8), np.zeros((2048, 512), np.uint8)
    # Where parts of 64 rows meet, and elsewhere.
    labels[64:1000], labels[1000:] = 1, 0
    tracemalloc.start()
    picture = overlay_labels(image, labels, ("a", "b"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The picture has 3 MiB, all of it as floats 12.
    assert most < 20 * 2**20
    lines = [row for row in range(1, 2048) if (picture[row] != picture[row - 1]).any()]
    assert lines == [64, 65, 1000, 1001]


def test_a_picture_has_the_width_of_its_photo_times_the_scale() -> None:
    image, labels = _scene(100, 130)
    assert overlay_labels(image, labels, NAMES).shape[1] == 130
    picture = overlay_labels(image, labels, NAMES, scale=3)
    assert picture.shape[1] == 390
    sky, road = ((200 * 0.45 + 0.55 * palette(NAMES)[i]).round() for i in (0, 1))
    np.testing.assert_allclose(picture[100, 200], sky, atol=1)
    np.testing.assert_allclose(picture[200, 200], road, atol=1)
    with pytest.raises(ValueError, match="scale must be above 0 and at most 16, got 17"):
        overlay_labels(image, labels, NAMES, scale=17)


def test_values_of_a_label_map_file_are_the_labels_and_its_palette_the_colours(
    tmp_path: Path,
) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_label_map(tmp_path / "x.png", labels, NAMES)
    with Image.open(tmp_path / "x.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), labels)
        shown = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    np.testing.assert_array_equal(shown[:3], palette(NAMES))
    assert not shown[3:].any()
    # What reads the label images of a data set reads it too.
    read = decode_map((tmp_path / "x.png").read_bytes(), "x.png")
    np.testing.assert_array_equal(read, labels)
    with pytest.raises(ValueError, match=r"must end in \.png, which keeps its values, got x\.jpg"):
        save_label_map(tmp_path / "x.jpg", labels, NAMES)


def test_a_legend_shows_only_what_occurs() -> None:
    _, labels = _scene()
    colors = {tuple(c) for c in legend(labels, NAMES, 800).reshape(-1, 3).tolist()}
    sky, road, car = (tuple(c) for c in palette(NAMES).tolist())
    assert {sky, road} < colors
    assert car not in colors


def test_a_legend_of_a_large_photo_has_larger_text() -> None:
    heights = []
    for width in (800, 2000):
        image, labels = _scene(600, width)
        heights.append(overlay_labels(image, labels, NAMES).shape[0] - 600)
    assert heights[1] > 1.5 * heights[0]


def test_labels_of_another_size_are_refused() -> None:
    image, labels = _scene()
    with pytest.raises(ValueError, match=r"the size of the image, \(600, 800\), got \(600, 799\)"):
        overlay_labels(image, labels[:, 1:], NAMES)


def test_the_sheet_has_a_row_for_each_step_and_shows_its_points() -> None:
    image, labels = _scene()
    point = _Step(labels[::2, ::2], np.full((300, 400), -9.0, np.float32), np.array([[0.5, 0.25]]))
    one = explain_labels_picture(image, labels[::4, ::4], [point], labels, NAMES)
    two = explain_labels_picture(image, labels[::4, ::4], [point, point], labels, NAMES)
    assert one.shape[1] == two.shape[1]
    assert 360 < two.shape[0] - one.shape[0] < 420
    moved = point._replace(point_coords=np.array([[0.75, 0.25]]))
    other = explain_labels_picture(image, labels[::4, ::4], [moved], labels, NAMES)
    ys, xs = np.nonzero((one[_STEP_ROW:] != other[_STEP_ROW:]).any(axis=-1))
    # A quarter of a panel's width of 480 pixels apart, and of its height below the row's begin.
    assert 80 < ys.min() < 90
    assert 115 < xs.max() - xs.min() < 130
    assert ys.max() - ys.min() < 10
    with pytest.raises(ValueError, match="at least one step"):
        explain_labels_picture(image, labels, [], labels, NAMES)


def _changed_below_right() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo that is blue where cars appear in the labels that the coarse ones lack."""
    image, labels = _scene()
    image[450:550, 650:750] = (0, 0, 250)
    changed = labels.copy()
    changed[450:550, 650:750] = 2
    return image, labels, changed


def _zoomed(picture: np.ndarray, number: int, of: int) -> np.ndarray:
    """A panel of the second row, without its caption."""
    side = (picture.shape[1] - (of + 1) * drawing.GAP) // of
    x = drawing.GAP + number * (side + drawing.GAP)
    return picture[_ZOOMED_ROW:, x:][:side, :side]


def _share(panel: np.ndarray, color: np.ndarray | tuple[int, int, int]) -> float:
    return float((np.abs(panel.astype(int) - color).max(axis=-1) < 8).mean())


def test_the_sheet_shows_the_part_that_changed_most_of_photo_coarse_and_rendered_labels() -> None:
    image, coarse, labels = _changed_below_right()
    step = _Step(labels, np.full(labels.shape, -9.0, np.float32), np.full((9, 2), 0.1))
    picture = explain_labels_picture(image, coarse[::4, ::4], [step], labels, NAMES)
    car = palette(NAMES)[2]
    # A square of 240 px holds all of the 100 px.
    for number, color in ((0, (0, 0, 250)), (2, car)):
        share = _share(_zoomed(picture, number, 4), color)
        assert share == pytest.approx((100 / 240) ** 2, abs=0.01)
    assert _share(_zoomed(picture, 1, 4), car) == 0


def test_the_sheet_shows_the_step_that_has_points_in_the_zoomed_part() -> None:
    """The points of the last step lie elsewhere."""
    image, coarse, labels = _changed_below_right()
    uncertainty = np.full((60, 80), -9.0, np.float32)
    here = _Step(labels[::10, ::10], uncertainty, np.full((9, 2), 0.85))
    elsewhere = here._replace(point_coords=np.full((200, 2), 0.1))
    dots = []
    for steps in ([here, elsewhere], [elsewhere, elsewhere]):
        picture = explain_labels_picture(image, coarse[::4, ::4], steps, labels, NAMES)
        panel = _zoomed(picture, 3, 4).astype(int)
        dots.append(int((panel[..., 0] - panel[..., 2] > 60).sum()))
    assert dots[0] > 20
    assert dots[1] == 0


def test_the_sheet_shows_true_labels_where_they_are_known() -> None:
    image, coarse, labels = _changed_below_right()
    truth = np.full_like(labels, 2)
    step = _Step(coarse, np.full(labels.shape, -9.0, np.float32), np.full((9, 2), 0.5))
    unknown, known = (
        explain_labels_picture(image, coarse[::4, ::4], [step], coarse, NAMES, truth=t)
        for t in (None, truth)
    )
    assert known.shape[1] - unknown.shape[1] == 480 + drawing.GAP
    # The fourth panel of the first row, and of the second.
    assert (known[drawing.GAP :][:360, 3 * 492 + drawing.GAP :][:, :480] == palette(NAMES)[2]).all()
    assert _share(_zoomed(known, 3, 5), palette(NAMES)[2]) == 1


def test_captions_of_a_tall_photo_are_not_clipped() -> None:
    image, labels = _scene(800, 80)
    step = _Step(labels, np.full(labels.shape, -9.0, np.float32), np.full((9, 2), 0.1))
    picture = explain_labels_picture(image, labels[::4, ::4], [step], labels, NAMES)
    panels = picture[drawing.GAP :, drawing.GAP : -drawing.GAP]
    # Four panels of half of their height.
    assert panels.shape[1] == 4 * 240 + 3 * drawing.GAP
    for i in range(4):
        caption = panels[480:500, i * (240 + drawing.GAP) :][:, :240]
        ink = np.argwhere(caption.min(axis=2) < 128)
        assert ink[:, 1].min() > 2
        assert ink[:, 1].max() < 237


@pytest.mark.parametrize("surest", [-1.0, -20.0])
def test_the_sheet_shows_sure_pixels_dark_for_margins_of_logits_and_probabilities(
    surest: float,
) -> None:
    image, labels = _scene()
    uncertainty = np.full((300, 400), surest, np.float32)
    uncertainty[:, 190:210] = 0
    step = _Step(labels[::2, ::2], uncertainty, np.zeros((0, 2), np.float32))
    picture = explain_labels_picture(image, labels[::4, ::4], [step], labels, NAMES)
    panel = picture[_STEP_ROW:, drawing.GAP :][:360, :480].astype(int).sum(axis=-1)
    assert panel[180, 240] > 500
    assert panel[180, [60, 420]].max() < 60
