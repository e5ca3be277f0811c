"""Overlays and the comparison: what is drawn where."""

import numpy as np
import pytest

from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.visualize import OverlayStyle, comparison_strip, drawing, overlay_masks
from pointrend_jax.visualize.overlay import painters_order
from pointrend_jax.visualize.shapes import shape_of

_IMAGE = np.full((480, 640, 3), 100, np.uint8)
_FIRST, _SECOND = drawing.COLORS[:2]


def _square(x: int, y: int, side: int, image: np.ndarray = _IMAGE) -> np.ndarray:
    mask = np.zeros(image.shape[:2], bool)
    mask[y : y + side, x : x + side] = True
    return mask


def _scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _overlay(masks: list, scores: np.ndarray) -> np.ndarray:
    return overlay_masks(_IMAGE, None, masks, ["gear"] * len(masks), scores)


def _closer(pixel: np.ndarray, color: drawing.Color, other: drawing.Color) -> bool:
    """Whether the pixel's change from the image points towards `color` rather than `other`."""
    change = pixel.astype(float) - 100
    towards = [
        change @ (np.array(c) - 100) / np.linalg.norm(np.array(c) - 100) for c in (color, other)
    ]
    return bool(towards[0] > towards[1])


def test_overlay_changes_only_what_lies_near_the_instance():
    picture = _overlay([_square(200, 200, 80)], _scores(0.9))
    changed = np.argwhere((picture != _IMAGE).any(axis=2))
    # 40 px: the label above, which is as wide as the square at most.
    assert changed.min(axis=0).tolist() >= [160, 195]
    assert changed.max(axis=0)[0] <= 284
    assert changed.max(axis=0)[1] <= 284


def test_overlay_outlines_the_edge_of_the_mask():
    picture = _overlay([_square(200, 240, 80)], _scores(0.9)).astype(int)
    opaque = np.flatnonzero(np.abs(picture[280] - _FIRST).max(axis=-1) < 60)
    # The edges lie between pixels 199 and 200, 279 and 280.
    assert opaque[opaque < 240].mean() == pytest.approx(199.5, abs=0.5)
    assert opaque[opaque > 240].mean() == pytest.approx(279.5, abs=0.5)
    assert np.ptp(opaque[opaque < 240]) <= 2


def test_overlay_is_translucent():
    image = _IMAGE.copy()
    image[200:240, 240] = 200
    picture = overlay_masks(image, None, [_square(200, 200, 80)], ["gear"], _scores(0.9))
    contrast = picture[220, 240].astype(int) - picture[220, 242]
    assert (contrast > 30).all()


def test_overlay_draws_the_better_score_on_top():
    masks = [_square(200, 200, 80), _square(220, 220, 80)]
    for scores, top, below in (
        (_scores(0.9, 0.3), _FIRST, _SECOND),
        (_scores(0.3, 0.9), _SECOND, _FIRST),
    ):
        assert _closer(_overlay(masks, scores)[260, 260], top, below)


def test_overlay_leaves_holes_open():
    mask = _square(200, 200, 80)
    mask[220:260, 220:260] = False
    picture = _overlay([mask], _scores(0.9))
    np.testing.assert_array_equal(picture[230:250, 230:250], 100)


def test_overlay_shows_parts_one_pixel_thin():
    mask = np.zeros(_IMAGE.shape[:2], bool)
    mask[300, 100:300] = True
    picture = _overlay([mask], _scores(0.9))
    # The outline is opaque; the fill alone would be a tint.
    assert np.abs(picture[300, 110:290].astype(int) - _FIRST).max() < 60


def test_overlay_of_rle_equals_that_of_the_mask():
    mask = _square(200, 200, 80)
    np.testing.assert_array_equal(
        _overlay([mask], _scores(0.9)), _overlay([encode_mask(mask)], _scores(0.9))
    )


def test_overlay_draws_the_box():
    box = np.array([[100.0, 150.0, 500.0, 400.0]], np.float32)
    picture = overlay_masks(_IMAGE, box, [_square(300, 300, 20)], ["gear"], _scores(0.9))
    assert _closer(picture[400, 450], _FIRST, _SECOND)
    assert (picture[350, 450] == 100).all()


