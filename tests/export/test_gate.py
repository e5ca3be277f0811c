"""The gate of an export: what it calls a difference, and that nothing is left of a bad one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.export import gate, make
from pointrend_jax.export.artefact import ExportedModel
from pointrend_jax.export.gate import Gate, check_export, differences
from pointrend_jax.export.make import ExportOptions, export_model
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.tasks.build import build_task
from tests.tiny_predictor import NAMES, predictor_config

PHOTO = np.zeros((8, 10, 3), np.uint8)
PHOTOS = {"photo 0": PHOTO}
_PROGRAM = "programs/cpu_64x96_of_8x10.jax"
_MEASURED = {"seconds": 1.0, "load_seconds": 1.0, "program_bytes": 1, "peak_bytes": 1}


def _instances() -> PredictedInstances:
    """Two full boxes of two classes, and one of the first class again."""
    boxes = np.asarray([[1, 1, 5, 5], [4, 2, 9, 7], [0, 0, 2, 2]], np.float32)
    masks = PredictedMasks(np.full((3, 7, 7), 50, np.float32), boxes, (8, 10))
    scores = np.asarray([0.9, 0.8, 0.7], np.float32)
    return PredictedInstances(
        boxes, scores, np.asarray([0, 1, 0]), ("circle", "square", "circle"), masks, masks
    )


def _result(instances: PredictedInstances) -> dict[str, Any]:
    runs = []
    for mask in instances.masks.boolean():
        changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
        runs.append(np.diff(changes, prepend=0, append=mask.size))
    return {
        "boxes": instances.boxes.copy(),
        "scores": instances.scores.copy(),
        "classes": instances.classes.copy(),
        "runs": runs,
    }


def test_what_an_export_gives_in_another_order_is_equal() -> None:
    other = _result(_instances()[[2, 1, 0]])
    found = list(differences(_instances(), other))
    assert len(found) == 9
    assert all(value == 0 for _, _, value in found)


def _empty_mask(found: dict[str, Any]) -> None:
    found["runs"][0] = np.asarray([80])


def _without_last(found: dict[str, Any]) -> None:
    for name, values in found.items():
        found[name] = values[:-1]


def _another_class(found: dict[str, Any]) -> None:
    found["classes"][1] = 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["boxes"].__setitem__((1, 2), 9.06), r"object 1 \(square 0.80\): box 0.06"),
        (lambda x: x["scores"].__setitem__(0, 0.898), r"object 0 \(circle 0.90\): score 0.002"),
        (_empty_mask, r"photo 0, object 0 \(circle 0.90\): mask 1 \(at most 0.001\)"),
        (_without_last, r"object 2 \(circle 0.70\): box inf"),
        (_another_class, r"object 1 \(square 0.80\): box inf.*\n.*object 1 of the export, which"),
    ],
    ids=["box", "score", "mask", "missing", "class"],
)
def test_a_difference_is_told_with_its_place(
    change: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _result(_instances())
    change(found)
    monkeypatch.setattr(gate, "_run", lambda *given: ([found], {_PROGRAM: [0]}, _MEASURED))
    with pytest.raises(ValueError, match=message):
        check_export(Path("a.zip"), lambda photo: _instances(), PHOTOS)


def test_one_pixel_of_another_class_in_a_thousand_is_let_through_and_two_are_not() -> None:
    labels = np.zeros((40, 50), np.uint8)
    for number, allowed in ((2, True), (3, False)):
        other = labels.copy()
        other.ravel()[:number] = 1
        ((_, kind, value),) = differences(PredictedLabels(labels, labels, NAMES), {"labels": other})
        assert (value <= gate.LIMITS[kind]) == allowed


def test_what_may_differ_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _result(_instances())
    found["scores"][0] -= 0.3
    _without_last(found)
    monkeypatch.setattr(gate, "_run", lambda *given: ([found], {_PROGRAM: [0]}, _MEASURED))
    measured = check_export(Path("a.zip"), lambda photo: _instances(), PHOTOS, within_limits=False)
    assert measured.unmatched == 1
    assert measured.differences["score"] == pytest.approx(0.3)
    assert measured.means == pytest.approx({"mask": 0.0, "score": 0.15, "box": 0.0})


def test_what_an_export_without_objects_differs_in_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = _result(_instances()[:0])
    monkeypatch.setattr(gate, "_run", lambda *given: ([found], {_PROGRAM: [0]}, _MEASURED))
    measured = check_export(Path("a.zip"), lambda photo: _instances(), PHOTOS, within_limits=False)
    assert measured.unmatched == 3
    assert measured.differences == measured.means == {"mask": None, "score": None, "box": None}
    manifest = {"programs": [], "weights": "float16"}
    table = list(make._table(make._report(Path("a.zip"), measured, 1, manifest, None, {})))
    assert [line.split()[-3:] for line in table[2:5]] == [["-"] * 3] * 3


@pytest.mark.parametrize(("name", "value"), [("boxes", np.nan), ("scores", np.inf)])
def test_numbers_that_are_none_are_refused_whatever_may_differ(
    name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _result(_instances())
    found[name][1] = value
    monkeypatch.setattr(gate, "_run", lambda *given: ([found], {_PROGRAM: [0]}, _MEASURED))
    with pytest.raises(ValueError, match="photo 0: boxes or scores of the export are NaN or inf"):
        check_export(Path("a.zip"), lambda photo: _instances(), PHOTOS, within_limits=False)


def test_a_label_map_of_another_shape_is_refused_whatever_may_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = PredictedLabels(np.zeros((8, 10), np.uint8), np.zeros((8, 10), np.uint8), NAMES)
    found = {"labels": np.zeros((10, 8), np.uint8)}
    monkeypatch.setattr(gate, "_run", lambda *given: ([found], {_PROGRAM: [0]}, _MEASURED))
    with pytest.raises(
        ValueError, match=r"photo 0: .* \[10, 8\] and that of predict\(\) \[8, 10\]"
    ):
        check_export(Path("a.zip"), lambda photo: labels, PHOTOS, within_limits=False)


def test_a_program_that_took_no_photo_was_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = {_PROGRAM: [0], "programs/cpu_96x64_of_8x10.jax": []}
    monkeypatch.setattr(gate, "_run", lambda *given: ([_result(_instances())], ran, _MEASURED))
    with pytest.raises(ValueError, match=r"no photo went to programs/cpu_96x64_of_8x10\.jax, so"):
        check_export(Path("a.zip"), lambda photo: _instances(), PHOTOS)


def test_photos_without_an_object_are_no_test() -> None:
    with pytest.raises(ValueError, match=r"finds nothing on the 1 photos .* --photos"):
        check_export(Path("a.zip"), lambda photo: _instances()[:0], PHOTOS)


def _export(file: Path, options: ExportOptions, photo: np.ndarray = PHOTO) -> None:
    config: Any = predictor_config()
    model = ExportedModel(build_task(config), {}, config, NAMES, ())
    export_model(file, model, lambda photo: _instances(), [photo], options, lambda photo: None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jax", ExportOptions(), "must end in .zip"),
        ("there.zip", ExportOptions(), "there.zip is there already"),
        ("a.zip", ExportOptions(platforms=("cpu", "rocm")), "some of cpu, cuda, tpu, got 'cpu, r"),
        ("a.zip", ExportOptions(platforms=("tpu",)), "must have cpu, that of this machine"),
        ("a.zip", ExportOptions(canvases=[(64, 90)]), "positive multiples of 32"),
        ("a.zip", ExportOptions(largest=[(20000, 10)]), "sides of 1 to 16384 pixels, got 20000x10"),
        (
            "a.zip",
            ExportOptions(largest=[(7, 20), (20, 7)]),
            r"photo 0 has 8 x 10 .* up to \[\(7, 20\), .*--larg",
        ),
        ("a.onnx", ExportOptions(format="onnx"), "label maps alone: .*NMS.* without --format onnx"),
        ("a.zip", ExportOptions(format="onnx"), "must end in .onnx"),
        ("a.onnx", ExportOptions(), "must end in .zip"),
        (
            "a.onnx",
            ExportOptions(format="onnx", weights="float16"),
            "of an ONNX export are float32",
        ),
        ("a.tflite", ExportOptions(format="tflite"), "must be jax or onnx, got 'tflite'"),
        ("a.zip", ExportOptions(canvases=[(64, 64)]), r"is resized to 64 x 80, .*--canvas"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_an_option_that_does_not_fit_is_refused_before_long_work(
    name: str, options: ExportOptions, message: str, tmp_path: Path
) -> None:
    (tmp_path / "there.zip").write_text("something")
    with pytest.raises(ValueError, match=message):
        _export(tmp_path / name, options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.zip"]


def test_nothing_is_left_of_an_export_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(file: Path, *arguments: Any) -> dict[str, Any]:
        file.write_text("programs")
        written.append(file)
        return {"programs": [], "weights": "float32"}

    def check(file: Path, *arguments: Any, **how: Any) -> Gate:
        assert file.read_text() == "programs"
        raise ValueError("it differs")

    monkeypatch.setattr(make, "write_artefact", write)
    monkeypatch.setattr(make, "check_export", check)
    with pytest.raises(ValueError, match="it differs"):
        _export(tmp_path / "a.zip", ExportOptions())
    assert written
    assert not list(tmp_path.iterdir())
