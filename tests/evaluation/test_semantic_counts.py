"""Boundaries and trimaps of label maps against computations that share no code with ours."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from scipy import ndimage

from pointrend_jax.evaluation.semantic import SemanticEvaluator
from pointrend_jax.evaluation.semantic_counts import boundary_distance, find_objects
from tests.evaluation.cityscapes_scenes import (
    CLASS_NAMES,
    LABEL_IDS,
    Scene,
    predict_scene,
    read_scene,
    synthetic_scenes,
    train_ids,
    truth_paths,
)
from tests.shared import shared_path

K = len(LABEL_IDS)


def _labels(scenes: Iterable[Scene]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(truth, imperfect prediction) as classes 0..18."""
    scenes = list(scenes)
    predictions = [predict_scene(i, scene).rendered for i, scene in enumerate(scenes)]
    return [
        (train_ids(s.label_ids), train_ids(p)) for s, p in zip(scenes, predictions, strict=True)
    ]


def _eroded_boundary_iou(pairs: list[tuple[np.ndarray, np.ndarray]], width: int) -> dict:
    """Boundary IoU by class; None for a class that is nowhere. scipy, one pixel at a time."""

    def band(mask: np.ndarray) -> np.ndarray:
        square = np.ones((3, 3), np.bool_)
        inside = ndimage.binary_erosion(mask, square, iterations=width, border_value=0)
        return mask & np.logical_not(inside)

    scores = {}
    for label in range(K):
        common = either = 0
        for truth, predicted in pairs:
            true, found = band(truth == label), band((predicted == label) & (truth != 255))
            common += int((true & found).sum())
            either += int((true | found).sum())
        scores[CLASS_NAMES[label]] = common / either if either else None
    return scores


# The diagonal is 286.2 pixels.
@pytest.mark.parametrize(("dilation", "width"), [(0.005, 1), (0.02, 6), (0.04, 11)])
def test_boundary_iou_equals_another_computation(dilation: float, width: int):
    pairs = _labels(synthetic_scenes())
    evaluator = SemanticEvaluator(CLASS_NAMES, boundary_dilation=dilation)
    for i, (truth, predicted) in enumerate(pairs):
        evaluator.add(i, predicted, truth % 255, truth)
    results, expected = evaluator.results(), _eroded_boundary_iou(pairs, width)
    assert results["rendered_boundary_iou"] == expected
    defined = [value for value in expected.values() if value is not None]
    assert results["rendered"]["boundary_iou"] == pytest.approx(np.mean(defined), abs=1e-12)
    assert 0.2 < np.mean(defined) < 0.9
    assert expected["fence"] is None
    # The truth as prediction, with any class where there is no truth.
    assert results["coarse"]["boundary_iou"] == 1


def test_boundary_iou_equals_another_computation_on_whole_scenes():
    pairs = _labels(map(read_scene, truth_paths(shared_path("data/cityscapes-fake"))))
    evaluator = SemanticEvaluator(CLASS_NAMES)
    for i, (truth, predicted) in enumerate(pairs):
        evaluator.add(i, predicted, predicted, truth)
    # 256x512: the diagonal is 572.4 pixels.
    assert evaluator.results()["rendered_boundary_iou"] == _eroded_boundary_iou(pairs, 3)


def test_boundary_iou_does_not_depend_on_the_order_of_the_classes():
    """Unlike that of an eroded label map: here a disc inside another class, of higher label."""
    y, x = np.mgrid[:160, :160]
    radius = np.hypot(y - 80, x - 80)
    scores = []
    for disc, around in ((1, 0), (0, 1)):
        truth, smaller = (np.where(radius < r, disc, around).astype(np.uint8) for r in (60, 56))
        evaluator = SemanticEvaluator(("a", "b"), boundary_dilation=0.02)
        evaluator.add(0, smaller, truth, truth)
        by_class = evaluator.results()["rendered_boundary_iou"]
        scores.append((by_class["ab"[disc]], by_class["ab"[around]]))
    assert scores[0] == scores[1]
    # The bands of the discs, 5 wide and 4 apart, hardly overlap; around, the border's is common.
    assert 0 < scores[0][0] < 0.3 < scores[0][1] < 0.8


def _brute_force_distance(truth: np.ndarray) -> np.ndarray:
    height, width = truth.shape
    beside = []
    for y in range(height):
        for x in range(width):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if inside and truth[y, x] != truth[v, u] and 255 not in (truth[y, x], truth[v, u]):
                    beside.append((y, x))
    distance = np.zeros(truth.shape)
    for y in range(height):
        for x in range(width):
            distance[y, x] = min(math.hypot(y - v, x - u) for v, u in beside)
    return distance


def _random_truth() -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 4, (3, 4)), np.ones((8, 8), np.int64)).astype(np.uint8)
    truth[5:9, 3:20] = 255
    truth[20, 20] = 3
    return truth


def test_boundary_distance_equals_brute_force():
    truth = _random_truth()
    np.testing.assert_allclose(boundary_distance(truth), _brute_force_distance(truth), atol=1e-5)


def test_trimap_equals_brute_force():
    truth, widths = _random_truth(), (1, 2, 5)
    rng = np.random.default_rng(1)
    predicted = np.where(
        rng.random(truth.shape) < 0.3, rng.integers(0, 4, truth.shape), truth % 255
    )
    evaluator = SemanticEvaluator("abcd", trimap_widths=widths)
    evaluator.add(0, predicted.astype(np.uint8), predicted.astype(np.uint8), truth)
    distance = _brute_force_distance(truth)
    for w in widths:
        ious = []
        for label in range(4):
            common = either = 0
            for y, x in np.ndindex(truth.shape):
                if distance[y, x] < w and truth[y, x] != 255:
                    common += truth[y, x] == label == predicted[y, x]
                    either += label in (truth[y, x], predicted[y, x])
            ious.append(common / either)
        score = evaluator.results()["rendered"][f"trimap_miou_{w}"]
        assert score == pytest.approx(np.mean(ious), abs=1e-12)
        assert np.mean(ious) < 1


def test_upright_boundary_has_w_pixels_on_either_side():
    truth = np.zeros((4, 12), np.uint8)
    truth[:, 6:] = 1
    expected = np.abs(np.arange(12) - 5.5) - 0.5
    np.testing.assert_allclose(boundary_distance(truth), np.tile(expected, (4, 1)), atol=1e-6)


def test_end_of_the_ground_truth_is_no_boundary():
    truth = np.zeros((4, 12), np.uint8)
    truth[:, 6:] = 255
    assert np.isinf(boundary_distance(truth)).all()


def test_object_has_the_class_of_most_of_its_pixels_and_the_average_weight():
    truth = np.asarray([[0, 0, 1, 1, 1, 255]], np.uint8)
    ids = np.asarray([[24, 26001, 26001, 26001, 26002, 26003]])
    objects = find_objects(truth, ids, np.asarray([0.0, 12.0]))
    np.testing.assert_array_equal(objects.pixels, ids > 1000)
    assert objects.classes.tolist() == [1, 1, 255]
    assert objects.weights.tolist() == [4, 12, 0]  # 12 / 3, 12 / 1, and none outside the classes
