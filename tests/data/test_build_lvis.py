"""LVIS and its COCO part as data sources: from a configuration to batches and ground truth."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.configs import base
from pointrend_jax.data.build_objects import build_datasets, build_eval_set
from pointrend_jax.data.sources.categories import COCO
from pointrend_jax.structures import Config
from tests.data.lvis_files import annotation, content, write

_ACORN, _COW, _PERSON = 1, 2, 3


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of three training images two have an object: a cow alone, and an acorn with a cow."""
    annotations = [annotation(1, 10, _COW), annotation(2, 10, _ACORN), annotation(3, 20, _COW)]
    write(tmp_path / "set", content(*annotations), "train.json")
    write(tmp_path / "set", content(annotation(9, 30, _PERSON)), "val.json")
    config: Config = base.get_config()
    config.num_classes, config.train.batch_size, config.eval.batch_size = 3, 1, 1
    data = config.data
    data.source, data.dir, data.cache_dir = "lvis", str(tmp_path / "set"), str(tmp_path / "cache")
    data.train_annotations, data.eval_annotations = "train.json", "val.json"
    data.train_min_sizes, data.eval_min_size, data.max_size = (8,), 8, 32
    data.buckets = ((32, 32),)
    return config


def _images(config: Config, number: int) -> list[Any]:
    batches = build_datasets(config).train_batches(0, 1)
    return [next(batches) for _ in range(number)]


def test_every_image_is_evaluated_with_its_lists(config: Config) -> None:
    evaluation = build_eval_set(config)
    assert evaluation.category_ids == (_ACORN, _COW, _PERSON)
    assert sorted(i for s in evaluation.eval_samples() for i in s.image_ids) == [10, 20, 30]
    truth = evaluation.eval_ground_truth
    assert [i["neg_category_ids"] for i in truth["images"]] == [[], [1, 3], []]
    assert [c["frequency"] for c in truth["categories"]] == ["r", "c", "f"]


def test_rare_category_brings_its_image_more_often(config: Config) -> None:
    assert build_datasets(config).num_train_images == 2
    # An empty JPEG keeps its value: the image's own id.
    plain = Counter(int(b.images[0, 0, 0, 0]) for b in _images(config, 60))
    assert max(plain.values()) == min(plain.values()) == 30
    # Acorns are on half of the images: sqrt(1 / 0.5) = 1.41 times an epoch.
    config.data.repeat_threshold = 1.0
    epochs = Counter(int(b.images[0, 0, 0, 0]) for b in _images(config, 300))
    small, large = sorted(epochs.values())
    assert 1.2 < large / small < 1.6


def test_threshold_that_is_no_share_is_an_error(config: Config) -> None:
    config.data.repeat_threshold = 2.0
    with pytest.raises(ValueError, match=r"config\.data\.repeat_threshold must be a share"):
        build_datasets(config)


def test_coco_part_has_the_classes_of_coco(config: Config) -> None:
    # After the whole set: both are prepared from one file, and must not be taken for each other.
    whole = {tuple(b.classes[b.valid].tolist()) for b in _images(config, 2)}
    assert whole == {(1,), (1, 0)}
    config.data.source, config.num_classes = "cocofied_lvis", 80
    evaluation = build_eval_set(config)
    assert evaluation.class_names == COCO
    truth = evaluation.eval_ground_truth
    assert [(a["image_id"], a["category_id"]) for a in truth["annotations"]] == [(30, 1)]
    assert [i["neg_category_ids"] for i in truth["images"]] == [[], [1], []]
    cows = [b.classes[b.valid].tolist() for b in _images(config, 2)]
    assert cows == [[COCO.index("cow")]] * 2


def test_set_without_its_folder_is_an_error(config: Config) -> None:
    config.data.dir = "absent"
    with pytest.raises(ValueError, match=r"config\.data\.dir absent is not a folder"):
        build_eval_set(config)
