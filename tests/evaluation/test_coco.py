"""The evaluator: names and layout, edge cases, and pycocotools' numbers for stored detections."""

import json

import numpy as np
import pytest

from pointrend_jax.evaluation.coco import STAT_NAMES, coco_scores, evaluate_detections, summarize
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.instances import InstanceEvaluator
from pointrend_jax.masks.rle import encode_mask
from tests.evaluation.scenes import annotation, detection, ellipse, ground_truth, noisy_scene
from tests.shared import shared_path

DISC = ellipse((30, 30), (20, 20))
SMALLER_DISC = ellipse((30, 30), (18, 18))
BOX = np.asarray([[9.5, 9.5, 50.5, 50.5]])


def _add(evaluator: InstanceEvaluator, image_id: int, rendered: np.ndarray, coarse: np.ndarray):
    scores, categories = np.asarray([0.9]), np.asarray([3])
    masks = [encode_mask(rendered)], [encode_mask(coarse)]
    evaluator.add(image_id, BOX, scores, categories, *masks)


def _add_nothing(evaluator: InstanceEvaluator, image_id: int) -> None:
    evaluator.add(image_id, np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), [], [])


def _one_disc() -> dict:
    return ground_truth([annotation(1, 1, 3, DISC)], 1)


def test_results_have_every_statistic_under_its_name():
    evaluator = InstanceEvaluator(_one_disc())
    _add(evaluator, 1, DISC, SMALLER_DISC)
    results = evaluator.results()
    masks = [f"{kind}_{name}" for kind in ("mask", "boundary") for name in STAT_NAMES]
    assert list(results["rendered"]) == masks
    assert list(results["coarse"]) == masks
    assert list(results["box"]) == [f"box_{name}" for name in STAT_NAMES]


def test_rendered_and_coarse_masks_are_scored_apart():
    evaluator = InstanceEvaluator(_one_disc())
    _add(evaluator, 1, DISC, SMALLER_DISC)
    results = evaluator.results()
    assert results["rendered"]["mask_ap"] == pytest.approx(1)
    assert results["rendered"]["boundary_ap"] == pytest.approx(1)
    # The coarse mask has IoU 0.81 (0.5 to 0.8 hold, 7 of 10) and nothing of a band 2 wide.
    assert results["coarse"]["mask_ap"] == pytest.approx(0.7)
    assert results["coarse"]["boundary_ap"] == 0
    assert results["box"]["box_ap"] == pytest.approx(1)


def test_statistic_without_ground_truth_is_none():
    evaluator = InstanceEvaluator(_one_disc())
    _add(evaluator, 1, DISC, DISC)
    results = evaluator.results()
    assert results["rendered"]["mask_ap_small"] is None  # the disc's area is above 32^2
    assert results["rendered"]["mask_ap_medium"] == pytest.approx(1)


def test_no_detections_give_zero():
    evaluator = InstanceEvaluator(_one_disc())
    _add_nothing(evaluator, 1)
    results = evaluator.results()
    assert results["rendered"]["mask_ap"] == 0
    assert results["rendered"]["boundary_ar100"] == 0
    assert results["box"]["box_ap"] == 0
    assert evaluator.coco_results() == []


def test_data_set_without_objects_gives_none():
    evaluator = InstanceEvaluator(ground_truth([], 1))
    _add(evaluator, 1, DISC, DISC)
    assert set(evaluator.results()["rendered"].values()) == {None}


def test_subset_of_images_is_scored_alone():
    truth = ground_truth([annotation(1, 1, 3, DISC), annotation(2, 2, 3, DISC)], 3)
    evaluator = InstanceEvaluator(truth)
    _add(evaluator, 1, DISC, DISC)
    with pytest.raises(ValueError, match="2 of 3 images were never evaluated, the first is 2"):
        evaluator.results()
    assert evaluator.results([1])["rendered"]["mask_ap"] == pytest.approx(1)
    _add_nothing(evaluator, 2)
    assert evaluator.image_ids == (1, 2)
    # Half of the objects are found: the precision is 1 at 51 of the 101 recalls.
    result = evaluator.results(evaluator.image_ids)["rendered"]["mask_ap"]
    assert result == pytest.approx(51 / 101)
    assert evaluator.results([2])["rendered"]["mask_ap"] == 0


