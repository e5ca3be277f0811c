"""Semantic and instance scores equal those of cityscapesscripts 2.3.0, on imperfect predictions.

The official numbers are stored in cityscapes_expected.json by `make_cityscapes_expected`, which
says how. float64 on both sides: 1e-6 leaves room for the order of summation only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pointrend_jax.evaluation.cityscapes_instances import CityscapesInstanceEvaluator
from pointrend_jax.evaluation.semantic import CITYSCAPES_OBJECT_SIZES, SemanticEvaluator
from pointrend_jax.masks.rle import encode_mask
from tests.evaluation.cityscapes_scenes import (
    CLASS_NAMES,
    Prediction,
    Scene,
    digest,
    predict_scene,
    read_scene,
    synthetic_scenes,
    train_ids,
    truth_paths,
)
from tests.shared import shared_path

EXPECTED = json.loads(Path(__file__).with_name("cityscapes_expected.json").read_text())


class Case(NamedTuple):
    scenes: tuple[Scene, ...]
    predictions: tuple[Prediction, ...]
    expected: dict[str, Any]


@pytest.fixture(scope="module", params=["synthetic", "cityscapes_fake"])
def case(request: pytest.FixtureRequest) -> Case:
    name = request.param
    scenes = synthetic_scenes() if name == "synthetic" else _cityscapes_fake()
    predictions = tuple(predict_scene(i, scene) for i, scene in enumerate(scenes))
    expected = EXPECTED[name]
    assert digest(predictions) == expected["digest"], "other scenes than those that were scored"
    return Case(scenes, predictions, expected)


def _cityscapes_fake() -> tuple[Scene, ...]:
    return tuple(map(read_scene, truth_paths(shared_path("data/cityscapes-fake"))))


def assert_equal(ours: Mapping[str, float | None], official: Mapping[str, float | None]) -> None:
    ours, official = (
        {name: np.nan if score is None else score for name, score in scores.items()}
        for scores in (ours, official)
    )
    assert ours == pytest.approx(official, abs=1e-6, rel=0, nan_ok=True)


@pytest.mark.parametrize("source", ["rendered", "coarse"])
def test_semantic_scores_equal_the_official_script(case: Case, source: str):
    evaluator = SemanticEvaluator(CLASS_NAMES, average_object_sizes=CITYSCAPES_OBJECT_SIZES)
    for i, (scene, found) in enumerate(zip(case.scenes, case.predictions, strict=True)):
        evaluator.add(
            i,
            train_ids(found.rendered),
            train_ids(found.coarse),
            train_ids(scene.label_ids),
            scene.instance_ids,
        )
    results, expected = evaluator.results(), case.expected[source]
    means = {name: results[source][name] for name in ("miou", "iiou")}
    assert_equal(means, {name: expected[name] for name in means})
    assert_equal(results[f"{source}_iou"], expected["class_iou"])
    iiou = {name: expected["class_iiou"][name] for name in CITYSCAPES_OBJECT_SIZES}
    assert_equal(results[f"{source}_iiou"], iiou)


@pytest.mark.parametrize("source", ["rendered", "coarse"])
def test_instance_ap_equals_the_official_script(case: Case, source: str):
    evaluator = CityscapesInstanceEvaluator()
    for i, (scene, found) in enumerate(zip(case.scenes, case.predictions, strict=True)):
        evaluator.add(
            i,
            np.asarray([d.label_id for d in found.detections]),
            np.asarray([d.score for d in found.detections]),
            [encode_mask(d.rendered) for d in found.detections],
            [encode_mask(d.coarse) for d in found.detections],
            scene.instance_ids,
        )
    results, expected = evaluator.results(), case.expected[source]
    means = {"mask_ap": expected["ap"], "mask_ap50": expected["ap50"]}
    assert_equal(results[source], means)
    assert_equal(results[f"{source}_ap"], expected["class_ap"])
    assert_equal(results[f"{source}_ap50"], expected["class_ap50"])
