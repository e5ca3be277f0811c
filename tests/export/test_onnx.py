"""Exports as ONNX, compared in onnxruntime; and rendering alone, as jax2onnx converts it."""

import dataclasses
import json
import runpy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun

from pointrend_jax.export import gate
from pointrend_jax.export.make import READERS
from pointrend_jax.export.onnx import NEEDED, check_onnx
from pointrend_jax.ops.points import point_sample
from pointrend_jax.pointrend import PointMLP, multiclass_uncertainty, point_features, render
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.tasks.build import build_task
from tests import quick_parts
from tests.shared import REPOSITORY
from tests.tiny import quick_semantic_config, tiny_variables

_MISSING = [name for name in NEEDED if find_spec(name) is None]
needs_packages = pytest.mark.skipif(
    bool(_MISSING), reason=f"needs {', '.join(_MISSING)}, which the pins exclude (docs/export.md)"
)

# It changes functions of other packages while it converts, and onnxruntime's shapes warn.
pytestmark = pytest.mark.filterwarnings("ignore")


def _photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (70, 100, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor() -> SemanticPredictor:
    assert quick_parts  # registers the parts of the configuration
    config = quick_semantic_config()
    config.data.eval_min_size, config.data.max_size = 64, 128
    config.data.buckets = ((64, 96),)
    variables = tiny_variables(build_task(config))
    return SemanticPredictor(variables, config.lock(), ("sky", "road", "car"))


@pytest.fixture(scope="module")
def exported(predictor: SemanticPredictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compared on an image that is made smaller, and on one of the network's own size."""
    file = tmp_path_factory.mktemp("onnx") / "maps.onnx"
    photos = [_photo(), np.ascontiguousarray(_photo()[:64, :96])]
    predictor.export(file, format="onnx", photos=photos, largest=[(80, 110)])
    return file


@needs_packages
def test_label_maps_of_onnxruntime_are_those_of_predict(exported: Path) -> None:
    report = json.loads(exported.with_suffix(".report.json").read_text())
    assert {path.name for path in exported.parent.iterdir()} == {"maps.onnx", "maps.report.json"}
    assert report["differences"]["labels"] <= gate.LIMITS["labels"]
    assert [program["photos"] for program in report["compared"]] == [["photo 0", "photo 1"]]
    assert report["bytes"] == exported.stat().st_size


def test_the_onnx_reader_of_the_document_is_the_one_that_the_gate_runs() -> None:
    text = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"```python\n{Path(READERS['onnx']).read_text(encoding='utf-8')}```" in text


@needs_packages
def test_no_long_constant_of_an_onnx_file_repeats_itself(exported: Path) -> None:
    """As the converter writes zeros of a whole map, or what is one number for each channel."""
    onnx = import_module("onnx")
    graph = onnx.load(exported).graph
    assert any(tensor.name.endswith("_once") for tensor in graph.initializer)
    arrays = map(onnx.numpy_helper.to_array, graph.initializer)
    for array in (array for array in arrays if array.nbytes >= 2**12):
        for axis in range(array.ndim):
            assert array.shape[axis] == 1 or (array != array.take([0], axis)).any()


@needs_packages
def test_the_onnx_reader_gives_labels_and_names_and_refuses_large_images(
    exported: Path, predictor: SemanticPredictor
) -> None:
    model = runpy.run_path(READERS["onnx"])["Exported"](exported)
    assert model.about["class_names"] == ["sky", "road", "car"]
    labels = predictor.predict(_photo()).labels
    assert len(np.unique(labels)) > 1
    assert np.mean(model(_photo())["labels"] != labels) <= gate.LIMITS["labels"]
    for hw, message in (((81, 100), "too small for 81 x 100"), ((40, 100), "small for 40 x 100")):
        with pytest.raises(ValueError, match=message):
            model(np.zeros((*hw, 3), np.uint8))


@needs_packages
def test_an_onnx_export_that_differs_does_not_pass(
    exported: Path, predictor: SemanticPredictor
) -> None:
    def other(photo: np.ndarray) -> PredictedLabels:
        predicted = predictor.predict(photo)
        return dataclasses.replace(predicted, labels=(predicted.labels + 1) % 3)

    with pytest.raises(ValueError, match="photo 0, its label map: labels 1 "):
        gate.check_export(exported, other, {"photo 0": _photo()}, reader_file=READERS["onnx"])


def test_an_onnx_file_has_one_program() -> None:
    with pytest.raises(ValueError, match=r"one program, and these options ask for 2; .*--canvas"):
        check_onnx("semantic", 2)


@pytest.mark.skipif(not _MISSING, reason="the packages are installed")
def test_packages_that_are_missing_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"needs .*jax2onnx.*: pip install 'pointrend_jax\[onnx\]'"
    ):
        check_onnx("semantic", 1)


@needs_packages
def test_rendering_is_the_same_in_onnxruntime(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    jax2onnx, onnxruntime = (import_module(name) for name in ("jax2onnx", "onnxruntime"))
    kernels = [jnp.asarray(normal(19, side) / 4) for side in (16, 16, 3)]
    mlp = PointMLP(kernels, [jnp.zeros(side) for side in (16, 16, 3)], 3, True)
    image = jnp.array([[0.0, 0.0, 96.0, 64.0]])

    def rendered(features: jax.Array, coarse_logits: jax.Array) -> jax.Array:
        def predict_points(coords: jax.Array) -> jax.Array:
            fine = point_features([features], image, jnp.zeros(1, jnp.int32), coords, strides=[4])
            return mlp(fine, point_sample(coarse_logits, coords))

        return render(
            coarse_logits, predict_points, multiclass_uncertainty,
            subdivision_steps=2, subdivision_num_points=200,
        )  # fmt: skip

    given = normal(1, 16, 24, 16), normal(1, 16, 24, 3)
    # Traced first: while it converts, functions of other packages are not their own.
    traced = jax.make_jaxpr(rendered)(*given)
    function = jaxpr_as_fun(traced)
    file = tmp_path / "render.onnx"
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given]
    jax2onnx.to_onnx(lambda *x: function(*x)[0], shapes, return_mode="file", output_path=str(file))
    session = onnxruntime.InferenceSession(str(file))
    named = {own.name: x for own, x in zip(session.get_inputs(), given, strict=True)}
    (theirs,) = session.run(None, named)
    ours = np.asarray(jax.jit(rendered)(*given))
    assert ours.shape == theirs.shape == (1, 64, 96, 3)
    # Rounding may choose another point of two that are equally uncertain.
    assert np.mean(np.abs(ours - theirs) > 1e-4) < 1e-3
