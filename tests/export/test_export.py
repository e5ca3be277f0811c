"""Whole exports: of the tiny run by the command, and of label maps; the gate is part of both."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from pointrend_jax.cli import main
from pointrend_jax.export import runtime
from pointrend_jax.export.gate import LIMITS
from pointrend_jax.export.program import PLATFORMS
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.load import load, task_of
from pointrend_jax.tasks.build import build_task
from tests.shared import REPOSITORY
from tests.tiny import tiny_semantic_config, tiny_variables
from tests.tiny_run import TinyRun


@pytest.fixture(scope="module", autouse=True)
def kept_programs() -> Iterator[None]:
    """The gate's process keeps what it compiles where this one does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".cache" / "jax"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module")
def exported(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "tiny.zip"
    main(
        [
            *("export", "--checkpoint", str(tiny_run.workdir), "--output", str(file)),
            *("--largest", "70x80", "--num-photos", "3"),
        ]
    )
    return file


def test_an_export_is_kept_with_a_report_of_what_it_was_compared_on(exported: Path) -> None:
    report = json.loads(exported.with_suffix(".report.json").read_text())
    assert {path.name for path in exported.parent.iterdir()} == {"tiny.zip", "tiny.report.json"}
    assert report["photos"] == 3
    assert report["objects"] > 3
    assert set(report["differences"]) == {"mask", "score", "box"}
    assert all(value <= LIMITS[kind] for kind, value in report["differences"].items())
    assert report["bytes"] == exported.stat().st_size
    for name in ("seconds", "predict_seconds", "program_bytes", "peak_bytes", "load_seconds"):
        assert report[name] > 0


def test_there_is_a_program_for_each_platform_and_weights_are_in_none(exported: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert [p["platform"] for p in manifest["programs"]] == list(PLATFORMS)
        weights = archive.getinfo("weights.safetensors").file_size
        for program in manifest["programs"]:
            content = archive.read(program["file"])
            assert len(content) < weights / 10
            assert export.deserialize(bytearray(content)).platforms == (program["platform"],)
    assert manifest["jax"] == jax.__version__
    assert manifest["class_names"] == list(load(exported).class_names)


def test_an_export_is_loaded_like_the_run_that_it_is_of(exported: Path, tiny_run: TinyRun) -> None:
    ours, theirs = load(exported), load(tiny_run.workdir)
    assert isinstance(ours, Predictor)
    assert isinstance(theirs, Predictor)
    assert task_of(exported) == "instance"
    assert ours.category_ids == theirs.category_ids
    ours_arrays, theirs_arrays = (x._model.variables for x in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, ours_arrays, theirs_arrays)


@pytest.mark.parametrize("part", ["weights.safetensors", "model.json"])
def test_a_damaged_export_is_not_loaded(part: str, exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported) as archive, zipfile.ZipFile(tmp_path / "a.zip", "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, content.replace(b"e", b"f", 1) if name == part else content)
    with pytest.raises(ValueError, match=rf"a\.zip is no sound export: {part} has another sha256"):
        load(tmp_path / "a.zip")


def test_label_maps_of_an_export_are_those_of_predict(tmp_path: Path) -> None:
    config = tiny_semantic_config()
    config.data.eval_min_size, config.data.max_size = 64, 128
    config.data.buckets = ((64, 96),)
    predictor = SemanticPredictor(
        tiny_variables(build_task(config)), config.lock(), ("sky", "road", "car")
    )
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 255, (*hw, 3), np.uint8) for hw in ((64, 96), (70, 100), (7, 9))]
    report = predictor.export(
        tmp_path / "maps.zip", photos=photos, largest=[(80, 110)], platforms=["cpu"]
    )
    assert set(report["differences"]) == {"labels"}
    assert report["objects"] == 0
    assert len(np.unique(predictor.predict(photos[1]).labels)) > 1


def test_a_model_whose_images_are_not_there_asks_for_photos(tiny_run: TinyRun) -> None:
    moved = {"data.source": "coco", "data.dir": "nowhere"}
    predictor = load(tiny_run.workdir, moved)
    with pytest.raises(ValueError, match=r"cannot be had .*nowhere.*--photos FOLDER"):
        predictor.export("a.zip", platforms=["cpu"])


def test_the_runtime_of_the_gate_imports_nothing_but_jax_and_what_it_needs() -> None:
    code = f"""
import runpy
runpy.run_path({runtime.__file__!r})["hide_other_modules"]()
import jax.export, flatbuffers
for name in ("pointrend_jax", "flax", "PIL", "orbax"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.splitlines() == [
        f"No module named {name!r}" for name in ("pointrend_jax", "flax", "PIL", "orbax")
    ]
