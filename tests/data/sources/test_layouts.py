"""A folder is recognised in the layouts that people have, and what is none is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.data.sources.layouts import HELD_OUT, find_layout


def _file(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _annotations(path: Path, *names: str, **changes: Any) -> None:
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"id": 1, "segmentation": [[1, 1, 4, 1, 4, 4]]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    _file(path, json.dumps(content | changes))


def _coco(root: Path) -> None:
    for split in ("train", "val"):
        _annotations(root / f"annotations/instances_{split}2017.json", "a.jpg")
        # What COCO's own archive has beside them.
        _annotations(root / f"annotations/person_keypoints_{split}2017.json", "a.jpg")
        _file(root / f"annotations/captions_{split}2017.json", '{"images": [], "annotations": []}')
        _file(root / f"{split}2017/a.jpg")


def _roboflow(root: Path) -> None:
    for split in ("train", "valid", "test"):
        _annotations(root / split / "_annotations.coco.json", f"{split}.jpg")
        _file(root / split / f"{split}.jpg")


def _cvat(root: Path) -> None:
    _annotations(root / "annotations/instances_default.json", "a.jpg", "b.jpg")
    _file(root / "images/a.jpg")
    _file(root / "images/b.jpg")


def _label_tool(root: Path) -> None:
    _annotations(root / "result.json", "images/a.jpg", "images\\b.jpg")
    _file(root / "images/a.jpg")
    _file(root / "images/b.jpg")


def _own_folders(root: Path) -> None:
    for split in ("train", "val"):
        _annotations(root / f"annotations/instances_{split}.json", "a.jpg")
        _annotations(root / f"annotations/instances_{split}_polygons.json", "a.jpg")
        _file(root / f"images/{split}/a.jpg")


def _penn_fudan(root: Path) -> None:
    _file(root / "PNGImages/a.png")
    _file(root / "PedMasks/a_mask.png")


def _camvid(root: Path) -> None:
    _file(root / "set/train.txt", "a.png b.png")
    _file(root / "set/val.txt", "a.png b.png")


def _lists_without_val(root: Path) -> None:
    _file(root / "train.txt", "a.png b.png")


def _cityscapes(root: Path) -> None:
    _file(root / "leftImg8bit_trainvaltest.zip")


def _train(annotations: str, images: str) -> dict[str, Any]:
    return {"source": "coco", "train_annotations": annotations, "train_images": images}


def _eval(annotations: str, images: str) -> dict[str, Any]:
    return {"eval_annotations": annotations, "eval_images": images}


# (who lays it out so, what is written, task, fields of config.data)
_LAYOUTS = [
    (
        "COCO", _coco, "instance",
        _train("annotations/instances_train2017.json", "train2017")
        | _eval("annotations/instances_val2017.json", "val2017"),
    ),
    (
        "Roboflow", _roboflow, "instance",
        _train("train/_annotations.coco.json", "train")
        | _eval("valid/_annotations.coco.json", "valid"),
    ),
    (
        "CVAT", _cvat, "instance",
        _train("annotations/instances_default.json", "images") | {"held_out": HELD_OUT},
    ),
    ("label tool", _label_tool, "instance", _train("result.json", ".") | {"held_out": HELD_OUT}),
    (
        "folders of one's own", _own_folders, "instance",
        _train("annotations/instances_train.json", "images/train")
        | _eval("annotations/instances_val.json", "images/val"),
    ),
    (
        "Penn-Fudan", _penn_fudan, "instance",
        {
            "source": "id_masks", "train_images": "PNGImages", "train_annotations": "PedMasks",
            "class_names": ("person",), "held_out": HELD_OUT,
        },
    ),
    ("CamVid", _camvid, "semantic", {"source": "camvid"}),
    ("no val.txt", _lists_without_val, "semantic", {"source": "camvid", "held_out": HELD_OUT}),
    ("Cityscapes", _cityscapes, "semantic", {"source": "cityscapes"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("write", "task", "fields"), [x[1:] for x in _LAYOUTS], ids=[x[0] for x in _LAYOUTS]
)
def test_a_layout_is_recognised(
    tmp_path: Path, write: Callable[[Path], None], task: str, fields: dict[str, Any]
) -> None:
    write(tmp_path)
    layout = find_layout(tmp_path)
    assert (layout.task, dict(layout.fields)) == (task, fields)


def _only_val(root: Path) -> None:
    _annotations(root / "val.json", "a.jpg")
    _file(root / "a.jpg")


def _two_sets(root: Path) -> None:
    for name in ("cats", "dogs"):
        _annotations(root / f"{name}.json", "a.jpg")
    _file(root / "a.jpg")


def _one_set_beside_another(root: Path) -> None:
    for folder in ("A/train", "B/train", "B/valid"):
        _annotations(root / folder / "_annotations.coco.json", "a.jpg")
        _file(root / folder / "a.jpg")


def _without_images(root: Path) -> None:
    _annotations(root / "annotations.json", "a.jpg")


def _boxes_alone(root: Path) -> None:
    _annotations(root / "annotations.json", "a.jpg", annotations=[{"id": 1, "bbox": [1, 1, 2, 2]}])
    _file(root / "a.jpg")


_FAULTS = [
    ("photos alone", lambda root: _file(root / "a.jpg"), "holds no data set that is known"),
    ("evaluation alone", _only_val, "for an evaluation, but none for a training"),
    ("two sets", _two_sets, r"2 annotation files that may be for training: cats\.json, dogs\.json"),
    (
        "folders of two sets",
        _one_set_beside_another,
        r"2 annotation files that may be for training: A/train/_ann.*, B/train/_ann",
    ),
    ("images elsewhere", _without_images, "holds no data set"),
    ("no outline", _boxes_alone, "holds no data set"),
    ("broken JSON", lambda root: _file(root / "train.json", "{"), "holds no data set"),
]


@pytest.mark.parametrize(
    ("write", "message"), [f[1:] for f in _FAULTS], ids=[f[0] for f in _FAULTS]
)
def test_what_is_no_data_set_is_told(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_layout(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data .*absent is not a folder"):
        find_layout(tmp_path / "absent")
