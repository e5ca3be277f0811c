"""Semantic scores by hand: what counts, what does not, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.evaluation.semantic import SemanticEvaluator
from pointrend_jax.evaluation.semantic_scores import load_counts, score

NAMES = ("road", "car", "sky")


def _map(*rows: list[int]) -> np.ndarray:
    return np.asarray(rows, np.uint8)


def _scored(truth: np.ndarray, predicted: np.ndarray) -> dict:
    evaluator = SemanticEvaluator(NAMES)
    evaluator.add(0, predicted, predicted, truth)
    return evaluator.results()


def test_iou_is_a_ratio_of_sums_over_images():
    evaluator = SemanticEvaluator(NAMES[:2])
    right, wrong = _map([0, 0, 0, 1]), _map([0, 1, 1, 1])
    evaluator.add(1, right, right, right)
    evaluator.add(2, wrong, right, right)
    results = evaluator.results()
    assert results["rendered_iou"] == {"road": 4 / 6, "car": 2 / 4}
    assert results["rendered"]["miou"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert results["rendered"]["pixel_accuracy"] == 6 / 8
    assert results["coarse"]["miou"] == 1


def test_an_image_has_its_own_miou_and_classes_are_confused_in_pixels():
    evaluator = SemanticEvaluator(NAMES)
    truth = _map([0, 0, 0, 1, 255])
    coarse = _map([0, 0, 0, 0, 0])
    evaluator.add(1, _map([0, 0, 1, 1, 2]), coarse, truth)
    evaluator.add(2, coarse, coarse, truth)
    assert evaluator.quality(1) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert evaluator.quality(2) == pytest.approx((3 / 4 + 0) / 2)
    confusion = evaluator.details()["confusion"]
    assert confusion["classes"] == ["road", "car", "sky"]
    counted = [(pair["true"], pair["predicted"], pair["count"]) for pair in confusion["pairs"]]
    assert counted == [
        ("road", "road", 5), ("road", "car", 1), ("car", "road", 1), ("car", "car", 1)
    ]  # fmt: skip


def test_class_that_is_nowhere_has_no_score_and_one_only_predicted_has_zero():
    truth = _map([0, 0, 1, 1])
    nowhere = _scored(truth, truth)
    assert nowhere["rendered_iou"] == {"road": 1, "car": 1, "sky": None}
    assert nowhere["rendered"]["miou"] == 1
    only_predicted = _scored(truth, _map([0, 0, 1, 2]))
    assert only_predicted["rendered_iou"] == {"road": 1, "car": 0.5, "sky": 0}
    assert only_predicted["rendered"]["miou"] == 0.5


def test_prediction_where_there_is_no_truth_counts_nowhere():
    truth = _map(*[[0, 0, 1, 1, 255, 255]] * 4)
    a, b = truth.copy(), truth.copy()
    a[truth == 255], b[truth == 255] = 2, 1
    assert _scored(truth, a) == _scored(truth, b)
    assert _scored(truth, a)["rendered"]["boundary_iou"] == 1


def test_image_without_truth_has_no_scores():
    empty = np.full((4, 6), 255, np.uint8)
    results = _scored(empty, np.zeros((4, 6), np.uint8))
    assert set(results["rendered"].values()) == {None}
    void = SemanticEvaluator(NAMES)
    void.add(0, np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8), empty)
    assert void.quality(0) is None
    # Beside another image it changes nothing.
    truth = _map(*[[0, 0, 0, 1, 1, 1]] * 4)
    evaluator = SemanticEvaluator(NAMES)
    evaluator.add(0, truth, truth, truth)
    evaluator.add(1, np.zeros_like(truth), np.zeros_like(truth), empty)
    assert evaluator.results() == _scored(truth, truth)


def test_iiou_counts_small_and_large_objects_alike():
    truth = _map([1, 1, 1, 1, 0, 1, 1, 0])
    ids = np.asarray([[26001, 26001, 26001, 26001, 0, 26002, 26002, 0]])
    # Half of the small one is lost; a pixel of road is taken for a car.
    predicted = _map([1, 1, 1, 1, 1, 1, 0, 0])
    evaluator = SemanticEvaluator(NAMES, average_object_sizes={"car": 10.0})
    evaluator.add(0, predicted, truth, truth, ids)
    results = evaluator.results()
    # 10 of the large object, 5 of the small one; 20 to find, and 1 false pixel.
    assert results["rendered_iiou"] == {"car": 15 / 21}
    assert results["rendered"]["iiou"] == 15 / 21
    assert results["rendered_iou"]["car"] == 5 / 7
    assert results["coarse"]["iiou"] == 1


def test_group_of_objects_is_neither_found_nor_missed():
    truth = _map([1, 1, 0, 0])
    ids = np.asarray([[26, 26, 7, 7]])
    evaluator = SemanticEvaluator(NAMES, average_object_sizes={"car": 10.0})
    evaluator.add(0, _map([0, 0, 0, 0]), _map([1, 1, 1, 0]), truth, ids)
    assert evaluator.results()["rendered"]["iiou"] is None
    assert evaluator.results()["coarse"]["iiou"] == 0  # no object, but a false pixel


def test_without_object_sizes_there_is_no_iiou():
    results = _scored(_map([0, 1]), _map([0, 1]))
    assert results["rendered"]["iiou"] is None
    assert results["rendered_iiou"] == {}


def test_image_without_any_boundary_has_no_trimap():
    results = _scored(_map([1, 1, 1]), _map([1, 0, 1]))
    assert results["rendered"]["trimap_miou_16"] is None
    assert results["rendered"]["miou"] == pytest.approx((0 + 2 / 3) / 2)


def test_counts_outlive_the_file(tmp_path: Path):
    rng = np.random.default_rng(0)
    for sizes in ({"car": 10.0}, None):
        evaluator = SemanticEvaluator(NAMES, average_object_sizes=sizes, trimap_widths=(1, 3))
        for image_id in (7, 3):
            maps = rng.integers(0, 3, (3, 12, 16)).astype(np.uint8)
            rendered, coarse, truth = maps
            objects = 26001 * (truth == 1).astype(np.int32)
            evaluator.add(image_id, rendered, coarse, truth, objects)
        evaluator.save_counts(tmp_path / "counts.npz")
        loaded = load_counts(tmp_path / "counts.npz")
        assert score(loaded) == evaluator.results()
        assert loaded.image_ids.tolist() == [3, 7]
        assert loaded.trimap_widths == (1, 3)
        assert (loaded.class_names, loaded.instance_classes) == (NAMES, tuple(sizes or ()))


def test_file_that_holds_no_counts_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="Cannot read"):
        load_counts(tmp_path / "absent.npz")
    text = tmp_path / "text.npz"
    text.write_text("counts")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    cut = tmp_path / "cut.npz"
    cut.write_bytes((tmp_path / "other.npz").read_bytes()[:100])
    empty = tmp_path / "empty.npz"
    empty.touch()
    for path in (text, tmp_path / "other.npz", cut, empty):
        with pytest.raises(ValueError, match="is no file of counts"):
            load_counts(path)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_label_of_no_class_is_refused(which: int):
    maps = [_map([0, 1, 2]) for _ in range(3)]
    maps[which][0, 1] = 3
    name = ("rendered", "coarse", "truth")[which]
    with pytest.raises(ValueError, match=f"{name} labels must be below 3, got 3"):
        SemanticEvaluator(NAMES).add(0, *maps)


def test_predicted_ignore_label_is_refused():
    with pytest.raises(ValueError, match="must be below 3, got 255"):
        SemanticEvaluator(NAMES).add(0, _map([255]), _map([0]), _map([255]))


def test_prediction_of_another_size_is_refused():
    small, large = np.zeros((4, 4), np.uint8), np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match=r"size of the truth, \(8, 8\), got \(4, 4\)"):
        SemanticEvaluator(NAMES).add(0, small, small, large)


def test_image_added_twice_or_without_its_objects_is_refused():
    labels = _map([0, 1, 2])
    evaluator = SemanticEvaluator(NAMES, average_object_sizes={"car": 10.0})
    with pytest.raises(ValueError, match="Image 5 needs instance_ids"):
        evaluator.add(5, labels, labels, labels)
    evaluator.add(5, labels, labels, labels, np.zeros((1, 3), np.int32))
    with pytest.raises(ValueError, match="Image 5 was added before"):
        evaluator.add(5, labels, labels, labels, np.zeros((1, 3), np.int32))


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="No image was added"):
        SemanticEvaluator(NAMES).results()


@pytest.mark.parametrize("widths", [(0, 1), (2, 1), (1, 1)])
def test_widths_must_ascend(widths: tuple[int, ...]):
    with pytest.raises(ValueError, match="positive and ascending"):
        SemanticEvaluator(NAMES, trimap_widths=widths)


def test_size_of_an_unknown_class_is_refused():
    with pytest.raises(ValueError, match="tram"):
        SemanticEvaluator(NAMES, average_object_sizes={"tram": 1.0})
