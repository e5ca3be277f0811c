"""Whole exports, of instances and of label maps, of which the gate is a part; and the command."""

import hashlib
import importlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax import export
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.export import gate, runtime
from pointrend_jax.export.artefact import ExportedModel, read_artefact, write_artefact
from pointrend_jax.export.gate import LIMITS
from pointrend_jax.export.program import PLATFORMS
from pointrend_jax.export.reader import Exported, mask_of
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.load import load, model_config
from pointrend_jax.tasks.build import build_task
from tests.shared import REPOSITORY
from tests.tiny import tiny_semantic_config, tiny_variables
from tests.tiny_predictor import NAMES, predictor_config, random_images, spread_variables


@pytest.fixture(scope="module", autouse=True)
def kept_programs() -> Iterator[None]:
    """The gate's process keeps what it compiles where this one does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".cache" / "jax"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        # Once for the results and once for the time.
        patch.setattr(gate, "_ROUNDS", 1)
        yield


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(spread_variables(), predictor_config(), NAMES, (7, 8, 9))


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compared on an image that is made smaller and one that is made larger."""
    file = tmp_path_factory.mktemp("export") / "tiny.zip"
    photos = [random_images()[i] for i in (2, 4)]
    predictor.export(file, photos=photos, largest=[(130, 200)], canvases=[(64, 96)])
    return file


def test_an_export_is_kept_with_a_report_of_what_it_was_compared_on(exported: Path) -> None:
    report = json.loads(exported.with_suffix(".report.json").read_text())
    assert {path.name for path in exported.parent.iterdir()} == {"tiny.zip", "tiny.report.json"}
    assert report["photos"] == 2
    assert report["objects"] > 3
    assert set(report["differences"]) == {"mask", "score", "box"}
    assert all(value <= LIMITS[kind] for kind, value in report["differences"].items())
    assert report["bytes"] == exported.stat().st_size
    for name in ("seconds", "predict_seconds", "program_bytes", "peak_bytes", "load_seconds"):
        assert report[name] > 0