def test_overlay_has_the_size_of_the_image_times_the_scale():
    image = np.full((100, 200, 3), 100, np.uint8)
    mask = _square(50, 50, 20, image)
    assert overlay_masks(image, None, [mask], ["gear"], None).shape == image.shape
    picture = overlay_masks(image, None, [mask], ["gear"], None, style=OverlayStyle(scale=2.5))
    assert picture.shape == (250, 500, 3)
    assert _closer(picture[150, 150], _FIRST, _SECOND)
    np.testing.assert_array_equal(picture[190:, 250:], 100)


def test_small_objects_lie_on_large_ones_whatever_their_scores():
    small, large = _square(250, 250, 20), _square(200, 200, 160)
    for masks in ([small, large], [large, small]):
        shapes = [shape_of(mask, (480, 640)) for mask in masks]
        assert masks[painters_order(shapes, _scores(0.9, 0.3))[-1]] is small
    assert painters_order([shape_of(small, (480, 640))] * 3) == [2, 1, 0]
    assert painters_order([shape_of(small, (480, 640))] * 3, _scores(0.1, 0.3, 0.2)) == [0, 2, 1]


def test_objects_of_a_class_share_the_colour_of_its_index():
    masks = [_square(100, 200, 80), _square(300, 200, 80), _square(500, 200, 80)]
    labels, classes = ["a", "b", "a"], np.array([1, 0, 1])
    picture = overlay_masks(
        _IMAGE, None, masks, labels, None, classes=classes, style=OverlayStyle(color_by="class")
    )
    for x, expected, other in ((140, _SECOND, _FIRST), (340, _FIRST, _SECOND),
                               (540, _SECOND, _FIRST)):  # fmt: skip
        assert _closer(picture[240, x], expected, other)
    with pytest.raises(ValueError, match="needs the class index of each object"):
        overlay_masks(_IMAGE, None, masks, labels, None, style=OverlayStyle(color_by="class"))


def test_colours_that_are_given_are_those_of_the_objects():
    masks = [_square(100, 200, 80), _square(300, 200, 80)]
    picture = overlay_masks(_IMAGE, None, masks, ["a", "b"], None, colors=[_SECOND, _FIRST])
    assert _closer(picture[240, 140], _SECOND, _FIRST)
    assert _closer(picture[240, 340], _FIRST, _SECOND)
    with pytest.raises(ValueError, match="2 masks, 2 labels, 1 colors"):
        overlay_masks(_IMAGE, None, masks, ["a", "b"], None, colors=[_SECOND])


def test_without_boxes_no_box_is_drawn():
    box, masks = np.array([[100.0, 150.0, 500.0, 400.0]], np.float32), [_square(300, 300, 20)]
    style = OverlayStyle(boxes=False)
    np.testing.assert_array_equal(
        overlay_masks(_IMAGE, box, masks, ["gear"], None, style=style),
        overlay_masks(_IMAGE, None, masks, ["gear"], None),
    )


def test_a_wider_line_covers_more_of_the_edge():
    opaque = []
    for width in (1, 7):
        style = OverlayStyle(line_width=width)
        picture = overlay_masks(_IMAGE, None, [_square(200, 240, 80)], ["x"], None, style=style)
        opaque.append(int((np.abs(picture[280, :240].astype(int) - _FIRST).max(-1) < 60).sum()))
    assert opaque[0] <= 2
    assert 6 <= opaque[1] <= 10


@pytest.mark.parametrize(
    ("style", "message"),
    [
        (OverlayStyle(scale=0), "scale must be above 0 and at most 16, got 0"),
        (OverlayStyle(scale=float("nan")), "scale must be above 0 and at most 16, got nan"),
        (OverlayStyle(line_width=-1), "line_width must be a positive number of pixels, got -1"),
        (OverlayStyle(color_by="score"), "one of instance, class, got 'score'"),  # pyright: ignore
    ],
    ids=["no size", "no number", "no width", "no colouring"],
)
def test_a_style_out_of_range_is_refused(style: OverlayStyle, message: str):
    with pytest.raises(ValueError, match=message):
        overlay_masks(_IMAGE, None, [], [], None, style=style)


