"""The files of `predict`, of a predictor that finds a square in every image: no model is needed."""

import dataclasses
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.sources.categories import class_names
from pointrend_jax.masks.runs import Rle
from pointrend_jax.predict import inputs
from pointrend_jax.predict.files import predict_instances
from pointrend_jax.predict.formats import chosen_formats
from pointrend_jax.predict.images import ImageLike
from pointrend_jax.predict.inputs import NamedFile
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.set_ids import SetIds, read_set_ids
from pointrend_jax.predict.sources import ImageSource
from pointrend_jax.results.instances import ExplainedInstance, ExplainedStep, PredictedInstances
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.visualize import explain_picture
from pointrend_jax.workers import WORKERS
from tests.tiny import tiny_config

_FILES = ("instances.json", "instances_polygons.json", "detections.json")


class Squares(Predictor):
    def __init__(
        self,
        category_ids: tuple[int, ...] = (),
        class_names: tuple[str, ...] = ("cat", "dog"),
        mask_head: str = "pointrend",
    ) -> None:
        self.class_names, self.category_ids = class_names, category_ids
        self.config = tiny_config()
        self.config.model.mask_head = mask_head

    def stream(self, images: Iterable[ImageLike], **_: Any) -> Iterator[PredictedInstances]:
        for image in images:
            assert isinstance(image, np.ndarray)
            box = np.asarray([[1, 2, 5, 6]], np.float32)
            hw = (image.shape[0], image.shape[1])
            masks = PredictedMasks(np.ones((1, 7, 7), np.float32), box, hw)
            scores, label = np.asarray([0.75], np.float32), np.asarray([1], np.int32)
            yield PredictedInstances(box, scores, label, ("dog",), masks, masks)


class _MetMasks(PredictedMasks):
    """Masks whose run lengths are only made while those of another image are."""

    met = threading.Barrier(2, timeout=60)

    def rle(self) -> list[Rle]:
        self.met.wait()
        return super().rle()


class _MetSquares(Squares):
    def stream(self, images: Iterable[ImageLike], **_: Any) -> Iterator[PredictedInstances]:
        for found in super().stream(images):
            masks = _MetMasks(found.masks.logits, found.boxes, found.image_hw)
            yield dataclasses.replace(found, masks=masks)


class _Nothing(Squares):
    def stream(self, images: Iterable[ImageLike], **_: Any) -> Iterator[PredictedInstances]:
        return (found[:0] for found in super().stream(images))

    def explain(self, image: Any, boxes: Any, classes: Any) -> list[Any]:
        return []


def _images(folder: Path, *names: str | bytes) -> list[Path]:
    folder.mkdir(exist_ok=True, parents=True)
    paths = [folder / os.fsdecode(name) for name in names]
    for path in paths:
        Image.new("RGB", (16, 12)).save(path)
    return paths


def _check_files(
    paths: list[Path], output: Path, formats: tuple[str, ...] = (), **options: Any
) -> list[NamedFile]:
    formats = chosen_formats(formats, "instance")
    sources = [ImageSource(path) for path in paths]
    return inputs.check_files(sources, output, formats=formats, task="instance", **options)


def _write(
    predictor: Predictor,
    files: list[NamedFile],
    output: Path,
    formats: tuple[str, ...] = (),
    ids: SetIds | None = None,
) -> None:
    predict_instances(
        predictor,
        files,
        output,
        formats=chosen_formats(formats, "instance"),
        score_threshold=0.5,
        num_explained=0,
        ids=ids,
    )


def _predict(
    paths: list[Path],
    output: Path,
    *,
    formats: tuple[str, ...] = (),
    category_ids: tuple[int, ...] = (3, 9),
    ids: SetIds | None = None,
    resume: bool = False,
) -> None:
    files = _check_files(paths, output, formats, ids=ids, resume=resume)
    _write(Squares(category_ids), files, output, formats, ids)


def _content(output: Path, name: str = "instances.json") -> Any:
    return json.loads((output / name).read_text())


def test_results_have_the_category_ids_that_the_checkpoint_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _predict(_images(tmp_path, "a.png", "b.png"), tmp_path / "out")
    categories = _content(tmp_path / "out")["categories"]
    assert [(c["id"], c["name"]) for c in categories] == [(3, "cat"), (9, "dog")]
    (first, second) = _content(tmp_path / "out", "detections.json")
    assert (first["image_id"], second["image_id"]) == (1, 2)
    assert (first["category_id"], first["bbox"], first["score"]) == (9, [1, 2, 4, 4], 0.75)
    assert "category ids" not in capsys.readouterr().out


@pytest.mark.skipif(WORKERS == 1, reason="there is one thread")
def test_files_of_two_images_are_made_at_once_and_kept_in_order(tmp_path: Path) -> None:
    paths = _images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    files = _check_files(paths, tmp_path / "out")
    _write(_MetSquares((3, 9)), files, tmp_path / "out")
    written = _content(tmp_path / "out")["images"]
    assert [(image["id"], image["file_name"]) for image in written] == [
        (1, "a.png"), (2, "b.png"), (3, "c.png"), (4, "d.png")
    ]  # fmt: skip


