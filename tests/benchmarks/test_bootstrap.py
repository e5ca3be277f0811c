"""The paired bootstrap: its AP is pycocotools', its interval behaves."""

import numpy as np
import pytest

from benchmarks.bootstrap import average_precision, match_tables, paired_bootstrap
from pointrend_jax.evaluation.coco import OverlapKind, evaluate_detections, summarize
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from tests.evaluation.scenes import ground_truth, noisy_scene

NUM_IMAGES = 12


@pytest.mark.parametrize("kind", ["box", "mask", "boundary"])
@pytest.mark.parametrize(("name", "threshold"), [("ap", None), ("ap50", 0.5), ("ap75", 0.75)])
def test_identity_resample_is_pycocotools_to_the_last_bit(
    kind: OverlapKind, name: str, threshold: float | None
):
    truth, detections = noisy_scene(NUM_IMAGES, noise=1.0, seed=0)
    evaluation = evaluate_detections(load_ground_truth(truth), detections, kind)
    tables = match_tables(evaluation, iou_threshold=threshold)
    ours = average_precision(tables, np.ones(NUM_IMAGES, np.int64))
    assert ours == summarize(evaluation)[name]
    assert 0 < ours < 1


def test_weights_equal_repeated_and_left_out_images():
    truth, detections = noisy_scene(NUM_IMAGES, noise=1.0, seed=0)
    # Distinct scores: among ties the order of a repeated image's detections is free.
    for i, record in enumerate(detections):
        record["score"] += 1e-4 * i
    weights = np.random.default_rng(0).multinomial(NUM_IMAGES, [1 / NUM_IMAGES] * NUM_IMAGES)
    tables = match_tables(evaluate_detections(load_ground_truth(truth), detections, "mask"))
    # The same data set, written out.
    images, annotations, found = [], [], []
    for image, weight in zip(truth["images"], weights, strict=True):
        for _ in range(weight):
            new = len(images) + 1
            images.append({**image, "id": new})
            for target, source in ((annotations, truth["annotations"]), (found, detections)):
                target += [{**r, "image_id": new} for r in source if r["image_id"] == image["id"]]
    annotations = [{**a, "id": number} for number, a in enumerate(annotations)]
    written = {**truth, "images": images, "annotations": annotations}
    expected = summarize(evaluate_detections(load_ground_truth(written), found, "mask"))["ap"]
    assert average_precision(tables, weights) == pytest.approx(expected, abs=1e-12)


def test_equal_detections_do_not_differ():
    truth, detections = noisy_scene(NUM_IMAGES, noise=1.0, seed=0)
    result = paired_bootstrap(truth, detections, detections, metric="mask_ap", num_resamples=20)
    assert result == (0, 0, 0)


def test_clearly_better_detections_exclude_zero_and_the_sign_is_a_minus_b():
    truth, rough = noisy_scene(NUM_IMAGES, noise=2.5, seed=0)
    _, fine = noisy_scene(NUM_IMAGES, noise=0.2, seed=0)
    for metric in ("mask_ap", "mask_ap75", "boundary_ap"):
        result = paired_bootstrap(truth, fine, rough, metric=metric, num_resamples=100)
        assert 0 < result.low < result.difference < result.high, metric
    mirrored = paired_bootstrap(truth, rough, fine, metric="boundary_ap", num_resamples=100)
    assert mirrored.difference == -result.difference
    assert mirrored.low == pytest.approx(-result.high)


def test_same_seed_gives_the_same_interval():
    truth, a = noisy_scene(NUM_IMAGES, noise=1.0, seed=0)
    _, b = noisy_scene(NUM_IMAGES, noise=1.5, seed=0)

    def interval(seed: int) -> tuple:
        return paired_bootstrap(truth, a, b, metric="mask_ap", num_resamples=30, seed=seed)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)


def test_data_set_without_objects_is_refused():
    with pytest.raises(ValueError, match="mask_ap is undefined"):
        paired_bootstrap(ground_truth([], 2), [], [], metric="mask_ap", num_resamples=2)
