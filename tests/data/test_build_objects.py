"""From a configuration to data sets: what is left out, what must agree, what is said of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.configs import base
from pointrend_jax.data.build_objects import build_datasets, build_eval_set
from pointrend_jax.data.sources import known
from pointrend_jax.data.sources.coco import read_coco
from pointrend_jax.structures import Config

_SQUARE = [[4.0, 4.0, 20.0, 4.0, 20.0, 12.0, 4.0, 12.0]]


def _annotation(number: int, image_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 5,
        "bbox": [4, 4, 16, 8],
        "area": 128.0,
        "iscrowd": 0,
        "segmentation": _SQUARE,
    } | changes


def _write_split(root: Path, split: str, annotations: list[dict[str, Any]], **extra: Any) -> None:
    """Four 24 x 32 images with ids 0..3; image n is filled with the value n + 1."""
    (root / split).mkdir(parents=True)
    images = []
    for n in range(4):
        Image.new("RGB", (32, 24), (n + 1,) * 3).save(root / split / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "height": 24, "width": 32})
    content = {"images": images, "annotations": annotations}
    content |= {"categories": [{"id": 5, "name": "box"}]} | extra
    (root / f"{split}.json").write_text(json.dumps(content))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Training: an object on 0, a crowd on 1, an unusable one on 2, nothing on 3."""
    root = tmp_path / "set"
    annotations = [
        _annotation(1, 0),
        _annotation(2, 1, iscrowd=1),
        _annotation(3, 2, segmentation=[[1, 1, 5, 5]]),
    ]
    _write_split(root, "train", annotations)
    _write_split(root, "val", [_annotation(9, 3)])
    config: Config = base.get_config()
    config.num_classes, config.train.batch_size = 1, 1
    data = config.data
    data.dir, data.cache_dir = str(root), str(tmp_path / "cache")
    data.train_images, data.train_annotations = "train", "train.json"
    data.eval_images, data.eval_annotations = "val", "val.json"
    data.train_min_sizes, data.eval_min_size, data.max_size = (24,), 24, 32
    data.buckets = ((32, 32),)
    return config


def _epoch(config: Config, number: int) -> list[Any]:
    batches = build_datasets(config).train_batches(0, 1)
    return [next(batches) for _ in range(number)]


def test_images_without_annotations_are_left_out_and_counted(
    config: Config, capsys: pytest.CaptureFixture[str]
):
    assert build_datasets(config).num_train_images == 1
    printed = capsys.readouterr().out
    assert "3 of 4 training images have no object, or crowd regions only" in printed
    assert "1 skipped: polygon of fewer than three points" in printed
    assert "1 of 2 objects are crowd regions" in printed
    assert "1 images have nothing else" in printed
    for batch in _epoch(config, 3):
        assert batch.images[0, 0, 0, 0] == 1
        assert batch.valid[0].tolist() == [True]


def test_class_without_an_object_is_told_of_each_set(
    config: Config, capsys: pytest.CaptureFixture[str]
):
    categories = [{"id": i, "name": name} for i, name in ((5, "box"), (6, "cup"), (7, "hat"))]
    root = Path(config.data.dir)
    for split, category in (("train", 6), ("val", 7)):
        content = json.loads((root / f"{split}.json").read_text())
        content["annotations"].append(_annotation(77, 0, category_id=category))
        # A crowd region is no example.
        content["annotations"].append(_annotation(78, 1, category_id=13 - category, iscrowd=1))
        (root / f"{split}.json").write_text(json.dumps(content | {"categories": categories}))
    config.num_classes = 3
    build_datasets(config)
    printed = capsys.readouterr().out
    assert "training set: 1 of 3 classes have no object: hat\n" in printed
    assert "evaluation set: 1 of 3 classes have no object: cup\n" in printed