def test_a_checkpoint_without_category_ids_gives_class_indices_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _predict(_images(tmp_path, "a.png"), tmp_path / "out", category_ids=())
    assert [c["id"] for c in _content(tmp_path / "out")["categories"]] == [0, 1]
    assert "class indices, 0 to 1; --annotations" in capsys.readouterr().out


def test_an_annotation_file_gives_image_and_category_ids(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 40, "file_name": "x/b.png"}, {"id": 7, "file_name": "x/a.png"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    ids = read_set_ids(tmp_path / "set.json")
    _predict(_images(tmp_path / "x", "a.png", "b.png"), tmp_path / "out", ids=ids)
    written = _content(tmp_path / "out")
    assert [(i["id"], i["file_name"]) for i in written["images"]] == [
        (7, "x/a.png"), (40, "x/b.png")
    ]  # fmt: skip
    assert [c["id"] for c in written["categories"]] == [2, 5]
    found = _content(tmp_path / "out", "detections.json")
    assert [(d["image_id"], d["category_id"]) for d in found] == [(7, 5), (40, 5)]


def test_a_model_without_names_takes_those_of_the_set_by_ascending_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    ids = read_set_ids(tmp_path / "set.json")
    predictor = Squares((), class_names("", 2))
    files = _check_files(_images(tmp_path, "a.png"), tmp_path / "out", ids=ids)
    _write(predictor, files, tmp_path / "out", ids=ids)
    (found,) = _content(tmp_path / "out", "detections.json")
    assert (found["image_id"], found["category_id"]) == (7, 5)
    assert "by ascending id: cat, dog" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_to_is_named_by_its_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"^--output .*file/out cannot be written to"):
        _check_files(_images(tmp_path, "a.png"), tmp_path / "file" / "out")


