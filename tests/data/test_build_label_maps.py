"""From a configuration to sets with a class for every pixel, and to Cityscapes' objects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.cityscapes_labels import CLASSES, INSTANCE_CLASSES
from pointrend_jax.configs import base
from pointrend_jax.data.build_label_maps import build_semantic_datasets, build_semantic_eval_set
from pointrend_jax.data.build_objects import build_datasets, build_eval_set
from pointrend_jax.data.sources.categories import CAMVID
from pointrend_jax.structures import Config, check_shapes
from tests.data.label_sets import blocks, write_camvid, write_frame, zip_folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Three training images of CamVid's classes, two for validation, of 32 x 64 pixels."""
    root = tmp_path / "camvid"
    write_camvid(root, "train", [blocks((32, 64), seed) for seed in range(3)])
    write_camvid(root, "val", [blocks((32, 64), seed) for seed in (7, 8)])
    config: Config = base.get_config()
    config.task, config.num_classes, config.train.batch_size = "semantic", 11, 1
    data = config.data
    data.source, data.dir, data.cache_dir = "camvid", str(root), str(tmp_path / "cache")
    data.train_min_sizes, data.crop_hw = (32,), (32, 32)
    data.eval_min_size, data.max_size, data.buckets = 32, 64, ((32, 64),)
    return config


@pytest.fixture
def cityscapes(config: Config, tmp_path: Path) -> Config:
    """Two frames with a car, one without objects, and one for validation with a group."""
    root = tmp_path / "cityscapes"
    street = np.full((32, 64), 7, np.int32)
    with_car = street.copy()
    with_car[8:20, 10:40] = 26_000
    with_group = with_car.copy()
    with_group[0:4, 0:4] = 24
    write_frame(root, "train", "bonn_000000_000019", street)
    write_frame(root, "train", "bonn_000001_000019", with_car)
    write_frame(root, "train", "bonn_000002_000019", with_car)
    write_frame(root, "val", "ulm_000000_000019", with_group)
    config.data.source, config.data.dir = "cityscapes", str(root)
    return config


def test_camvid_becomes_batches_and_samples(config: Config):
    datasets = build_semantic_datasets(config)
    assert datasets.class_names == CAMVID
    assert datasets.instance_classes == ()
    assert datasets.num_train_images == 3
    batches = datasets.train_batches(0, 1)
    for _ in range(4):
        check_shapes(next(batches))
    samples = list(datasets.eval_samples())
    assert sorted(i for s in samples for i in s.image_ids) == [0, 1]
    assert len(datasets.eval_truth) == 2
    np.testing.assert_array_equal(datasets.eval_truth.labels(1), blocks((32, 64), 8))


def test_test_time_augmentation_asks_for_scales_and_mirrored_images(config: Config):
    evaluation = build_semantic_eval_set(config)
    plain = next(evaluation.eval_samples())
    larger = next(evaluation.eval_samples(scale=2.0, flip=True))
    assert larger.image_ids == plain.image_ids
    np.testing.assert_array_equal(larger.batch.image_hw, 2 * plain.batch.image_hw)


def test_evaluation_needs_no_training_set(config: Config):
    (Path(config.data.dir) / "train.txt").unlink()
    assert len(build_semantic_eval_set(config).eval_truth) == 2


def test_cityscapes_has_19_classes_and_its_objects(cityscapes: Config):
    cityscapes.num_classes = 19
    datasets = build_semantic_datasets(cityscapes)
    assert datasets.class_names == CLASSES
    assert tuple(datasets.class_names[k] for k in datasets.instance_classes) == INSTANCE_CLASSES
    assert datasets.num_train_images == 3
    ids = datasets.eval_truth.instance_ids(0)
    assert ids is not None
    assert np.unique(ids).tolist() == [7, 24, 26_000]
    assert np.unique(datasets.eval_truth.labels(0)).tolist() == [0, 11, 13]


