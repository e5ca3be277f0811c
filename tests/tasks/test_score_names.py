"""The score that decides the best checkpoint is one that the run's evaluations have."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.config import load_config
from pointrend_jax.evaluation.cityscapes_instances import CityscapesInstanceEvaluator
from pointrend_jax.evaluation.instances import InstanceEvaluator
from pointrend_jax.evaluation.lvis import lvis_evaluator
from pointrend_jax.evaluation.refined import RefinedScore, RefineEvaluator
from pointrend_jax.evaluation.results import AUGMENTED, CITYSCAPES, Results, prefixed
from pointrend_jax.evaluation.semantic import SemanticEvaluator
from pointrend_jax.experiment import train
from pointrend_jax.structures import Config
from pointrend_jax.tasks.score_names import best_metric, check_has_metric, named_scores
from tests.evaluation.scenes import ground_truth

_NOTHING = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), [], []


def _config(task: str, metric: str = "") -> Config:
    config = load_config("base").copy_and_resolve_references().unlock()
    config.task, config.train.best_metric = task, metric
    return config


def _of_instances() -> Results:
    """Of an image without objects: names without values."""
    truth = ground_truth([], 1)
    federated: Any = ground_truth([], 1)
    for image in federated["images"]:
        image["neg_category_ids"] = image["not_exhaustive_category_ids"] = []
    for category in federated["categories"]:
        category["frequency"] = "r"
    results: Results = {}
    for evaluator in (InstanceEvaluator(truth), lvis_evaluator(federated)):
        evaluator.add(1, *_NOTHING)
        for group, values in evaluator.results().items():
            results[group] = results.get(group, {}) | values
    official = CityscapesInstanceEvaluator()
    official.add(0, np.zeros(0, int), np.zeros(0), [], [], np.full((8, 8), 7, np.int32))
    return results | prefixed(official.results(), CITYSCAPES)


def _of_label_maps() -> Results:
    evaluator = SemanticEvaluator(("road", "car"), trimap_widths=(1, 2, 4, 8, 16))
    labels = np.zeros((8, 8), np.uint8)
    evaluator.add(1, labels, labels, labels)
    return evaluator.results()


def _of_crops() -> Results:
    evaluator = RefineEvaluator(0.02)
    evaluator.merge({1: RefinedScore(5000.0, 0.5, 0.6)})
    return evaluator.results()


@pytest.mark.parametrize(
    ("task", "results"),
    [("instance", _of_instances()), ("semantic", _of_label_maps()), ("refine", _of_crops())],
)
def test_every_score_of_an_evaluation_may_decide(task: str, results: Results) -> None:
    config = _config(task)
    if task != "refine":
        config.eval.tta_scales = (1.0,)
        results = results | prefixed(results, AUGMENTED)
    assert best_metric(config) in named_scores(results)
    for name in named_scores(results):
        config.train.best_metric = name
        assert best_metric(config) == name
        check_has_metric(config, results)


@pytest.mark.parametrize(
    ("task", "metric", "meant"),
    [
        ("instance", "rendered/mask_AP", "rendered/mask_ap"),
        ("instance", "mask_ap", "There are: rendered/mask_ap, "),
        ("instance", "rendered/miou", "There are: "),
        ("instance", "rendered/mask_ap_max300", "There are: "),
        ("instance", "test_time_augmentation_rendered/mask_ap", "There are: "),
        ("semantic", "rendered/mIoU", "Did you mean rendered/miou"),
        ("semantic", "rendered_iou/", "rendered_iou/CLASS"),
        ("refine", "rendered/boundary_ap", "Did you mean rendered/boundary_iou"),
    ],
)
def test_a_score_that_no_evaluation_has_is_refused_before_anything_is_made(
    task: str, metric: str, meant: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"best_metric '{metric}' is no score.*{meant}"):
        train(_config(task, metric), tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_what_only_the_data_tell_is_refused_at_the_first_evaluation() -> None:
    config = _config("semantic", "rendered_iou/truck")
    assert best_metric(config) == "rendered_iou/truck"
    with pytest.raises(ValueError, match=r"There are: .*rendered_iou/car.*The run is saved"):
        check_has_metric(config, _of_label_maps())
    # A set without annotations has no scores at all.
    check_has_metric(config, {})