def test_size_of_an_object_goes_by_its_mask():
    # Rings: small by their masks, not by their boxes. The first detection is false.
    ring = DISC & ~ellipse((30, 30), (17, 17))
    truth = load_ground_truth(ground_truth([annotation(1, 1, 3, ring)], 1))
    found = [detection(1, 3, np.roll(ring, 20, axis=1), 0.9), detection(1, 3, ring, 0.8)]
    by_mask = summarize(evaluate_detections(truth, found, "mask"))
    assert by_mask["ap_small"] == pytest.approx(0.5)
    # By its box the false one would be a medium object, and cost nothing here.
    by_box = summarize(evaluate_detections(truth, found, "mask", area_of_detection="box"))
    assert by_box["ap_small"] == pytest.approx(1)


def test_coco_results_are_json_in_coco_format():
    evaluator = InstanceEvaluator(_one_disc())
    _add(evaluator, 1, DISC, SMALLER_DISC)
    (record,) = json.loads(json.dumps(evaluator.coco_results()))
    assert record["bbox"] == [9.5, 9.5, 41, 41]
    assert (record["image_id"], record["category_id"], record["score"]) == (1, 3, 0.9)
    assert record["segmentation"] == encode_mask(DISC)
    assert evaluator.coco_results("coarse")[0]["segmentation"] == encode_mask(SMALLER_DISC)


def test_wrong_additions_are_refused():
    evaluator = InstanceEvaluator(_one_disc())
    with pytest.raises(ValueError, match="Image 5 is not in the ground truth"):
        _add(evaluator, 5, DISC, DISC)
    one = encode_mask(DISC)
    with pytest.raises(ValueError, match=r"Categories \[0\] are not in the ground truth"):
        evaluator.add(1, BOX, np.asarray([0.9]), np.asarray([0]), [one], [one])
    with pytest.raises(ValueError, match=r"as many, got \[1, 1, 1, 2, 1\]"):
        evaluator.add(1, BOX, np.asarray([0.9]), np.asarray([3]), [one, one], [one])
    _add(evaluator, 1, DISC, DISC)
    with pytest.raises(ValueError, match="Image 1 was added before"):
        _add(evaluator, 1, DISC, DISC)


def test_evaluation_prints_nothing(capsys):
    evaluator = InstanceEvaluator(_one_disc())
    _add(evaluator, 1, DISC, DISC)
    evaluator.results()
    assert capsys.readouterr().out == ""


def test_detection_on_an_unknown_image_is_refused():
    truth = load_ground_truth(_one_disc())
    with pytest.raises(ValueError, match=r"images \[4\], not in the ground truth"):
        evaluate_detections(truth, [detection(4, 3, DISC, 0.9)], "mask")


def test_annotation_with_id_zero_can_be_matched():
    found = [detection(1, 3, DISC, 0.9)]
    truth = load_ground_truth(ground_truth([annotation(0, 1, 3, DISC)], 1))
    assert summarize(evaluate_detections(truth, found, "mask"))["ap"] == pytest.approx(1)


KIT_NAMES = dict(
    zip(
        STAT_NAMES,
        ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
        strict=True,
    )
)


def test_stored_detections_give_the_numbers_of_pycocotools():
    kit = json.loads(shared_path("parity/coco_eval.json").read_text())
    truth = load_ground_truth(shared_path("parity/images/annotations.json"))
    # The stored numbers are of results that carry boxes and masks: sizes go by the boxes.
    boxes = summarize(evaluate_detections(truth, kit["detections"], "box"))
    masks = summarize(
        evaluate_detections(truth, kit["detections"], "mask", area_of_detection="box")
    )
    for name, theirs in KIT_NAMES.items():
        assert boxes[name] == pytest.approx(kit["metrics"]["bbox"][theirs], abs=1e-12), name
        assert masks[name] == pytest.approx(kit["metrics"]["segm"][theirs], abs=1e-12), name


def test_evaluator_gives_the_numbers_of_pycocotools():
    kit = json.loads(shared_path("parity/coco_eval.json").read_text())
    evaluator = InstanceEvaluator(shared_path("parity/images/annotations.json"))
    for image_id in (229358, 183709, 553664, 231460):
        records = [d for d in kit["detections"] if d["image_id"] == image_id]
        xywh = np.asarray([d["bbox"] for d in records], np.float64).reshape(-1, 4)
        rles = [d["segmentation"] for d in records]
        evaluator.add(
            image_id,
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
            np.asarray([d["score"] for d in records], np.float64),
            np.asarray([d["category_id"] for d in records], np.int64),
            rles,
            rles,
        )
    results = evaluator.results()
    for name, theirs in KIT_NAMES.items():
        box, mask = kit["metrics"]["bbox"][theirs], kit["metrics"]["segm"][theirs]
        assert results["box"][f"box_{name}"] == pytest.approx(box, abs=1e-12), name
        # By size the stored numbers go by boxes, ours by masks.
        if name not in ("ap_small", "ap_medium", "ap_large"):
            assert results["rendered"][f"mask_{name}"] == pytest.approx(mask, abs=1e-12), name


