"""Federated scores equal those of the `lvis` package (0.5.3), on imperfect detections.

The official numbers are stored in lvis_expected.json by `make_lvis_expected`, which says how.
float64 on both sides: 1e-12 leaves room for the order of summation only.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.lvis import lvis_evaluator, lvis_scores
from tests.evaluation.lvis_scenes import detections, digest, synthetic_set
from tests.shared import shared_path

EXPECTED = json.loads(Path(__file__).with_name("lvis_expected.json").read_text())
_NAMES = {
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "APs", "ap_medium": "APm",
    "ap_large": "APl", "ap_rare": "APr", "ap_common": "APc", "ap_frequent": "APf",
    "ar300": "AR@300", "ar_small": "ARs@300", "ar_medium": "ARm@300", "ar_large": "ARl@300",
}  # fmt: skip


class Case(NamedTuple):
    truth: dict[str, Any]
    found: list[dict[str, Any]]
    expected: dict[str, Any]


@pytest.fixture(scope="module", params=["synthetic", "lvis_style"])
def case(request: pytest.FixtureRequest) -> Case:
    name, expected = request.param, EXPECTED[request.param]
    if name == "synthetic":
        truth = synthetic_set()
    else:
        truth = json.loads(shared_path("data/lvis-style/lvis_style_val.json").read_text())
    found = detections(truth, expected["crowded_image"])
    assert digest(found) == expected["digest"], "other detections than those that were scored"
    return Case(truth, found, expected)


@pytest.mark.parametrize("kind", ["box", "mask", "boundary"])
def test_scores_equal_the_official_package(case: Case, kind: Any) -> None:
    scores = lvis_scores(load_ground_truth(case.truth), case.found, kind).statistics
    ours = {_NAMES[name]: np.nan if v is None else v for name, v in scores.items()}
    official = {k: np.nan if v is None else v for k, v in case.expected[kind].items()}
    assert ours == pytest.approx(official, abs=1e-12, rel=0, nan_ok=True)


def test_evaluator_equals_the_official_package_image_by_image() -> None:
    truth, expected = synthetic_set(), EXPECTED["synthetic"]
    all_found = detections(truth, expected["crowded_image"])
    evaluator = lvis_evaluator(truth)
    for image in reversed(truth["images"]):
        found = [d for d in all_found if d["image_id"] == image["id"]]
        xywh = np.asarray([d["bbox"] for d in found], np.float64).reshape(-1, 4)
        masks = [d["segmentation"] for d in found]
        evaluator.add(
            image["id"],
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
            np.asarray([d["score"] for d in found], np.float64),
            np.asarray([d["category_id"] for d in found], np.int64),
            masks,
            masks,
        )
    results = evaluator.results()
    for kind, group in (("box", "box"), ("mask", "rendered"), ("boundary", "coarse")):
        for name, official in _NAMES.items():
            value = results[group][f"{kind}_{name}"]
            wanted = expected[kind][official]
            assert value == (None if wanted is None else pytest.approx(wanted, abs=1e-12))


def test_rules_of_lvis_matter_to_these_scenes(case: Case) -> None:
    """Else the numbers above would say nothing about them."""
    image = next(i for i in case.truth["images"] if i["id"] == case.expected["crowded_image"])
    assert sum(d["image_id"] == image["id"] for d in case.found) > 300
    without_lists = [i | {"not_exhaustive_category_ids": []} for i in case.truth["images"]]
    exhaustive = load_ground_truth(case.truth | {"images": without_lists})
    assert lvis_scores(exhaustive, case.found, "mask").statistics["ap"] != pytest.approx(
        case.expected["mask"]["AP"], abs=1e-3
    )