def test_a_set_without_the_classes_of_the_model_is_refused(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 5, "name": "dog"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    ids = read_set_ids(tmp_path / "set.json")
    with pytest.raises(ValueError, match="1 of its 2 classes are missing: cat"):
        _predict(_images(tmp_path, "a.png"), tmp_path / "out", ids=ids)
    assert not list((tmp_path / "out").iterdir())


def test_a_second_run_adds_new_images_and_refuses_the_same(tmp_path: Path) -> None:
    paths = _images(tmp_path, "a.png", "b.png", "c.png")
    _predict(paths[:2], tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match=r"results of 1 of the 2 images already \(b\.png\)"):
        _predict(paths[1:], tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    _predict(paths[2:], tmp_path / "out")
    assert [i["file_name"] for i in _content(tmp_path / "out")["images"]] == [p.name for p in paths]


def test_a_stopped_run_is_completed_with_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = _images(tmp_path, "a.png", "b.png", "c.png")
    _predict(paths[:1], tmp_path / "out")
    # A kill between the picture and the prediction of b, and before the files of all.
    _images(tmp_path / "out", "b.png")
    for name in _FILES:
        (tmp_path / "out" / name).unlink()
    with pytest.raises(
        ValueError, match=r"results of 2 of the 3 images already \(a\.png, b\.png\)"
    ):
        _predict(paths, tmp_path / "out")
    _predict(paths, tmp_path / "out", resume=True)
    assert [i["file_name"] for i in _content(tmp_path / "out")["images"]] == [p.name for p in paths]
    told = capsys.readouterr().out
    assert "1 of 3 images are left out" in told
    assert "drawn again, as a stop left no prediction of it: b.png" in told
    # Nothing is left to predict: the files are made of what is there.
    _predict(paths, tmp_path / "out", resume=True)
    assert len(_content(tmp_path / "out")["images"]) == 3


def test_pictures_of_another_image_are_never_replaced(tmp_path: Path) -> None:
    _predict(_images(tmp_path, "a.png"), tmp_path / "out")
    with pytest.raises(ValueError, match=r"would replace those of a\.png"):
        _predict(_images(tmp_path, "a.bmp"), tmp_path / "out", resume=True)


def test_an_image_called_like_a_picture_of_another_is_refused(tmp_path: Path) -> None:
    images = _images(tmp_path, "a.png", "a_explain_1.png")
    with pytest.raises(ValueError, match=r"the results a_explain_1\.png would overwrite"):
        _check_files(images, tmp_path / "out", explained=True)


def test_a_name_like_that_of_a_picture_is_free_where_none_is_drawn(tmp_path: Path) -> None:
    paths = _images(tmp_path, "a.png", "a_explain_1.png", "a_explain.png")
    files = _check_files(paths, tmp_path / "out")
    assert [file.name for file in files] == ["a", "a_explain_1", "a_explain"]
    # Those of label maps have no number, those of instances have one.
    assert _check_files(paths[::2], tmp_path / "out", explained=True)
    formats = chosen_formats((), "semantic")
    sources = [ImageSource(path) for path in paths]
    for tells, of in ((False, sources), (True, sources[:2])):
        assert inputs.check_files(
            of, tmp_path / "out", formats=formats, task="semantic", explained=tells
        )
    with pytest.raises(ValueError, match=r"a_explain\.png would overwrite"):
        inputs.check_files(
            sources, tmp_path / "out", formats=formats, task="semantic", explained=True
        )


def test_a_model_that_renders_nothing_is_told_before_anything_is_written(tmp_path: Path) -> None:
    files = _check_files(_images(tmp_path, "a.png"), tmp_path / "out")
    with pytest.raises(ValueError, match=r"model\.mask_head='conv'"):
        predict_instances(
            Squares((2, 5), mask_head="conv"), files, tmp_path / "out",
            formats=chosen_formats((), "instance"), score_threshold=0.5, num_explained=1,
        )  # fmt: skip
    assert not list((tmp_path / "out").iterdir())


def test_images_of_one_name_in_two_folders_are_refused(tmp_path: Path) -> None:
    paths = [*_images(tmp_path / "x", "a.png"), *_images(tmp_path / "y", "a.png")]
    with pytest.raises(ValueError, match=r"several images are called a\.png"):
        _predict(paths, tmp_path / "out")


def test_an_image_that_vanishes_loses_none_before_it(tmp_path: Path) -> None:
    paths = _images(tmp_path, "a.png", "b.png")
    files = _check_files(paths, tmp_path / "out")
    paths[1].unlink()
    with pytest.raises(ValueError, match=r"b\.png"):
        _write(Squares(), files, tmp_path / "out")
    assert [i["file_name"] for i in _content(tmp_path / "out")["images"]] == ["a.png"]


def test_a_name_that_is_no_utf8_is_predicted_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = _images(tmp_path, "a.png", b"caf\xe9.png")
    _predict(paths, tmp_path / "out")
    assert (tmp_path / "out" / paths[1].name).exists()
    assert len(_content(tmp_path / "out")["images"]) == 2
    with pytest.raises(ValueError, match=r"caf\\udce9"):
        _predict(paths, tmp_path / "out")


class _Explained(Squares):
    def explain(self, image: Any, boxes: Any, classes: Any) -> list[ExplainedInstance]:
        points = np.full((1, 2), 0.5, np.float32)
        step = ExplainedStep(np.eye(14, dtype=np.float32), np.eye(14, dtype=np.float32), points)
        return [ExplainedInstance(np.eye(7, dtype=np.float32), [step])]


def test_the_true_mask_of_an_instance_is_in_the_picture_of_its_rendering(tmp_path: Path) -> None:
    # The square that is found, and one of the other class in the same place.
    polygon = {"bbox": [1, 2, 4, 4], "segmentation": [[1, 2, 5, 2, 5, 6, 1, 6]], "iscrowd": 0}
    other = polygon | {"segmentation": [[1, 2, 5, 2, 5, 6]]}
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 12, "width": 16}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3} | other,
            {"id": 2, "image_id": 7, "category_id": 9} | polygon,
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    ids = read_set_ids(tmp_path / "set.json")
    files = _check_files(_images(tmp_path, "a.png"), tmp_path / "out", ids=ids)
    predictor = _Explained((3, 9))
    predict_instances(
        predictor, files, tmp_path / "out", formats=chosen_formats((), "instance"),
        score_threshold=0.5, num_explained=1, ids=ids,
    )  # fmt: skip
    image, box = np.zeros((12, 16, 3), np.uint8), np.asarray([1, 2, 5, 6], np.float32)
    (how,) = predictor.explain(image, box[None], [1])
    known = np.zeros((12, 16), np.bool_)
    known[2:6, 1:5] = True
    expected = explain_picture(image, box, how.coarse_probs, how.steps, "dog 0.75", truth=known)
    with Image.open(tmp_path / "out" / "a_explain_1.png") as written:
        np.testing.assert_array_equal(np.asarray(written), expected)


@pytest.mark.parametrize(
    "annotation",
    [
        {"bbox": [1, 1, 4, 4], "point_coords": [[2, 2]], "point_labels": [1]},
        {"bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 4]]},
    ],
    ids=["labelled points", "a broken polygon"],
)
def test_a_truth_that_is_no_mask_costs_the_pictures_their_truth_alone(
    tmp_path: Path, annotation: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    content = {
        "images": [{"id": 7, "file_name": "x/a.png", "height": 20, "width": 30}],
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [annotation | {"id": 1, "image_id": 7, "category_id": 2, "iscrowd": 0}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    ids = read_set_ids(tmp_path / "set.json")
    images = _images(tmp_path / "x", "a.png")
    files = _check_files(images, tmp_path / "out", ids=ids, resume=False)
    predict_instances(
        _Nothing((2, 5)), files, tmp_path / "out", formats=chosen_formats((), "instance"),
        score_threshold=0.5, num_explained=1, ids=ids,
    )  # fmt: skip
    assert _content(tmp_path / "out")["images"][0]["id"] == 7
    broken = "segmentation" in annotation
    assert ("have no truth beside them" in "".join(capfd.readouterr())) == broken