@pytest.mark.parametrize("zipped", [False, True])
def test_cityscapes_objects_train_and_are_scored(zipped: bool, cityscapes: Config):
    root = Path(cityscapes.data.dir)
    if zipped:
        for folder in ("leftImg8bit", "gtFine"):
            zip_folder(root / folder, root / f"{folder}_trainvaltest.zip")
            (root / folder).rename(root / f"other_{folder}")
    cityscapes.task, cityscapes.num_classes = "instance", 8
    datasets = build_datasets(cityscapes)
    assert datasets.class_names == INSTANCE_CLASSES
    # The frame without objects is left out.
    assert datasets.num_train_images == 2
    batch = next(datasets.train_batches(0, 1))
    assert batch.classes[batch.valid].tolist() == [INSTANCE_CLASSES.index("car")]
    np.testing.assert_array_equal(batch.boxes[0, 0, 1::2], [8, 20])
    annotations = datasets.eval_ground_truth["annotations"]
    assert [(a["category_id"], a["iscrowd"]) for a in annotations] == [(24, 1), (26, 0)]
    sample = next(datasets.eval_samples())
    assert datasets.eval_instance_ids is not None
    ids = datasets.eval_instance_ids(sample.image_ids[0])
    assert ids.shape == sample.original_hw[0]
    assert np.unique(ids).tolist() == [7, 24, 26_000]


def test_image_of_another_size_than_its_instance_ids_is_named(cityscapes: Config):
    cityscapes.task, cityscapes.num_classes = "instance", 8
    root = Path(cityscapes.data.dir)
    small = root / "other"
    write_frame(small, "val", "ulm_000000_000019", np.full((16, 32), 7, np.int32))
    image = "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    (small / image).replace(root / image)
    with pytest.raises(ValueError, match=r"leftImg8bit\.png has 16 x 32 .*annotation says 32 x 64"):
        build_eval_set(cityscapes)


# (what is wrong, fields of the config, what the message says)
_ERRORS = [
    ("other number of classes", {"num_classes": 3}, "num_classes is 3.*11 categories"),
    ("source of objects", {"data.source": "coco"}, r"'camvid', 'tfds'\], got 'coco'"),
    ("no such folder", {"data.dir": "absent"}, r"config\.data\.dir absent is not a folder"),
    ("crop of half cells", {"data.crop_hw": (32, 40)}, r"crop_hw must be .*multiples of 32"),
    ("bucket of half cells", {"data.buckets": ((24, 32),)}, "buckets must be .*multiples of 32"),
    ("evaluation too large", {"data.eval_min_size": 64}, r"fits none of.*\(64, 128\)"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_config_that_does_not_fit_the_set_is_an_error(
    changes: dict[str, Any], message: str, config: Config
):
    config.data.max_size = 128
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build_semantic_datasets(config)
    # Nothing is prepared for a config that cannot be used.
    assert not Path(config.data.cache_dir).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tta_scales", (1.0, 0.0)),
        ("tta_scales", (float("inf"),)),
        ("trimap_widths", (0, 2)),
        ("boundary_dilation", 0.0),
        ("boundary_dilation", -0.1),
    ],
)
def test_settings_of_the_scores_are_checked_before_a_training(
    field: str, value: Any, config: Config
):
    config.eval[field] = value
    with pytest.raises(ValueError, match=rf"config\.eval\.{field} must be"):
        build_semantic_datasets(config)


def test_training_and_evaluation_must_have_the_same_classes(config: Config):
    root = Path(config.data.dir)
    # Two sets below one folder, each with the list of a split.
    for split, names in (("train", ("sky", "road")), ("val", ("road", "sky"))):
        write_camvid(root / split, split, [blocks((32, 64), 0)])
        (root / f"{split}.txt").unlink()
        content = {"classes": [{"id": i, "name": n} for i, n in enumerate(names)], "void": 255}
        (root / split / "classes.json").write_text(json.dumps(content))
    config.num_classes = 2
    with pytest.raises(ValueError, match=r"the same classes .*'sky', 'road'.*'road', 'sky'"):
        build_semantic_datasets(config)
