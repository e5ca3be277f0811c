"""Labels under resize and canvas, and the crops that no class may fill."""

import numpy as np
import pytest

from pointrend_jax.data.batches.semantic_transforms import choose_crop, place_labels, resize_labels
from pointrend_jax.data.batches.transforms import resize_image
from pointrend_jax.structures import IGNORE_LABEL
from tests.data.label_sets import blocks, painted


def test_enlarged_labels_repeat_their_pixels():
    labels = np.array([[0, 1], [IGNORE_LABEL, 3]], np.uint8)
    expected = np.kron(labels, np.ones((3, 3), np.uint8))
    np.testing.assert_array_equal(resize_labels(labels, (6, 6)), expected)


@pytest.mark.parametrize("new_hw", [(70, 90), (48, 60), (35, 44), (96, 120)])
def test_labels_stay_on_their_pixels_when_resized(new_hw: tuple[int, int]):
    labels = blocks((48, 60), seed=0)
    image = resize_image(painted(labels), new_hw)
    shown, resized = image[..., 0] > 127, resize_labels(labels, new_hw)
    # Bilinear and nearest edges differ at corners and where they fall between pixels; a shift of
    # one pixel in any direction makes it far worse.
    shifted = [np.roll(resized, step, axis) for axis in (0, 1) for step in (-1, 1)]
    assert 2 * np.mean(shown != resized) < min(np.mean(shown != other) for other in shifted)


def _top_left(crops: list[np.ndarray], max_area: float) -> int:
    """Which of some crops side by side is chosen."""
    labels = np.concatenate(crops, axis=1)
    height, width = crops[0].shape
    room = labels.shape[1] - width + 1
    positions = np.array([[0.0, (i * width + 0.5) / room] for i in range(len(crops))])
    y, x = choose_crop(labels, (height, width), max_area, positions)
    assert y == 0
    assert x % width == 0
    return x // width


def _crop(zeros: int, ones: int, void: int = 0) -> np.ndarray:
    values = [0] * zeros + [1] * ones + [IGNORE_LABEL] * void
    return np.array(values, np.uint8).reshape(2, 5)


def test_first_crop_that_no_class_fills_is_taken():
    crops = [_crop(10, 0), _crop(8, 2), _crop(7, 3), _crop(5, 5)]
    assert _top_left(crops, 0.75) == 2
    # As much as allowed is too much, as in Detectron2.
    assert _top_left(crops, 0.7) == 3


def test_void_pixels_do_not_count():
    # 7 of 9 labelled pixels are more than 0.75, though 7 of 10 pixels are not.
    assert _top_left([_crop(7, 2, void=1), _crop(4, 4, void=2)], 0.75) == 1
    # One class and void are one class.
    assert _top_left([_crop(2, 0, void=8), _crop(5, 5)], 0.75) == 1


def test_last_crop_is_taken_when_none_fits():
    assert _top_left([_crop(9, 1), _crop(10, 0), _crop(0, 0, void=10)], 0.75) == 2


def test_first_crop_is_taken_when_every_area_is_allowed():
    assert _top_left([_crop(10, 0), _crop(5, 5)], 1.0) == 0


def test_crops_reach_every_place_and_stay_inside():
    labels = np.zeros((6, 9), np.uint8)
    positions = np.random.default_rng(0).random((400, 1, 2))
    corners = {choose_crop(labels, (4, 5), 1.0, position) for position in positions}
    assert corners == {(y, x) for y in range(3) for x in range(5)}


def test_canvas_beyond_the_labels_is_without_truth():
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    canvas = place_labels(labels, (3, 5))
    np.testing.assert_array_equal(canvas[:2, :3], labels)
    canvas[:2, :3] = IGNORE_LABEL
    assert (canvas == IGNORE_LABEL).all()
