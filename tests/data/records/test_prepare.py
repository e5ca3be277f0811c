"""The command that makes record files, and training from them alone."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.cli import main
from pointrend_jax.configs import base
from pointrend_jax.data.build_label_maps import build_semantic_datasets
from pointrend_jax.data.build_objects import build_datasets
from pointrend_jax.structures import Config
from tests.data import lvis_files
from tests.data.label_sets import blocks, write_camvid, write_frame
from tests.shared import shared_path


def _embedded(folder: Path) -> Config:
    """A drawn set as a COCO folder, and the configuration that trains on it."""
    config: Config = base.get_config()
    config.num_classes, config.train.batch_size, config.eval.batch_size = 6, 2, 2
    data = config.data
    data.source, data.cache_dir = "embedded", str(folder / "cache")
    data.train_min_sizes, data.eval_min_size, data.max_size = (64,), 64, 96
    data.buckets = ((64, 96), (96, 64))
    data.embedded.image_size, data.embedded.num_train, data.embedded.num_eval = 64, 5, 3
    return config


def _prepare(*arguments: str) -> None:
    main(["prepare", *arguments])


def _batches(datasets: Any, number: int) -> list[Any]:
    batches = datasets.train_batches(0, 1)
    return [next(batches) for _ in range(number)]


def _assert_same(one: Any, other: Any) -> None:
    for left, right in zip(one, other, strict=True):
        for field, again in zip(left, right, strict=True):
            np.testing.assert_array_equal(field, again)


def test_a_folder_trains_from_its_record_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _embedded(tmp_path)
    direct = build_datasets(config)
    expected = _batches(direct, 6)
    (source,) = (tmp_path / "cache").glob("embedded-*")
    command = ["--dataset", "folder", "--name", "drawn", "--source", str(source)]
    command += ["--data-dir", str(tmp_path / "records"), "--verify", "--images-per-shard", "2"]
    for split, name in (("train", "train"), ("val", "eval")):
        command += [f"--{split}-annotations", f"annotations/{name}.json"]
        command += [f"--{split}-images", name]
    _prepare(*command)
    said = capsys.readouterr().out
    assert "train: 5 images" in said
    assert "val: 3 images" in said
    assert "complete and verified" in said
    assert f"--config.data.source=tfds --config.data.dir={tmp_path}" in said
    config.data.source, config.data.dir = "tfds", str(tmp_path / "records" / "drawn" / "1.0.0")
    shutil.rmtree(tmp_path / "cache")
    prepared = build_datasets(config)
    _assert_same(_batches(prepared, 6), expected)
    assert prepared.class_names == direct.class_names
    assert prepared.num_train_images == direct.num_train_images
    assert prepared.eval_ground_truth == direct.eval_ground_truth
    assert [s.image_ids for s in prepared.eval_samples()] == [(1, 2), (3,)]


def test_cityscapes_of_either_task_train_from_record_files(tmp_path: Path) -> None:
    ids = np.full((64, 96), 7, np.int32)
    ids[10:40, 10:50], ids[30:60, 60:90] = 26_000, 24_001
    for split in ("train", "val"):
        write_frame(tmp_path / "set", split, "ulm_000000_000019", ids)
    for dataset in ("cityscapes", "cityscapes_instances"):
        folders = ["--source", str(tmp_path / "set"), "--data-dir", str(tmp_path / "records")]
        _prepare("--dataset", dataset, "--subset", *folders)
    config = _embedded(tmp_path)
    config.train.batch_size = config.eval.batch_size = 1
    config.data.source, config.num_classes = "tfds", 8
    config.data.dir = str(tmp_path / "records" / "cityscapes_instances" / "1.0.0")
    objects = build_datasets(config)
    assert sorted(_batches(objects, 1)[0].classes[0].tolist()) == [0, 2]
    assert objects.eval_instance_ids is not None
    np.testing.assert_array_equal(objects.eval_instance_ids(1), ids)
    config.task, config.num_classes, config.data.crop_hw = "semantic", 19, (64, 96)
    with pytest.raises(ValueError, match=r"must hold label maps, .*, got 'inst"):
        build_semantic_datasets(config)
    config.data.dir = str(tmp_path / "records" / "cityscapes_semantic" / "1.0.0")
    maps = build_semantic_datasets(config)
    assert np.unique(_batches(maps, 1)[0].labels).tolist() == [0, 11, 13]
    found = maps.eval_truth.instance_ids(0)
    assert found is not None
    np.testing.assert_array_equal(found, ids)


def test_a_part_of_a_known_set_must_be_said_to_be_one(tmp_path: Path) -> None:
    write_camvid(tmp_path / "set", "train", (blocks((10, 12), 0),))
    write_camvid(tmp_path / "set", "val", (blocks((10, 12), 1),))
    command = ["--dataset", "camvid", "--source", str(tmp_path / "set")]
    command += ["--data-dir", str(tmp_path / "records")]
    with pytest.raises(ValueError, match=r"1 images in train, the published set 367.*--subset"):
        _prepare(*command)
    assert not (tmp_path / "records").exists()
    _prepare(*command, "--subset")


# (what is wrong, arguments, what the message says)
_ERRORS = [
    ("no such source", ["--dataset", "coco", "--source", "absent"], "--source absent is not a"),
    ("no name", ["--dataset", "folder", "--source", "."], "needs --name"),
    ("a path as name", ["--name", "a/b"], "a name that TFDS accepts, .*got 'a/b'"),
    ("a path upwards as name", ["--name", "../x"], r"a name that TFDS accepts, .*got '\.\./x'"),
    ("another store", ["--dataset", "coco", "--source", ".", "--data-dir", "s3://b/d"], "gs://BUC"),
    ("names of classes that have some", ["--class-names", "a,b"], r"names of its own \(sky, bui"),
    ("empty shards", ["--images-per-shard", "0"], "at least one image, got 0"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_mistakes_are_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    write_camvid(tmp_path / "set", "train", (blocks((10, 12), 0),))
    write_camvid(tmp_path / "set", "val", (blocks((10, 12), 1),))
    usual = ["--dataset", "camvid", "--source", str(tmp_path / "set"), "--subset"]
    usual += ["--data-dir", str(tmp_path / "records")]
    with pytest.raises(ValueError, match=message):
        _prepare(*usual, *arguments)
    assert [path.name for path in tmp_path.iterdir() if path.name != "records"] == ["set"]
    assert not list(tmp_path.glob("records/*/*"))


def test_classes_without_an_example_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = blocks((10, 12), 0)
    write_camvid(tmp_path / "set", "train", (labels,))
    write_camvid(tmp_path / "set", "val", (labels,))
    command = ["--dataset", "camvid", "--source", str(tmp_path / "set"), "--subset"]
    _prepare(*command, "--data-dir", str(tmp_path / "records"))
    assert "val: 9 of 11 classes have no pixel: pole, road, " in capsys.readouterr().out


def test_the_shared_sets_are_prepared(tmp_path: Path) -> None:
    folders = ["--source", str(shared_path("data/cityscapes-fake")), "--data-dir", str(tmp_path)]
    _prepare("--dataset", "cityscapes_instances", "--subset", "--verify", *folders)


@pytest.mark.parametrize(
    ("dataset", "name", "source", "classes"),
    [
        ("lvis_v1", "lvis_v1", "lvis", 3),
        ("cocofied_lvis", "cocofied_lvis_v0_5", "cocofied_lvis", 80),
    ],
)
def test_records_of_lvis_train_and_score_as_its_files(
    tmp_path: Path, dataset: str, name: str, source: str, classes: int
) -> None:
    root = tmp_path / "set"
    # A cow alone, an acorn with a person, and an image without annotations.
    lvis_files.write(
        root,
        lvis_files.content(
            lvis_files.annotation(1, 10, 2),
            lvis_files.annotation(2, 30, 1),
            lvis_files.annotation(3, 30, 3),
        ),
        "all.json",
    )
    config = _embedded(tmp_path)
    config.num_classes, config.train.batch_size, config.eval.batch_size = classes, 1, 1
    data = config.data
    data.source, data.dir, data.repeat_threshold = source, str(root), 1.0
    data.train_annotations = data.eval_annotations = "all.json"
    direct = build_datasets(config)
    expected = _batches(direct, 8)
    command = ["--dataset", dataset, "--source", str(root), "--subset"]
    command += ["--train-annotations", "all.json", "--val-annotations", "all.json"]
    _prepare(*command, "--data-dir", str(tmp_path / "records"))
    data.source, data.dir = "tfds", str(tmp_path / "records" / name / "1.0.0")
    prepared = build_datasets(config)
    _assert_same(_batches(prepared, 8), expected)
    assert prepared.eval_ground_truth == direct.eval_ground_truth
    assert prepared.train_digest == direct.train_digest
    frequencies = {c["frequency"] for c in prepared.eval_ground_truth["categories"]}
    assert frequencies == {"r", "c", "f"}
