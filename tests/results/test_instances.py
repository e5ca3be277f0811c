"""Results: masks drawn on demand agree in every form, and indexing chooses instances."""

import json
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from skimage.measure import points_in_poly

from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.visualize import overlay_masks

IMAGE_HW = (40, 60)
BOXES = [[3.2, 4.1, 30.7, 25.0], [0, 0, 60, 40], [50.5, 30.2, 60, 40], [10, 10, 11.5, 39]]


def _instances(number: int = 4) -> PredictedInstances:
    boxes = np.asarray(BOXES, np.float32)[:number].reshape(-1, 4)
    rng = np.random.default_rng(0)
    # Sums along both axes, so that masks are patches and no noise.
    logits = rng.normal(size=(number, 28, 28)).cumsum(1).cumsum(2).astype(np.float32)
    return PredictedInstances(
        boxes=boxes,
        scores=np.asarray([0.9, 0.8, 0.4, 0.3], np.float32)[:number],
        classes=np.asarray([1, 0, 1, 2])[:number],
        class_names=("tree", "car", "tree", "person")[:number],
        masks=PredictedMasks(logits, boxes, IMAGE_HW),
        coarse_masks=PredictedMasks(logits[:, ::4, ::4], boxes, IMAGE_HW),
    )


def _disc() -> PredictedMasks:
    y, x = np.mgrid[:112, :112] / 112 - 0.5
    logits = 20 * (0.3 - np.hypot(y, x)).astype(np.float32)
    return PredictedMasks(logits[None], np.asarray([[3.2, 2.1, 50.7, 37]], np.float32), IMAGE_HW)


@pytest.mark.parametrize("name", ["masks", "coarse_masks"])
def test_rle_is_the_encoded_boolean_mask(name: str) -> None:
    masks: PredictedMasks = getattr(_instances(), name)
    boolean = masks.boolean()
    assert boolean.shape == (4, *IMAGE_HW)
    assert all(0 < mask.sum() < mask.size for mask in boolean)
    assert masks.rle() == [encode_mask(mask) for mask in boolean]


def test_coarse_masks_are_drawn_from_their_own_logits() -> None:
    instances = _instances()
    assert instances.coarse_masks.logits.shape == (4, 7, 7)
    assert (instances.coarse_masks.boolean() != instances.masks.boolean()).any()


def test_one_boolean_mask_is_that_of_all() -> None:
    masks = _instances().masks
    np.testing.assert_array_equal(masks.boolean(2), masks.boolean()[2])
    np.testing.assert_array_equal(masks.boolean(-1), masks.boolean()[3])
    with pytest.raises(IndexError):
        masks.boolean(4)


def test_probabilities_of_at_least_one_half_are_the_boolean_mask() -> None:
    masks = _instances().masks
    probabilities = masks.probabilities()
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    np.testing.assert_array_equal(probabilities >= 0.5, masks.boolean())
    np.testing.assert_array_equal(masks.probabilities(IMAGE_HW), probabilities)


@pytest.mark.parametrize("factor", [2, 3])
def test_probabilities_at_a_multiple_of_the_size_average_to_the_mask(factor: int) -> None:
    height, width = IMAGE_HW
    fine = _disc().probabilities((factor * height, factor * width))
    average = fine.reshape(1, height, factor, width, factor).mean((2, 4))
    # What is left is the curvature within a pixel; a grid moved by half a pixel differs by 0.05.
    np.testing.assert_allclose(average, _disc().probabilities(), atol=0.01)
    area = (fine >= 0.5).sum() / factor**2
    np.testing.assert_allclose(area, _disc().boolean().sum(), rtol=0.02)


def test_probabilities_of_another_aspect_ratio_follow_both_axes() -> None:
    # All of a box at the lower left of the image.
    masks = PredictedMasks(
        np.full((1, 28, 28), 50, np.float32), np.asarray([[0, 20, 30, 40]], np.float32), IMAGE_HW
    )
    drawn = masks.probabilities((8, 30))[0] >= 0.5
    expected = np.zeros((8, 30), bool)
    expected[4:, :15] = True
    np.testing.assert_array_equal(drawn, expected)


def test_logits_and_probabilities_keep_their_sign_at_cell_centres() -> None:
    # One pixel a cell: nothing is resampled.
    logits = np.linspace(-3, 3, 36, dtype=np.float32).reshape(1, 6, 6)
    masks = PredictedMasks(logits, np.asarray([[0, 0, 6, 6]], np.float32), (6, 6))
    np.testing.assert_allclose(masks.probabilities(), 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.parametrize("hw", [(0, 5), (5, -1)])
def test_probabilities_on_no_pixels_are_refused(hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        _instances().masks.probabilities(hw)


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (2, [2]),
        (-1, [3]),
        (np.int64(1), [1]),
        ([3, 0], [3, 0]),
        (np.array([2, 2]), [2, 2]),
        ([True, False, False, True], [0, 3]),
        ([], []),
        (np.zeros(4, bool), []),
    ],
    ids=str,
)
def test_indexing_chooses_the_same_rows_of_everything(index: Any, chosen: list[int]) -> None:
    instances = _instances()
    some = instances[index]
    assert len(some) == len(some.masks) == len(some.coarse_masks) == len(chosen)
    for name in ("boxes", "scores", "classes"):
        np.testing.assert_array_equal(getattr(some, name), getattr(instances, name)[chosen])
    assert some.class_names == tuple(instances.class_names[i] for i in chosen)
    np.testing.assert_array_equal(some.masks.boolean(), instances.masks.boolean()[chosen])
    assert some.coarse_masks.rle() == [instances.coarse_masks.rle()[i] for i in chosen]


