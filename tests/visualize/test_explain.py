"""The picture of a rendering: that each panel shows what it should, at the right place."""

from typing import NamedTuple

import numpy as np
import pytest

from pointrend_jax.visualize import drawing, explain_picture

_RENDERED = np.array(drawing.COLORS[0])
_TRUE = np.array(drawing.COLORS[2])
_SIDE = 200  # px, of the panels of the first row


class _Step(NamedTuple):
    mask_probs: np.ndarray
    uncertainty: np.ndarray
    point_coords: np.ndarray


def _step(side: int, points: np.ndarray | None = None) -> _Step:
    """The left half of the box; uncertain in the middle."""
    probs = np.zeros((side, side), np.float32)
    probs[:, : side // 2] = 1
    uncertainty = np.full((side, side), -20.0, np.float32)
    uncertainty[:, side // 2] = 0
    if points is None:
        points = np.stack([np.full(16, 0.5), (np.arange(16) + 0.5) / 16], axis=-1)
    return _Step(probs, uncertainty, points.astype(np.float32))


def _picture(steps: list[_Step], hw: tuple[int, int] = (100, 100), box=(20, 20, 80, 80)):
    image = np.full((*hw, 3), 60, np.uint8)
    coarse = np.full((7, 7), 0.25, np.float32)
    return explain_picture(image, np.array(box, np.float32), coarse, steps, "gear 0.98")


def _panels(picture: np.ndarray, number: int) -> list[np.ndarray]:
    """The panels of the first row, without their captions; square boxes give square windows."""
    side, gap = _SIDE, drawing.GAP
    starts = [gap + i * (side + gap) for i in range(number)]
    return [picture[gap : gap + side, x : x + side] for x in starts]


def _points(panel: np.ndarray) -> np.ndarray:
    """Where translucent points, which are orange, lie on grey."""
    return np.argwhere(panel[..., 0].astype(int) - panel[..., 2] > 90)


def _count(panel: np.ndarray, color: np.ndarray) -> int:
    return int((np.abs(panel.astype(int) - color).max(axis=-1) < 40).sum())


def test_explain_has_a_panel_for_each_step_and_a_row_for_the_boundary():
    two, four = _picture([_step(28)] * 2), _picture([_step(28)] * 4)
    assert four.shape[1] - two.shape[1] == 2 * (_SIDE + drawing.GAP)
    assert two.shape[0] > 2 * _SIDE


def test_explain_shows_the_coarse_mask_in_its_box():
    coarse = _panels(_picture([_step(28)]), 2)[1]
    np.testing.assert_array_equal(coarse[100, 100], 64)
    np.testing.assert_array_equal(coarse[5, 5], drawing.OUTSIDE)


def test_explain_shows_every_sample_of_a_mask_as_a_square():
    image = np.full((100, 100, 3), 60, np.uint8)
    coarse = (np.indices((7, 7)).sum(axis=0) % 2).astype(np.float32)
    picture = explain_picture(
        image, np.array((20, 20, 80, 80), np.float32), coarse, [_step(28)], ""
    )
    inside = _panels(picture, 2)[1][30:170, 30:170]
    assert set(np.unique(inside)) == {0, 255}


def test_explain_shows_each_steps_mask_and_points():
    first, second = _panels(_picture([_step(28), _step(56, np.array([[0.75, 0.5]]))]), 4)[2:]
    for panel in (first, second):
        assert panel[60, 65].tolist() == [255, 255, 255]
        assert panel[60, 150].tolist() == [0, 0, 0]
    dots = _points(first)
    assert dots[:, 1].mean() == pytest.approx(99.5, abs=1)
    assert np.ptp(dots[:, 0]) > 150
    dot = _points(second)
    # The box spans 60 of the 74.4 px of the window: 0.75 of it is 15 px right of the centre.
    assert dot.mean(axis=0) == pytest.approx((99.5, 99.5 + 15 * _SIDE / 74.4), abs=1)


def test_explain_shows_uncertainty_bright_in_the_middle():
    panel = _panels(_picture([_step(28)]), 4)[3].astype(int).sum(axis=-1)
    assert panel[100, 102] > 500
    assert panel[100, 60] < 60


def test_explain_outlines_the_rendered_mask_where_it_ends():
    panel = _panels(_picture([_step(28)]), 5)[4]
    row = np.argwhere(np.abs(panel[60].astype(int) - _RENDERED).max(axis=-1) < 40).ravel()
    # Left edge of the box, 7.2 px into the window of 74.4, and the middle; pixel centres.
    assert row[row < 70].mean() == pytest.approx(7.2 * _SIDE / 74.4 - 0.5, abs=1)
    assert row[row > 70].mean() == pytest.approx(99.5, abs=1)


def test_explain_zooms_where_coarse_and_rendered_differ_most():
    """Ten cells of one column changed in the lower right corner; the points lie elsewhere."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[60:, 60:] = (0, 0, 250)
    box, coarse = np.array((20, 20, 80, 80), np.float32), np.zeros((7, 7), np.float32)
    unchanged = _step(56, np.full((40, 2), 0.1))._replace(mask_probs=np.zeros((56, 56)))
    probs = np.zeros((56, 56))
    probs[46:56, 52] = 1
    shares = []
    for step in (unchanged._replace(mask_probs=probs), unchanged):
        picture = explain_picture(image, box, coarse, [step], "gear")
        # The photo in the second row.
        zoom = picture[260:400, drawing.GAP : 180]
        shares.append(_count(zoom, np.array((0, 0, 250))) / (zoom.shape[0] * zoom.shape[1]))
    assert shares[0] > 0.8
    assert shares[1] == 0


def test_explain_shows_the_step_that_has_points_where_it_zooms():
    """The lower right corner changed; the points of the last step lie in the upper left one."""
    image, box = np.zeros((100, 100, 3), np.uint8), np.array((20, 20, 80, 80), np.float32)
    probs = np.zeros((56, 56))
    probs[46:56, 46:56] = 1
    elsewhere = _step(56, np.full((40, 2), 0.1))._replace(mask_probs=probs)
    here = elsewhere._replace(point_coords=np.full((9, 2), 0.9, np.float32))
    dots = []
    for steps in ([here, elsewhere], [elsewhere, elsewhere]):
        picture = explain_picture(image, box, np.zeros((7, 7), np.float32), steps, "gear")
        side = (picture.shape[1] - 5 * drawing.GAP) // 4
        panel = picture[260 : 260 + side - 20, -drawing.GAP - side :]
        dots.append(len(_points(panel)))
    assert dots[0] > 20
    assert dots[1] == 0


def test_explain_shows_the_truth_where_it_is_known():
    image, truth = np.full((100, 100, 3), 60, np.uint8), np.zeros((100, 100), bool)
    truth[20:80] = np.arange(100) % 8 < 4
    box, coarse = np.array((20, 20, 80, 80), np.float32), np.full((7, 7), 0.25, np.float32)
    unknown = explain_picture(image, box, coarse, [_step(28)], "gear")
    known = explain_picture(image, box, coarse, [_step(28)], "gear", truth=truth)
    assert _count(unknown, _TRUE) == 0
    assert _count(known, _TRUE) > 100
    # A fifth panel in the same width makes the others smaller.
    assert known.shape[0] < unknown.shape[0]


def test_points_do_not_hide_the_outline():
    """Points all over the step's mask: its outline lies on top."""
    centres = (np.arange(28) + 0.5) / 28
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    panel = _panels(_picture([_step(28, grid)]), 3)[2]
    edge = panel[30:170, 99:101].astype(int)
    assert (edge[..., 2] - edge[..., 0]).min() > 100


@pytest.mark.parametrize(
    "box", [(0, 0, 3, 90), (5, 40, 99, 41), (-4.5, -3, 120, 110), (10, 10, 10.2, 10.3)]
)
def test_explain_takes_boxes_of_any_shape(box: tuple[float, ...]):
    picture = _picture([_step(28), _step(224)], box=box)
    assert picture.shape[0] < 2000
    assert picture.shape[1] < 2000
    fewer = _picture([_step(28, np.array([[0.1, 0.5]])), _step(224)], box=box)
    assert (picture != fewer).any()


def test_explain_says_when_all_points_are_predicted():
    side = 4
    centres = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    captions = [_picture([_step(side, p)])[212:240, 436:636] for p in (grid, grid[:-1])]
    assert (captions[0] != captions[1]).any()


def test_explain_rejects_an_empty_box():
    with pytest.raises(ValueError, match="box of positive size"):
        _picture([_step(28)], box=(20, 20, 20, 80))


def test_explain_rejects_no_steps():
    with pytest.raises(ValueError, match="at least one step"):
        _picture([])