@pytest.mark.parametrize("hw", [(1, 1), (3, 700), (2000, 2)])
def test_overlay_takes_images_of_any_shape(hw: tuple[int, int]):
    image = np.zeros((*hw, 3), np.uint8)
    box = np.array([[0.0, 0.0, hw[1], hw[0]]], np.float32)
    picture = overlay_masks(image, box, [np.ones(hw, bool)], ["gear"], _scores(0.5))
    assert picture.shape == image.shape
    assert picture.any()


def test_overlay_with_an_empty_mask_and_no_box_draws_nothing():
    picture = _overlay([np.zeros(_IMAGE.shape[:2], bool)], _scores(0.9))
    np.testing.assert_array_equal(picture, _IMAGE)


def test_overlay_without_instances_is_the_image():
    np.testing.assert_array_equal(_overlay([], _scores()), _IMAGE)


def test_overlay_keeps_labels_apart():
    """Two instances at the same place: both labels must be legible."""
    mask = _square(200, 200, 80)
    one = overlay_masks(_IMAGE, None, [mask], ["gear"], _scores(0.9))
    two = overlay_masks(_IMAGE, None, [mask, mask], ["gear", "gear"], _scores(0.9, 0.8))
    solid = [(picture == color).all(axis=2)[:195].sum()
             for picture, color in ((one, _FIRST), (two, _FIRST))]  # fmt: skip
    assert solid[0] > 300
    # The better one's label is untouched; the other's lies elsewhere.
    assert solid[1] == solid[0]
    assert (two == _SECOND).all(axis=2).sum() > 300


def test_overlay_does_not_change_its_input():
    image = _IMAGE.copy()
    overlay_masks(image, None, [_square(200, 200, 80)], ["gear"], _scores(0.9))
    np.testing.assert_array_equal(image, 100)


def test_a_ground_truth_has_names_without_numbers():
    boxes, masks = np.asarray([[50, 100, 130, 180]], np.float32), [_square(50, 100, 80)]
    truth = overlay_masks(_IMAGE, boxes, masks, ["gear"], None)
    scored = overlay_masks(_IMAGE, boxes, masks, ["gear"], _scores(0.9))
    # Both are tagged above the box, the second one with a longer text.
    assert not np.array_equal(truth, scored)
    np.testing.assert_array_equal(truth[105:], scored[105:])


def test_an_object_without_a_name_is_drawn_without_a_tag():
    picture = overlay_masks(_IMAGE, None, [_square(200, 200, 80)], [""], None)
    # The outline lies on the edge of the mask, and nothing above it.
    rows = np.flatnonzero((picture != _IMAGE).any(axis=(1, 2)))
    assert rows[0] >= 198
    assert rows[-1] <= 281


def test_overlay_rejects_lengths_that_differ():
    with pytest.raises(
        ValueError, match="as many boxes, masks, labels and scores, got 1 masks, 2 labels, 1 scores"
    ):
        overlay_masks(_IMAGE, None, [_square(0, 0, 9)], ["a", "b"], _scores(0.9))


def test_overlay_rejects_a_mask_of_another_size():
    with pytest.raises(ValueError, match=r"mask 0 must have .* \(480, 640\), got \(9, 9\)"):
        _overlay([np.ones((9, 9), bool)], _scores(0.9))


def test_comparison_shows_image_coarse_and_rendered_side_by_side():
    small, large = _square(250, 200, 40), _square(200, 150, 200)
    picture = comparison_strip([_IMAGE], [[small]], [[large]])
    # Three panels of the same width between margins and gaps.
    width = (picture.shape[1] - 4 * drawing.GAP) // 3
    painted = []
    for i in range(3):
        left = drawing.GAP + i * (width + drawing.GAP)
        panel = picture[drawing.GAP : drawing.GAP + 300, left : left + width]
        painted.append(int((panel != 100).any(axis=2).sum()))
    assert painted[0] == 0
    assert 10 * painted[1] < painted[2]


def test_comparison_has_a_row_for_each_image():
    one = comparison_strip([_IMAGE], [[]], [[]])
    three = comparison_strip([_IMAGE] * 3, [[]] * 3, [[]] * 3)
    panel = round(464 * 480 / 640)
    assert three.shape[0] - one.shape[0] == 2 * (panel + drawing.GAP)


def test_comparison_rejects_lengths_that_differ():
    with pytest.raises(ValueError, match="got 1, 0 and 1"):
        comparison_strip([_IMAGE], [], [[]])
