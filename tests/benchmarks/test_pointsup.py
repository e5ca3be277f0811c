"""What the comparison of labelled points with masks trains, and what it keeps."""

import json
from pathlib import Path

import pytest

from benchmarks.pointsup import Pair, keep, run_config
from pointrend_jax.config import load_config
from pointrend_jax.config_rules import check_config


@pytest.mark.parametrize("head", ["pointrend", "implicit"])
def test_trainings_of_a_pair_differ_in_what_they_learn_from_alone(head: str, tmp_path: Path):
    config = load_config("pennfudan")
    masks, points = (
        run_config(config, Pair(head, 2), supervision, tmp_path / "points.json")
        for supervision in ("masks", "points")
    )
    for own in (masks, points):
        check_config(own, to_train=True)
        assert (own.seed, own.model.mask_head) == (2, head)
    assert points.data.train_annotations == str(tmp_path / "points.json")
    with points.unlocked():
        points.data.supervision, points.data.points_per_step = "masks", masks.data.points_per_step
        points.data.train_annotations = masks.data.train_annotations
    assert points.to_dict() == masks.to_dict()


def test_what_is_known_of_other_pairs_is_kept(tmp_path: Path):
    for pair, ap in ((Pair("pointrend", 0), 0.1), (Pair("implicit", 0), 0.2)):
        keep(tmp_path, pair, pair._asdict() | {"masks": ap})
    keep(tmp_path, Pair("pointrend", 0), {"head": "pointrend", "seed": 0, "masks": 0.3})
    runs = json.loads((tmp_path / "pointsup.json").read_text())["runs"]
    assert {(run["head"], run["masks"]) for run in runs} == {("pointrend", 0.3), ("implicit", 0.2)}


@pytest.mark.parametrize("text", ["pointrend", "dense:0", "pointrend:-1", "implicit:"])
def test_what_names_no_pair_is_refused(text: str):
    with pytest.raises(ValueError, match="must be pointrend:SEED or implicit:SEED"):
        Pair.parse(text)