def test_there_is_a_program_for_each_platform_and_weights_are_in_none(exported: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        manifest = _manifest(exported)
        assert [p["platform"] for p in manifest["programs"]] == list(PLATFORMS)
        weights = archive.getinfo("weights.safetensors").file_size
        for program in manifest["programs"]:
            content = archive.read(program["file"])
            assert len(content) < weights / 10
            assert export.deserialize(bytearray(content)).platforms == (program["platform"],)
    assert manifest["jax"] == jax.__version__
    assert manifest["class_names"] == list(NAMES)


def test_an_export_is_loaded_like_a_checkpoint(exported: Path, predictor: Predictor) -> None:
    loaded = load(exported)
    assert isinstance(loaded, Predictor)
    assert model_config(exported).task == "instance"
    assert (loaded.class_names, loaded.category_ids) == (NAMES, (7, 8, 9))
    ours, theirs = (x._model.variables for x in (loaded, predictor))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_an_export_of_an_export_is_the_same_model(exported: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    report = load(exported).export(
        again,
        photos=random_images()[2:3],
        largest=[(130, 200)],
        canvases=[(64, 96)],
        platforms=["cpu"],
    )
    assert report["differences"] == {"mask": 0, "score": 0, "box": 0}
    digests = [_manifest(file)["sha256"] for file in (exported, again)]
    assert digests[0].items() >= {(n, digests[1][n]) for n in ("model.json", "weights.safetensors")}


def _manifest(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read("manifest.json"))


def test_masks_that_have_no_slot_left_are_those_of_predict(exported: Path) -> None:
    """Boxes as large as the image: masks of noise change more often there than there are slots."""
    variables, photo = spread_variables(), random_images()[2]
    deltas = variables["params"]["box_head"]["deltas"]
    deltas["bias"] = jax.device_put(
        np.tile(np.asarray([0, 0, 10, 10], np.float32), len(deltas["bias"]) // 4)
    )
    model = Exported(exported)
    assert "params/box_head/deltas/bias" in model.weights
    model.weights["params/box_head/deltas/bias"] = deltas["bias"]
    (program,), found = model.programs, {}
    run = program["run"]

    def kept(*arguments: Any) -> dict[str, Any]:
        found.update(run(*arguments))
        return found

    program["run"] = kept
    theirs = [mask_of(runs, *photo.shape[:2]) for runs in model(photo)["runs"]]
    assert found["ends"][0] < len(found["positions"]) < found["ends"][-1]
    predicted = Predictor(variables, predictor_config(), NAMES).predict(photo)
    np.testing.assert_array_equal(theirs, predicted.masks.boolean())


def test_an_export_is_compared_in_this_process_where_another_cannot_have_the_device(
    exported: Path, predictor: Predictor
) -> None:
    compared = gate.check_export(
        exported, predictor.predict, {"noise": random_images()[2]}, in_this_process=True
    )
    assert compared.objects > 3
    assert compared.differences == {"mask": 0, "score": 0, "box": 0}
    assert [program["photos"] for program in compared.compared] == [["noise"]]


def test_an_export_whose_program_is_broken_does_not_pass(
    exported: Path, predictor: Predictor, tmp_path: Path
) -> None:
    manifest = _manifest(exported)
    name = manifest["programs"][0]["file"]
    manifest["sha256"][name] = hashlib.sha256(b"no program").hexdigest()
    with zipfile.ZipFile(exported) as archive, zipfile.ZipFile(tmp_path / "a.zip", "w") as other:
        for part in manifest["sha256"]:
            other.writestr(part, b"no program" if part == name else archive.read(part))
        other.writestr("manifest.json", json.dumps(manifest))
    photos = {"photo 0": random_images()[4]}
    with pytest.raises(ValueError, match=r"does not run by its reader, so it was not kept:\n .*"):
        gate.check_export(tmp_path / "a.zip", predictor.predict, photos)


# Of what is installed here; jax's own requirements, and what reads its programs.
_NEEDED = ("jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers")


def test_the_reader_of_the_document_runs_where_nothing_but_jax_and_flatbuffers_is(
    exported: Path, predictor: Predictor, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in _NEEDED:
        installed = Path(str(importlib.import_module(name).__file__)).parent
        # Beside numpy and scipy lie shared libraries of theirs.
        for folder in installed.parent.glob(f"{name}*"):
            if folder.name in (name, f"{name}.libs"):
                (bare / folder.name).symlink_to(folder)
    text = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
    reader = text.partition("```python\n")[2].partition("```")[0]
    photo = random_images()[2]
    np.save(tmp_path / "photo.npy", photo)
    code = f"""
import sys
sys.path.append({str(bare)!r})
{reader}
found = Exported({str(exported)!r})(np.load({str(tmp_path / "photo.npy")!r}))
mask = mask_of(found["runs"][0], 128, 192)
np.savez({str(tmp_path / "found.npz")!r}, boxes=found["boxes"], mask=mask)
"""
    # -S adds no packages of this environment, and -I none of the environment's variables.
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = predictor.predict(photo)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["boxes"], ours.boxes)
        np.testing.assert_array_equal(found["mask"], ours.masks.boolean(0))


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
    config.data.buckets = ((64, 96), (96, 64))
    predictor = SemanticPredictor(
        tiny_variables(build_task(config)), config.lock(), ("sky", "road", "car")
    )
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 255, (*hw, 3), np.uint8) for hw in ((70, 100), (7, 9))]
    report = predictor.export(tmp_path / "maps.zip", photos=photos, largest=[(80, 110)])
    assert set(report["differences"]) == {"labels"}
    assert report["objects"] == 0
    assert report["programs"] == 6
    # No photo goes to the second; one is made of the first.
    landscape, portrait = report["compared"]
    assert landscape["file"] == "programs/cpu_64x96_of_80x110.jax"
    assert landscape["photos"] == ["photo 0", "photo 1"]
    assert portrait["file"] == "programs/cpu_96x64_of_80x110.jax"
    assert portrait["photos"] == ["a part of photo 0, 70 x 69 pixels"]
    assert len(np.unique(predictor.predict(photos[0]).labels)) > 1


def test_weights_of_half_the_bits_report_what_they_cost(
    exported: Path, predictor: Predictor, tmp_path: Path
) -> None:
    file = tmp_path / "half.zip"
    report = predictor.export(
        file, photos=random_images()[2:3], largest=[(130, 200)], canvases=[(64, 96)],
        platforms=["cpu"], weights="bfloat16",
    )  # fmt: skip
    assert report["limits"] == {}
    assert 0 < report["means"]["score"] < 0.05
    assert 0 < report["means"]["mask"] <= report["differences"]["mask"]
    assert report["unmatched"] < report["objects"]
    assert report["weights"] == "bfloat16"
    with zipfile.ZipFile(file) as half, zipfile.ZipFile(exported) as whole:
        sizes = [x.getinfo("weights.safetensors").file_size for x in (half, whole)]
    assert 0.5 * sizes[1] < sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize(("weights", "error"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_weights_of_half_the_bits_are_loaded_as_float32(
    weights: str, error: float, predictor: Predictor, tmp_path: Path
) -> None:
    file, model = tmp_path / "half.zip", predictor._model
    whole = ExportedModel(model.task, model.variables, model.config, NAMES, ())
    write_artefact(file, whole, [], [], weights)
    read, meta = read_artefact(file)
    assert meta.class_names == NAMES

    def alike(ours: np.ndarray, theirs: np.ndarray) -> None:
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=error, atol=1e-7)

    jax.tree.map(alike, read, model.variables)


def test_weights_that_a_type_does_not_hold_are_refused(
    predictor: Predictor, tmp_path: Path
) -> None:
    variables = spread_variables()
    variables["params"]["fpn"]["lateral2"]["bias"] += 1e5
    large = Predictor(variables, predictor_config(), NAMES)
    with pytest.raises(ValueError, match=r"lateral2/bias has values of up to 1e\+05, .* bfloat16"):
        large.export(
            tmp_path / "a.zip", photos=random_images()[2:3], platforms=["cpu"], weights="float16"
        )
    with pytest.raises(ValueError, match="--weights must be one of float32, float16, bfloat16"):
        large.export(
            tmp_path / "a.zip", photos=random_images()[2:3], platforms=["cpu"], weights="int8"
        )


def test_a_model_whose_images_are_not_there_asks_for_photos(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"cannot be had; .*--photos FOLDER .*data/coco"):
        predictor.export("a.zip", platforms=["cpu"])


def test_a_file_that_cannot_be_written_is_told_before_images_or_a_model_are_looked_for(
    predictor: Predictor,
) -> None:
    with pytest.raises(ValueError, match=r"a\.jax must end in \.zip"):
        predictor.export("a.jax", platforms=["cpu"])
    with pytest.raises(ValueError, match=r"a\.jax must end in \.zip"):
        main(["export", "--checkpoint", "absent", "--output", "a.jax"])


def test_the_command_exports_with_the_photos_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (20, 10)).save(tmp_path / f"{name}.png")
    given: dict[str, Any] = {}

    class Loaded:
        def export(self, file: Path, **options: Any) -> None:
            given.update(options, file=file)

    monkeypatch.setattr("pointrend_jax.predict.load.load", lambda source: Loaded())
    flags = ["--photos", str(tmp_path), "--num-photos", "2", "--platforms", "cpu,tpu"]
    flags += ["--weights", "float16"]
    sizes = ["--largest", "30x40", "--largest", "50x60", "--canvas", "32x64"]
    main(["export", "--checkpoint", "a", "--output", "a.zip", *flags, *sizes])
    assert [photo.shape for photo in given.pop("photos")] == [(10, 20, 3)] * 2
    assert given == {
        "file": Path("a.zip"),
        "num_photos": 2,
        "largest": [(30, 40), (50, 60)],
        "canvases": [(32, 64)],
        "platforms": ("cpu", "tpu"),
        "weights": "float16",
        "format": "jax",
    }


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