def test_training_without_an_evaluation_set_says_how_to_do_without(
    config: Config, monkeypatch: pytest.MonkeyPatch
):
    root = Path(config.data.dir)
    (root / "val.json").unlink()
    monkeypatch.setenv("HOME", str(root.parent))
    for folder in (f"~/{root.name}", str(root)):
        config.data.dir = folder
        with pytest.raises(
            ValueError, match=r"needs an evaluation set.*config\.data\.held_out = 0\.1"
        ):
            build_datasets(config)
    config.data.eval_annotations, config.data.eval_images = "train.json", "train"
    assert build_datasets(config).num_train_images == 1


def test_images_without_annotations_train_as_negatives(config: Config):
    config.data.filter_empty_annotations = False
    assert build_datasets(config).num_train_images == 4
    batches = _epoch(config, 4)
    objects = {int(b.images[0, 0, 0, 0]): int(b.valid.sum()) for b in batches}
    assert objects == {1: 1, 2: 0, 3: 0, 4: 0}


def test_seed_and_epoch_decide_the_order(config: Config):
    config.data.filter_empty_annotations = False

    def order(seed: int) -> list[int]:
        config.seed = seed
        return [int(b.images[0, 0, 0, 0]) for b in _epoch(config, 12)]

    first = order(0)
    assert first == order(0) != order(1)
    assert [sorted(first[i : i + 4]) for i in (0, 4, 8)] == [[1, 2, 3, 4]] * 3
    assert len({tuple(first[i : i + 4]) for i in (0, 4, 8)}) > 1


def test_evaluation_needs_no_training_set(config: Config):
    config.data.train_annotations = "absent.json"
    evaluation = build_eval_set(config)
    assert evaluation.class_names == ("box",)
    assert evaluation.category_ids == (5,)
    assert [i for s in evaluation.eval_samples() for i in s.image_ids] == [0, 1, 2, 3]
    # An iterator a call: every evaluation starts from the first image.
    assert len(list(evaluation.eval_samples())) == len(list(evaluation.eval_samples()))
    assert [a["id"] for a in evaluation.eval_ground_truth["annotations"]] == [9]


def test_evaluation_images_come_as_they_were_before_they_are_resized(config: Config):
    config.data.eval_min_size, config.data.max_size = 12, 16
    images = list(build_eval_set(config).eval_images())
    assert [(image.shape, image.min(), image.max()) for image in images] == [
        ((24, 32, 3), n + 1, n + 1) for n in range(4)
    ]


def test_images_are_held_out_for_the_evaluation(config: Config, monkeypatch: pytest.MonkeyPatch):
    reads = []
    monkeypatch.setattr(
        known, "read_coco", lambda *a, **settings: reads.append(a) or read_coco(*a, **settings)
    )
    root = Path(config.data.dir) / "all"
    config.data.dir = str(root)
    _write_split(root, "train", [_annotation(i + 1, i) for i in range(4)])
    config.data.held_out = 0.5
    datasets = build_datasets(config)
    # One file, of which both are parts.
    assert len(reads) == 1
    held_out = sorted(i for s in datasets.eval_samples() for i in s.image_ids)
    assert datasets.num_train_images == len(held_out) == 2
    # An evaluation alone sees the same images.
    alone = build_eval_set(config)
    assert sorted(i for s in alone.eval_samples() for i in s.image_ids) == held_out
    assert [i["id"] for i in alone.eval_ground_truth["images"]] == held_out


def test_training_images_without_any_object_are_an_error(config: Config):
    root = Path(config.data.dir) / "lonely"
    config.data.dir = str(root)
    # Of four images the one with the object is held out, by its name and the seed.
    _write_split(root, "train", [_annotation(1, 0)])
    config.data.held_out, config.data.held_out_seed = 0.75, 1
    with pytest.raises(ValueError, match=r"none of the 1 training images has an object"):
        build_datasets(config)
    config.data.filter_empty_annotations = False
    assert build_datasets(config).num_train_images == 1