def test_filtering_by_score_keeps_the_better_ones() -> None:
    instances = _instances()
    assert instances[instances.scores > 0.7].class_names == ("tree", "car")


def test_iteration_gives_one_instance_at_a_time() -> None:
    instances = _instances()
    assert [one.class_names for one in instances] == [("tree",), ("car",), ("tree",), ("person",)]
    drawn = [mask.boolean(0) for mask in instances.masks]
    np.testing.assert_array_equal(drawn, instances.masks.boolean())


@pytest.mark.parametrize("index", [4, -5, [True, False], np.zeros((4, 1), int), (0, 1), True])
def test_an_index_that_chooses_no_instances_is_refused(index: Any) -> None:
    with pytest.raises(IndexError):
        _instances()[index]


def test_no_instances_have_empty_results_of_the_image_s_size() -> None:
    none = _instances(0)
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert none.image_hw == IMAGE_HW
    assert none.masks.boolean().shape == (0, *IMAGE_HW)
    assert none.masks.boolean().dtype == np.bool_
    assert none.masks.probabilities((3, 5)).shape == (0, 3, 5)
    assert none.masks.rle() == []
    assert list(none) == []
    assert len(none[none.scores > 0.5]) == 0


def test_rle_of_a_large_image_needs_no_array_of_its_size() -> None:
    logits = np.full((1, 4, 4), 9, np.float32)
    boxes = np.asarray([[5, 5, 90, 90]], np.float32)
    # What is imported at the first call is no memory of a mask.
    PredictedMasks(logits, boxes, (100, 100)).rle()
    masks = PredictedMasks(logits, boxes, (4000, 4000))
    tracemalloc.start()
    try:
        masks.rle()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000  # bytes; one byte a pixel would be 16 million


def test_a_result_prints_what_it_holds() -> None:
    assert repr(_instances()[:2]) == (
        "PredictedInstances(n=2, image_hw=(40, 60): tree 0.90, car 0.80)"
    )
    assert repr(_instances().masks) == "PredictedMasks(n=4, side=28, image_hw=(40, 60))"


def test_rle_and_mask_agree_after_decoding() -> None:
    masks = _instances().masks
    decoded = [decode_rle(rle) for rle in masks.rle()]
    np.testing.assert_array_equal(decoded, masks.boolean())


def test_polygons_hold_the_pixels_of_the_boolean_mask() -> None:
    rows, columns = np.mgrid[: IMAGE_HW[0], : IMAGE_HW[1]] + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    masks = _instances().masks
    for mask, polygons in zip(masks.boolean(), masks.polygons(tolerance=0), strict=True):
        held = np.any([points_in_poly(centres, polygon) for polygon in polygons], axis=0)
        np.testing.assert_array_equal(held.reshape(IMAGE_HW), mask)


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance must be at least 0"):
        _disc().polygons(tolerance=-1)


def test_coco_records_are_what_load_res_takes() -> None:
    instances = _instances()
    truth = COCO()
    content: Any = {
        "images": [{"id": 9, "height": IMAGE_HW[0], "width": IMAGE_HW[1]}],
        "categories": [{"id": i} for i in (5, 6, 8)],
    }
    truth.dataset = content
    truth.createIndex()
    records = instances.to_coco(image_id=9, category_ids=(5, 6, 8))
    found = truth.loadRes(json.loads(json.dumps(records)))
    assert [a["category_id"] for a in found.loadAnns([1, 2, 3, 4])] == [6, 5, 6, 8]
    np.testing.assert_array_equal(found.annToMask(found.anns[1]), instances.masks.boolean(0))
    np.testing.assert_allclose(records[0]["bbox"], [3.2, 4.1, 27.5, 20.9], rtol=1e-6)
    assert records[0]["area"] == instances.masks.boolean(0).sum()


def test_coco_records_without_ids_have_class_indices_and_no_image() -> None:
    records = _instances().to_coco()
    assert [r["category_id"] for r in records] == [1, 0, 1, 2]
    assert "image_id" not in records[0]
    assert _instances(0).to_coco(category_ids=()) == []


def test_a_class_without_a_category_id_is_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and an instance of class 2"):
        _instances().to_coco(category_ids=(5, 6))


def test_a_plot_is_the_overlay_of_the_image(tmp_path: Path) -> None:
    instances = _instances()
    image = np.random.default_rng(0).integers(0, 255, (*IMAGE_HW, 3), dtype=np.uint8)
    expected = overlay_masks(
        image,
        instances.boxes,
        list(instances.masks.boolean()),
        instances.class_names,
        instances.scores,
    )
    np.testing.assert_array_equal(instances.plot(image), expected)
    instances.save(tmp_path / "new" / "found.png", image)
    with Image.open(tmp_path / "new" / "found.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)
    assert instances.plot().shape == expected.shape


@pytest.mark.parametrize("name", ["found", "found.xyz", "found.json"])
def test_a_picture_of_an_unknown_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.png"):
        _instances().save(tmp_path / name)


def test_supervision_gets_what_it_calls_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in, since no requirement installs supervision."""
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    instances = _instances()
    detections = instances.to_supervision()
    np.testing.assert_array_equal(detections.xyxy, instances.boxes)
    np.testing.assert_array_equal(detections.mask, instances.masks.boolean())
    np.testing.assert_array_equal(detections.confidence, instances.scores)
    np.testing.assert_array_equal(detections.class_id, instances.classes)
    assert detections.data["class_name"].tolist() == list(instances.class_names)


def test_without_supervision_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        _instances().to_supervision()
