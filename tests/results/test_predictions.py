"""Files of predictions: what other readers take, and what a stop or a second run leaves."""

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pointrend_jax.data.sources.coco import read_coco
from pointrend_jax.evaluation.instances import InstanceEvaluator
from pointrend_jax.masks.rle import encode_mask, rle_area
from pointrend_jax.masks.runs import Rle, decode_rle
from pointrend_jax.results.predictions import (
    JOURNAL,
    Predictions,
    predicted_files,
)
from tests.evaluation.scenes import CATEGORIES, HEIGHT, WIDTH, ellipse, noisy_scene

_FILES = ("instances.json", "instances_polygons.json", "detections.json")
_SETTINGS = {"score_threshold": 0.0}
_FORMATS = ("coco", "polygons")
_OUTLINE = [10.0, 20.0, 50.0, 20.0, 30.0, 40.25]
_DISC = encode_mask(ellipse((30, 30), (20, 10)))


def _record(bbox: list[float], score: float, category_id: int, mask: Rle) -> dict[str, Any]:
    record: dict[str, Any] = {"category_id": category_id, "bbox": bbox, "area": rle_area(mask)}
    record |= {"iscrowd": 0, "score": score, "segmentation": mask}
    return record | {"polygons": [_OUTLINE] if record["area"] else []}


def _instance(score: float = 0.5) -> dict[str, Any]:
    return _record([10.0, 20, 40, 20], score, 7, _DISC)


def _write(folder: Path, *names: str, **settings: Any) -> None:
    with Predictions(folder, CATEGORIES, _SETTINGS | settings, _FORMATS) as predictions:
        for name in names:
            predictions.add(name, (HEIGHT, WIDTH), [_instance()], picture=name)


def _scene(folder: Path) -> tuple[dict[str, Any], InstanceEvaluator]:
    """Predictions of a scene with every third image empty, in a folder and in our evaluator."""
    truth, found = noisy_scene(6, 2.0, 3)
    for image in truth["images"]:
        image["id"] += 100
        image["file_name"] = f"{image['id']}.png"
    for entry in [*truth["annotations"], *found]:
        entry["image_id"] += 100
    for entry in truth["annotations"]:
        # pycocotools takes a match with annotation 0 for none; ours numbers them anew.
        entry["id"] += 1
    found = [d for d in found if d["image_id"] % 3]
    evaluator = InstanceEvaluator(truth)
    with Predictions(folder, CATEGORIES, _SETTINGS, _FORMATS) as predictions:
        for image in truth["images"]:
            mine = [d for d in found if d["image_id"] == image["id"]]
            boxes = np.asarray([d["bbox"] for d in mine]).reshape(-1, 4)
            boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            scores = np.asarray([d["score"] for d in mine])
            labels = np.asarray([d["category_id"] for d in mine], np.int64)
            masks = [d["segmentation"] for d in mine]
            evaluator.add(image["id"], boxes, scores, labels, masks, masks)
            records = [
                _record(d["bbox"], d["score"], d["category_id"], d["segmentation"]) for d in mine
            ]
            name = image["file_name"]
            predictions.add(name, (HEIGHT, WIDTH), records, picture=name, image_id=image["id"])
    return truth, evaluator


def test_pycocotools_opens_the_files_and_scores_the_list_as_we_do(tmp_path: Path) -> None:
    truth, evaluator = _scene(tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(truth | {"info": {}}))
    for name in _FILES[:2]:
        opened = COCO(str(tmp_path / name))
        assert len(opened.getImgIds()) == 6
        assert len(opened.getAnnIds()) == len(evaluator.coco_results())
    opened = COCO(str(tmp_path / "truth.json"))
    ours = evaluator.results()
    kinds: tuple[tuple[Literal["segm", "bbox"], str], ...] = (
        ("segm", "mask_ap"),
        ("bbox", "box_ap"),
    )
    for kind, key in kinds:
        found = opened.loadRes(str(tmp_path / "detections.json"))
        theirs = COCOeval(opened, found, kind)
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
        expected = ours["box" if kind == "bbox" else "rendered"][key]
        assert expected is not None
        assert 0.1 < expected < 0.9
        assert theirs.stats[0] == expected


def test_the_list_is_what_our_evaluation_scored(tmp_path: Path) -> None:
    _, evaluator = _scene(tmp_path)
    assert json.loads((tmp_path / "detections.json").read_text()) == evaluator.coco_results()


def test_every_reader_finds_the_fields_that_it_demands(tmp_path: Path) -> None:
    """Those that datumaro (CVAT), Label Studio's converter and FiftyOne ask for."""
    _write(tmp_path, "a.png", "b.png")
    for name in _FILES[:2]:
        content = json.loads((tmp_path / name).read_text())
        assert isinstance(content["info"], dict)
        assert content["licenses"] == []
        assert [c["id"] for c in content["categories"]] == [3, 7]
        assert content["images"][1] == {
            "id": 2, "file_name": "b.png", "height": HEIGHT, "width": WIDTH
        }  # fmt: skip
        assert [a["id"] for a in content["annotations"]] == [1, 2]
        for entry in content["annotations"]:
            assert (entry["iscrowd"], entry["category_id"]) == (0, 7)
            assert entry["bbox"] == [10, 20, 40, 20]
            assert entry["area"] == decode_rle(_DISC).sum()
    # Label Studio takes the first polygon of each.
    content = json.loads((tmp_path / "instances_polygons.json").read_text())
    assert content["annotations"][0]["segmentation"] == [_OUTLINE]
    content = json.loads((tmp_path / "instances.json").read_text())
    assert content["annotations"][0].keys() == {"id", "image_id"} | _instance().keys() - {
        "polygons"
    }


