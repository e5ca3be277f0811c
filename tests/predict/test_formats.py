"""Each format of `predict` on its own, from a predictor whose one instance has two parts."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from pointrend_jax.masks.rle import encode_polygons
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.predict.files import predict_instances
from pointrend_jax.predict.formats import FORMATS, chosen_formats, in_words, result_paths
from pointrend_jax.predict.images import ImageLike
from pointrend_jax.predict.inputs import check_files
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.sources import ImageSource
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.masks import PredictedMasks

_HW = (30, 40)


class _Parts(Predictor):
    """Finds a "traffic light/red" of two parts with a hole, and a "dog" without a pixel."""

    def __init__(self, class_names: tuple[str, ...] = ("dog", "traffic light/red")) -> None:
        self.class_names, self.category_ids = class_names, (3, 9)

    def stream(self, images: Iterable[ImageLike], **options: Any) -> Iterator[PredictedInstances]:
        for _ in images:
            logits = np.full((2, 28, 28), -9, np.float32)
            logits[0, 2:20, 2:14] = logits[0, 22:26, 20:26] = 9
            logits[0, 6:10, 5:9] = -9
            boxes = np.asarray([[4, 2, 32, 30], [0, 0, 9, 9]], np.float32)
            masks = PredictedMasks(logits, boxes, _HW)
            scores = np.asarray([0.75, 0.5], np.float32)
            names = (self.class_names[1], self.class_names[0])
            yield PredictedInstances(boxes, scores, np.asarray([1, 0]), names, masks, masks)


def _mask() -> np.ndarray:
    (instances,) = _Parts().stream([np.zeros((*_HW, 3), np.uint8)])
    return instances.masks.boolean(0)


def _predict(
    output: Path, *formats: str, predictor: Predictor | None = None, resume: bool = False
) -> None:
    folder = output.parent / "images"
    folder.mkdir(exist_ok=True)
    sources = [ImageSource(folder / name) for name in ("a.png", "b.png")]
    for source in sources:
        Image.new("RGB", (_HW[1], _HW[0])).save(source.path)
    chosen = chosen_formats(formats, "instance")
    files = check_files(sources, output, formats=chosen, task="instance", resume=resume)
    predict_instances(
        predictor or _Parts(), files, output, formats=chosen, score_threshold=0.5, num_explained=0
    )


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


_JOURNAL = {"predictions.jsonl"}
_COCO = {"instances.json", "detections.json"}
_MASKS = {f"masks/{n}/{f}" for n in "ab" for f in ("001_traffic_light_red.png", "002_dog.png")}
_MASKS |= {"masks/a/masks.json", "masks/b/masks.json"}


@pytest.mark.parametrize(
    ("formats", "written"),
    [
        ((), {"a.png", "b.png", "instances_polygons.json"} | _COCO),
        (("overlay",), {"a.png", "b.png"}),
        (("coco",), _COCO),
        (("polygons",), {"instances_polygons.json"}),
        (("png",), _MASKS),
        (("yolo", "coco"), {"labels/a.txt", "labels/b.txt", "data.yaml"} | _COCO),
    ],
    ids=lambda value: "+".join(value) or "default" if isinstance(value, tuple) else "",
)
def test_what_is_asked_for_is_written_and_nothing_else(
    formats: tuple[str, ...], written: set[str], tmp_path: Path
) -> None:
    _predict(tmp_path / "out", *formats)
    assert _files(tmp_path / "out") == written | _JOURNAL


def test_polygons_give_back_parts_and_holes_in_pycocotools(tmp_path: Path) -> None:
    _predict(tmp_path / "out", "polygons")
    opened = COCO(str(tmp_path / "out" / "instances_polygons.json"))
    # The instance without a pixel cannot be given.
    assert [len(a["segmentation"]) for a in opened.loadAnns(opened.getAnnIds())] == [2, 2]
    mask = opened.annToMask(opened.loadAnns([1])[0]).astype(bool)
    assert (mask & _mask()).sum() / (mask | _mask()).sum() > 0.97
    assert not mask[8:11, 10:12].any()


def test_masks_are_pictures_that_a_list_names(tmp_path: Path) -> None:
    _predict(tmp_path / "out", "png")
    first, second = json.loads((tmp_path / "out" / "masks" / "a" / "masks.json").read_text())
    assert first == {
        "file_name": "001_traffic_light_red.png", "class_name": "traffic light/red",
        "category_id": 9, "score": 0.75, "bbox": [4, 2, 28, 28], "area": _mask().sum(),
    }  # fmt: skip
    assert second["class_name"] == "dog"
    with Image.open(tmp_path / "out" / "masks" / "a" / first["file_name"]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), _mask() * np.uint8(255))


def test_a_line_of_yolo_is_one_polygon_of_all_parts_in_shares_of_the_image(tmp_path: Path) -> None:
    _predict(tmp_path / "out", "yolo")
    (line,) = (tmp_path / "out" / "labels" / "a.txt").read_text().splitlines()
    label, *numbers = line.split(" ")
    assert label == "1"
    points = np.asarray(numbers, float).reshape(-1, 2)
    assert (points.min(), points.max()) > (0, 0.5)
    assert points.max() <= 1
    polygon = (points * [_HW[1], _HW[0]]).ravel().tolist()
    mask = decode_rle(encode_polygons([polygon], _HW))
    assert (mask & _mask()).sum() / (mask | _mask()).sum() > 0.97


def test_the_names_of_yolo_are_yaml_whatever_they_are(tmp_path: Path) -> None:
    names = ("no", 'a "b": #c' + "\U0001f431 \u2028 \\ud83d\\udc31 caf\xe9")
    _predict(tmp_path / "out", "yolo", predictor=_Parts(names))
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert content == {"train": "images", "val": "images", "names": dict(enumerate(names))}


def test_the_data_set_of_another_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(ValueError, match=r"data\.yaml would be replaced"):
        _predict(tmp_path / "out", "yolo")
    assert _files(tmp_path / "out") == {"data.yaml"}


def test_other_formats_need_another_folder(tmp_path: Path) -> None:
    _predict(tmp_path / "out", "coco")
    (tmp_path / "images" / "c.png").touch()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in _files(tmp_path / "out")}
    with pytest.raises(ValueError, match=r"other \['formats'\]"):
        _predict(tmp_path / "out", "yolo", resume=True)
    assert {n: (tmp_path / "out" / n).read_bytes() for n in _files(tmp_path / "out")} == before


@pytest.mark.parametrize("kind", ["png", "yolo"])
def test_results_of_a_stopped_run_are_replaced_with_resume_alone(kind: str, tmp_path: Path) -> None:
    _predict(tmp_path / "out", kind)
    whole = {name: (tmp_path / "out" / name).read_bytes() for name in _files(tmp_path / "out")}
    # A kill between the files of b and its line of the journal.
    journal = tmp_path / "out" / "predictions.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(ValueError, match="results of 2 of the 2 images already"):
        _predict(tmp_path / "out", kind)
    _predict(tmp_path / "out", kind, resume=True)
    assert {n: (tmp_path / "out" / n).read_bytes() for n in _files(tmp_path / "out")} == whole


def test_vector_pictures_lie_beside_the_others(tmp_path: Path) -> None:
    _predict(tmp_path / "out", "svg", "overlay")
    assert _files(tmp_path / "out") >= {"a.png", "a.svg", "b.png", "b.svg"}
    assert "a.pdf" not in _files(tmp_path / "out")
    # The instance without a pixel has a box, and the other one a path.
    text = (tmp_path / "out" / "a.svg").read_text()
    assert text.count('id="object-') == 1
    assert text.count('id="box-') == 2


def test_formats_come_in_one_order_and_without_a_choice_the_usual_ones() -> None:
    assert chosen_formats(("yolo", "overlay", "yolo"), "instance") == ("overlay", "yolo")
    assert chosen_formats((), "instance") == ("overlay", "coco", "polygons")
    assert chosen_formats((), "semantic") == ("overlay", "png")


def test_a_format_of_the_other_kind_of_model_is_refused() -> None:
    with pytest.raises(ValueError, match="coco, yolo cannot be written: this model gives label"):
        chosen_formats(("coco", "png", "yolo"), "semantic")


def test_every_format_of_files_of_an_image_says_where_they_lie() -> None:
    files = ["x.png"], ["masks/x"], ["labels/x.txt"], ["x.svg"], ["x.pdf"]
    assert result_paths("x", FORMATS, "instance") == list(files)
    of_tiles = "x_labels.npy", "x_labels.tif"
    assert result_paths("x", ("png",), "semantic") == [["x_labels.png", *of_tiles]]
    whatever = result_paths("x", ("overlay",), "semantic", in_parts=True)
    assert whatever == [["x.png"], ["x_labels.png", *of_tiles]]


def test_the_last_line_names_the_labels_that_were_written() -> None:
    def labels(formats: tuple[str, ...], *endings: str) -> list[str]:
        return re.findall(r"NAME_labels\.\w+", in_words(formats, "semantic", endings))

    assert labels(("overlay", "png"), "") == ["NAME_labels.png"]
    assert labels(("overlay", "png"), ".npy") == ["NAME_labels.npy"]
    assert labels(("overlay", "png"), "", ".tif") == ["NAME_labels.png", "NAME_labels.tif"]
    assert labels(("overlay",), "", ".tif") == ["NAME_labels.tif"]
    assert labels(("overlay",), "") == []
