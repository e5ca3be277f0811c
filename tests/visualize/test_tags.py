"""Names of objects: beside them, led away where there is no room, and on none."""

import numpy as np
import pytest

from pointrend_jax.visualize import OverlayStyle, overlay_masks
from pointrend_jax.visualize.drawing import Window
from pointrend_jax.visualize.fonts import typeface
from pointrend_jax.visualize.tags import Tag, place_tags

_HW = (300, 400)


def _ring(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def _placed(rings: list[np.ndarray], text: str = "sheep 0.99") -> list[Tag]:
    objects = {i: [ring] for i, ring in enumerate(rings)}
    tags = place_tags(objects, {}, dict.fromkeys(objects, text), _HW, None)
    return [tags[i] for i in objects]


def _overlap(a: Window, b: Window) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def test_a_lone_object_has_its_name_above_its_left_corner():
    (tag,) = _placed([_ring(100, 100, 200, 180)])
    assert tag.box[0] == 100
    assert tag.box[3] == 100
    assert tag.leader is None
    # The text and a margin on both sides.
    width = typeface(tag.text, tag.size).getlength(tag.text) + 0.7 * tag.size
    assert tag.box[2] - tag.box[0] == pytest.approx(width)


def test_a_name_at_the_border_stays_within_the_picture():
    for ring in (_ring(0, 0, 30, 20), _ring(380, 280, 400, 300), _ring(0, 0, 400, 300)):
        (tag,) = _placed([ring])
        assert tag.box[0] >= 0
        assert tag.box[1] >= 0
        assert tag.box[2] <= _HW[1]
        assert tag.box[3] <= _HW[0]


def test_names_of_a_herd_cover_no_animal_and_no_other_name():
    """A grid of objects smaller than their names, as close as sheep stand."""
    herd = [_ring(100 + 22 * i, 100 + 16 * j, 114 + 22 * i, 110 + 16 * j)
            for i in range(6) for j in range(4)]  # fmt: skip
    tags = _placed(herd)
    for i, tag in enumerate(tags):
        for ring in herd:
            extent = (*ring[0].tolist(), *ring[2].tolist())
            assert _overlap(tag.box, extent) <= 0.3 * 14 * 10
        assert all(not _overlap(tag.box, other.box) for other in tags[:i])
    led = [tag for tag in tags if tag.leader is not None]
    assert led
    for tag in led:
        assert tag.leader is not None
        start, end = tag.leader
        # From the border of the name to the object, and to none other.
        assert tag.box[0] <= start[0] <= tag.box[2]
        own = herd[tags.index(tag)]
        assert np.abs(own - end).sum(axis=1).min() == 0


def test_a_name_shrinks_to_fit_a_gap_between_objects():
    """Fourteen pixels between tiles, of which a name of the usual size would hide a half."""
    tops = [*range(3, 143, 20), *range(157, 297, 20)]
    tiles = [_ring(x, y, x + 19, y + 19) for y in tops for x in range(0, 400, 20)]
    objects = {i: [ring] for i, ring in enumerate([*tiles, _ring(2, 147, 8, 153)])}
    last = len(tiles)
    free = place_tags({last: objects[last]}, {}, {last: "x"}, _HW, None)[last]
    between = place_tags(objects, {}, {last: "x"}, _HW, None)[last]
    assert free.size == 12
    assert between.size == 10
    assert between.box[3] - between.box[1] == pytest.approx(13.5)
    assert between.leader is None


def test_a_name_far_from_its_slanted_object_is_led_to_it():
    """The corner of the bounds of a diagonal strip is far from the strip."""
    strip = np.array([(100, 250), (300, 50), (300, 60), (110, 250)], float)
    wall = [_ring(230, 0, 400, 45), _ring(310, 45, 400, 300)]
    tags = place_tags({0: [strip], 1: [wall[0]], 2: [wall[1]]}, {}, {0: "sheep"}, _HW, None)
    box = tags[0].box
    gap = np.abs(np.clip(strip, box[:2], box[2:]) - strip).max(axis=1).min()
    assert (tags[0].leader is not None) == (gap > 0.6 * (box[3] - box[1]))


def test_names_without_room_are_told_and_hide_nothing(capsys: pytest.CaptureFixture[str]):
    image, masks = np.full((24, 60, 3), 9, np.uint8), []
    for i in range(20):
        mask = np.zeros(image.shape[:2], bool)
        mask[12 * (i % 2) : 12 * (i % 2) + 11, 6 * (i // 2) : 6 * (i // 2) + 5] = True
        masks.append(mask)
    labels = ["elephant"] * 20
    overlay_masks(image, None, masks, labels, None)
    assert "20 of 20 names have no room in the picture" in capsys.readouterr().err
    overlay_masks(image, None, masks, labels, None, style=OverlayStyle(scale=12))
    assert capsys.readouterr().err == ""