# (what is wrong, fields of the config, what the message says)
_ERRORS = [
    ("other number of classes", {"num_classes": 3}, "num_classes is 3.*1 categories"),
    ("unknown source", {"data.source": "voc"}, r"'embedded', 'tfds'\], got 'voc'"),
    ("no such folder", {"data.dir": "absent"}, r"config\.data\.dir absent is not a folder"),
    ("no such images", {"data.eval_images": "absent"}, "image folder .*absent does not exist"),
    ("bucket of half cells", {"data.buckets": ((24, 32),)}, "multiples of 32"),
    ("training too large", {"data.train_min_sizes": (24, 48)}, r"fits none of.*\(64, 64\)"),
    ("evaluation too large", {"data.eval_min_size": 48}, r"fits none of.*\(64, 64\)"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_config_that_does_not_fit_the_set_is_an_error(
    changes: dict[str, Any], message: str, config: Config
):
    config.data.max_size = 64
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build_datasets(config)


def test_sets_of_other_categories_are_an_error(config: Config, tmp_path: Path):
    other = {"categories": [{"id": 5, "name": "circle"}]}
    _write_split(tmp_path / "set" / "other", "val", [_annotation(9, 3)], **other)
    config.data.eval_images, config.data.eval_annotations = "other/val", "other/val.json"
    with pytest.raises(ValueError, match=r"categories: \['box'\] and \['circle'\]"):
        build_datasets(config)


def test_embedded_set_is_drawn_once(config: Config):
    data = config.data
    data.source, config.num_classes = "embedded", 6
    data.embedded.image_size, data.embedded.num_train, data.embedded.num_eval = 32, 2, 1
    first = build_datasets(config)
    again = build_datasets(config)
    assert first.num_train_images == 2
    for one, other in zip(
        next(first.train_batches(0, 1)), next(again.train_batches(0, 1)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_hosts_that_do_not_divide_the_batch_are_an_error(config: Config):
    config.train.batch_size = 3
    with pytest.raises(ValueError, match="multiple of the 2 processes, got 3"):
        build_datasets(config).train_batches(0, 2)


_POINTS = {"segmentation": None, "point_coords": [[5, 5]], "point_labels": [1]}


def test_points_supervise_where_the_config_says_so(config: Config):
    _write_split(Path(config.data.dir), "pointed", [_annotation(1, 0, **_POINTS)])
    config.data.train_images, config.data.train_annotations = "pointed", "pointed.json"
    with pytest.raises(ValueError, match=r"points and no masks: set .*supervision = \"points\""):
        build_datasets(config)
    config.data.supervision = "points"
    (batch,) = _epoch(config, 1)
    assert batch.mask_bits is None
    assert batch.point_labels.tolist() == [[[1]]]


def test_objects_without_a_point_beside_others_are_told(
    config: Config, capsys: pytest.CaptureFixture[str]
):
    mixed = [_annotation(1, 0, **_POINTS), _annotation(2, 0), _annotation(3, 0, iscrowd=1)]
    _write_split(Path(config.data.dir), "mixed", mixed)
    config.data.train_images, config.data.train_annotations = "mixed", "mixed.json"
    config.data.supervision = "points"
    (batch,) = _epoch(config, 1)
    assert batch.point_labels.tolist() == [[[1], [-1]]]
    assert "1 objects have no labelled point: boxes are learned" in capsys.readouterr().out


def test_a_set_without_points_cannot_supervise_by_them(config: Config):
    config.data.supervision = "points"
    with pytest.raises(
        ValueError, match=r"training set has none; make some .*pointrend_jax points"
    ):
        build_datasets(config)


def test_scores_need_masks(config: Config):
    _write_split(Path(config.data.dir), "pointed", [_annotation(1, 0, **_POINTS)])
    config.data.eval_images, config.data.eval_annotations = "pointed", "pointed.json"
    for build in (build_datasets, build_eval_set):
        with pytest.raises(ValueError, match="evaluation set have labelled points alone"):
            build(config)