@pytest.mark.parametrize(
    ("formats", "written"), [(("coco",), {0, 2}), (("polygons",), {1}), (("yolo",), set())]
)
def test_only_the_files_of_the_formats_are_made(
    formats: tuple[str, ...], written: set[int], tmp_path: Path
) -> None:
    with Predictions(tmp_path, CATEGORIES, _SETTINGS, formats) as predictions:
        predictions.add("a.png", (HEIGHT, WIDTH), [_instance()], picture="a")
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {JOURNAL} | {_FILES[i] for i in written}
    with pytest.raises(ValueError, match=r"other \['formats'\]"):
        _write(tmp_path, "b.png")


def test_our_own_reader_takes_predictions_as_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    _write(tmp_path, "a.png")
    for name in _FILES[:2]:
        dataset = read_coco(tmp_path / name, tmp_path)
        assert dataset.category_ids == (3, 7)
        assert [o.label for o in dataset.images[0].objects] == [1]
        assert dataset.skipped == {}


def test_an_empty_mask_has_no_outline_and_is_left_out_there(tmp_path: Path) -> None:
    empty = _record([0.0, 0, 1, 1], 0.5, 7, encode_mask(np.zeros((4, 4), np.bool_)))
    with Predictions(tmp_path, CATEGORIES, {}, _FORMATS) as predictions:
        predictions.add("a.png", (4, 4), [empty], picture="a")
    sizes = [len(json.loads((tmp_path / n).read_text())["annotations"]) for n in _FILES[:2]]
    assert sizes == [1, 0]


def test_a_second_run_adds_under_new_ids(tmp_path: Path) -> None:
    _write(tmp_path, "a.png")
    _write(tmp_path, "b.png", "c.png")
    content = json.loads((tmp_path / "instances.json").read_text())
    assert [(i["id"], i["file_name"]) for i in content["images"]] == [
        (1, "a.png"), (2, "b.png"), (3, "c.png")
    ]  # fmt: skip
    assert [(a["id"], a["image_id"]) for a in content["annotations"]] == [(1, 1), (2, 2), (3, 3)]
    assert predicted_files(tmp_path) == {name: name for name in ("a.png", "b.png", "c.png")}


def test_an_error_loses_no_image_before_it(tmp_path: Path) -> None:
    def stopped() -> None:
        with Predictions(tmp_path, CATEGORIES, {}, _FORMATS) as predictions:
            predictions.add("a.png", (HEIGHT, WIDTH), [_instance()], picture="a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(json.loads((tmp_path / "detections.json").read_text())) == 1


@pytest.mark.parametrize("kept", [1, -3, -1])
def test_a_kill_while_writing_leaves_what_was_whole(kept: int, tmp_path: Path) -> None:
    _write(tmp_path, "a.png", "b.png")
    for name in _FILES:
        (tmp_path / name).unlink()
    head, first, second = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(head + first + second[:kept])
    _write(tmp_path, "c.png")
    assert list(predicted_files(tmp_path)) == ["a.png", "c.png"]
    assert len(COCO(str(tmp_path / "instances.json")).anns) == 2


def test_a_kill_within_the_first_line_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'{"categ')
    _write(tmp_path, "a.png")
    assert list(predicted_files(tmp_path)) == ["a.png"]


@pytest.mark.parametrize(
    ("line", "content"),
    [(2, b"{nonsense"), (2, b"[]"), (2, b'{"image": {"id": "x"}, "found": []}'), (1, b"{}")],
)
def test_a_damaged_line_is_named_and_nothing_is_replaced(
    line: int, content: bytes, tmp_path: Path
) -> None:
    _write(tmp_path, "a.png", "b.png")
    lines = (tmp_path / JOURNAL).read_bytes().splitlines()
    lines[line - 1] = content
    (tmp_path / JOURNAL).write_bytes(b"\n".join(lines) + b"\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for action in (lambda: predicted_files(tmp_path), lambda: _write(tmp_path, "c.png")):
        with pytest.raises(ValueError, match=rf"line {line} is damaged"):
            action()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_settings_or_a_second_program_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "a.png")
    with pytest.raises(ValueError, match=r"other \['score_threshold'\]"):
        _write(tmp_path, "b.png", score_threshold=0.5)
    with (
        Predictions(tmp_path, CATEGORIES, _SETTINGS, _FORMATS),
        pytest.raises(ValueError, match="another program"),
    ):
        _write(tmp_path, "b.png")


def test_files_without_a_journal_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(ValueError, match=r"instances\.json would be replaced"):
        predicted_files(tmp_path)


def test_a_file_name_that_is_no_utf8_leaves_files_that_every_program_reads(tmp_path: Path) -> None:
    _write(tmp_path, os.fsdecode(b"caf\xe9.jpg"))
    for name in (*_FILES, JOURNAL):
        (tmp_path / name).read_bytes().decode("utf-8")
    content = json.loads((tmp_path / "instances.json").read_text())
    assert content["images"][0]["file_name"] == "caf\\udce9.jpg"