def test_order_of_images_does_not_matter():
    truth, detections = noisy_scene(6, noise=1.0, seed=1)
    results = []
    for order in (range(1, 7), range(6, 0, -1)):
        evaluator = InstanceEvaluator(truth)
        for image_id in order:
            records = [d for d in detections if d["image_id"] == image_id]
            xywh = np.asarray([d["bbox"] for d in records], np.float64).reshape(-1, 4)
            evaluator.add(
                image_id,
                np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
                np.asarray([d["score"] for d in records], np.float64),
                np.asarray([d["category_id"] for d in records], np.int64),
                [d["segmentation"] for d in records],
                [d["segmentation"] for d in records],
            )
        results.append(evaluator.results())
    assert results[0] == results[1]


def test_ap_of_each_class_is_there_by_name_and_averages_to_ap():
    truth, found = noisy_scene(8, 1.5, 4)
    scores = coco_scores(
        load_ground_truth(truth), found, "mask", boundary_dilation=0.02, image_ids=range(1, 9)
    )
    assert list(scores.ap_by_category) == [3, 7]
    both = np.asarray(list(scores.ap_by_category.values()), float)
    assert both[0] != pytest.approx(both[1])
    assert both.mean() == pytest.approx(scores.statistics["ap"], abs=1e-12)


def test_classes_of_one_name_are_told_apart_and_one_without_objects_has_none():
    truth = _one_disc()
    truth["categories"] = [{"id": 3, "name": "disc"}, {"id": 7, "name": "disc"}]
    evaluator = InstanceEvaluator(truth)
    _add(evaluator, 1, DISC, SMALLER_DISC)
    results = evaluator.results()
    assert results["rendered_mask_ap_by_class"] == {"disc (3)": pytest.approx(1), "disc (7)": None}
    assert results["coarse_mask_ap_by_class"]["disc (3)"] == pytest.approx(0.7)
    assert results["rendered_boundary_ap_by_class"]["disc (3)"] == pytest.approx(1)
    assert results["box_ap_by_class"]["disc (3)"] == pytest.approx(1)


def test_curves_are_those_whose_mean_is_ap():
    evaluator = InstanceEvaluator(_one_disc())
    _add(evaluator, 1, DISC, SMALLER_DISC)
    curves = evaluator.scores().curves
    groups = [
        f"{group}_{kind}" for group in ("rendered", "coarse") for kind in ("mask", "boundary")
    ]
    assert list(curves) == [*groups, "box"]
    # Of IoU 0.81, and the only detection: found at every recall, by 7 of 10 thresholds.
    expected = {"0.50": [1.0] * 101, "0.75": [1.0] * 101, "0.50:0.95": [0.7] * 101}
    assert curves["coarse_mask"] == expected
    truth, found = noisy_scene(8, 1.5, 4)
    index = load_ground_truth(truth)
    scores = coco_scores(index, found, "mask", boundary_dilation=0.02, image_ids=range(1, 9))
    for overlap, name in (("0.50", "ap50"), ("0.75", "ap75"), ("0.50:0.95", "ap")):
        assert np.mean(scores.curves[overlap]) == pytest.approx(scores.statistics[name], abs=1e-4)


def test_without_objects_there_is_no_curve():
    evaluator = InstanceEvaluator(ground_truth([], 1))
    _add(evaluator, 1, DISC, DISC)
    assert evaluator.scores().curves["rendered_mask"] == {}


def test_more_detections_than_coco_counts_have_an_ap_of_their_own_and_change_no_other():
    """150 objects, all found exactly: COCO's AP counts the best 100."""
    masks = [np.zeros((60, 80), np.bool_) for _ in range(150)]
    for i, mask in enumerate(masks):
        mask[4 * (i // 20) :, 4 * (i % 20) :][:3, :3] = True
    truth = ground_truth([annotation(i + 1, 1, 3, m) for i, m in enumerate(masks)], 1)
    found = [detection(1, 3, m, 1 - i / 200) for i, m in enumerate(masks)]
    index = load_ground_truth(truth)
    for kind in ("mask", "box"):
        usual, more = (
            coco_scores(index, found, kind, boundary_dilation=0.02, image_ids=[1], **options)
            for options in ({}, {"max_detections": 150})
        )
        # 100 of 150: recall up to 0.66 of 101 thresholds.
        assert usual.statistics["ap"] == pytest.approx(67 / 101)
        assert more.statistics["ap_max150"] == pytest.approx(1)
        assert {n: v for n, v in more.statistics.items() if n != "ap_max150"} == usual.statistics
        assert more.ap_by_category == usual.ap_by_category
