"""Which scores a data set gets: by COCO's rules, by Cityscapes', and each in its own group."""

from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.data.categories import CITYSCAPES
from pointrend_jax.scoring import build_task_eval_set, score
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from tests.data.label_sets import write_frame
from tests.tiny import tiny_config, tiny_variables

_ROAD, _PERSON, _CAR = 7, 24, 26


def _config(root: Path) -> Config:
    config = tiny_config()
    config.num_classes, config.data.source, config.data.categories = 8, "cityscapes", "cityscapes"
    config.data.dir, config.data.cache_dir = str(root / "set"), str(root / "cache")
    config.data.eval_min_size, config.data.max_size = 64, 96
    config.data.buckets = ((64, 96), (96, 64))
    # Everything above chance: an untrained model should find something to be scored.
    config.model.box.score_threshold = 0.01
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("cityscapes")
    for number in range(3):
        ids = np.full((64, 96), _ROAD, np.int32)
        ids[10:40, 10:40], ids[20:60, 50:90] = _PERSON, 1000 * _CAR + number
        write_frame(root / "set", "val", f"aachen_00000{number}_000019", ids)
    return _config(root)


def test_instances_of_cityscapes_are_scored_by_both_rules(config: Config) -> None:
    task = build_task(config)
    scores = score(task, tiny_variables(task), build_task_eval_set(config), config)
    assert {"mask_ap", "boundary_ap"} <= set(scores.results["rendered"])
    official = scores.results["cityscapes_rendered"]
    assert set(official) == {"mask_ap", "mask_ap50"}
    by_class = scores.results["cityscapes_rendered_ap"]
    assert set(by_class) == set(CITYSCAPES)
    # Of cars there are objects; the person's is a group, which is not to be found.
    assert by_class["car"] is not None
    assert by_class["person"] is None
    assert by_class["bus"] is None
    assert "Cityscapes AP50" in scores.table
