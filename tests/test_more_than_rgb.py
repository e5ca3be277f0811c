"""The files of docs/more_than_rgb.md as they stand there, on a smaller set and network."""

import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest
import rasterio

from pointrend_jax.config import load_config
from pointrend_jax.config_rules import check_config
from pointrend_jax.data.build_label_maps import build_semantic_datasets
from pointrend_jax.predict.inputs import check_files
from pointrend_jax.predict.label_files import predict_labels_in_tiles
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.sources import find_images
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.trees import array_shapes
from tests.shared import REPOSITORY
from tests.tiny import tiny_config, tiny_semantic_config, tiny_variables

_TEXT = (REPOSITORY / "docs" / "more_than_rgb.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", _TEXT, re.S))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """That of the document, with the tiny network, and its set with few images."""
    for name, source in FILES.items():
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import_module("draw_fields").write_set(tmp_path, {"train": 2, "val": 1}, (64, 128))
    config = load_config(tmp_path / "fields.py")
    check_config(config, to_train=True)
    config = config.copy_and_resolve_references().unlock()
    config.model = tiny_semantic_config().model
    config.init.weights, config.data.cache_dir = "", str(tmp_path / "cache")
    yield config
    sys.modules.pop("draw_fields", None)


def test_the_document_trains_and_predicts_a_scene_in_place(config: Config, tmp_path: Path) -> None:
    task = build_task(config)
    batch = next(build_semantic_datasets(config).train_batches(0, 1))
    variables = tiny_variables(task)
    losses, _ = jax.eval_shape(task.loss, variables, batch, jax.random.key(0))
    assert losses
    kernel = variables["params"]["backbone"]["stem"]["conv"]["kernel"]
    assert kernel.shape == (7, 7, 4, 64)

    formats = ("overlay", "geojson")
    predictor = SemanticPredictor(variables, config, ("soil", "crop"))
    images = find_images(["scene.tif"], tmp_path / "out")
    files = check_files(
        images, tmp_path / "out", formats=formats, task="semantic",
        pixels=predictor.pixel_format, tiled=True,
    )  # fmt: skip
    predict_labels_in_tiles(predictor, files, tmp_path / "out", formats=formats, tile=64, overlap=0)
    with rasterio.open("scene.tif") as scene, rasterio.open("out/scene_labels.tif") as labels:
        assert (labels.crs, labels.transform) == (scene.crs, scene.transform)
        assert labels.shape == (64, 128)
    assert json.loads((tmp_path / "out" / "scene.geojson").read_text())["features"]
    # An array and a file of it give the same, as those of photos do.
    crop = rasterio.open("scene.tif").read(window=((0, 64), (0, 64)))
    array = np.ascontiguousarray(np.moveaxis(crop, 0, 2))
    tile = predictor.predict_tiles(array, tile=64, overlap=0)
    np.testing.assert_array_equal(tile, rasterio.open("out/scene_labels.tif").read(1)[:64, :64])
    with pytest.raises(ValueError, match=r"the image must be a uint16 .* got uint8 \(64, 64, 3\)"):
        predictor.predict(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="an export takes photos"):
        predictor.export("scene.zip")


def test_networks_of_instances_take_any_channels() -> None:
    config = tiny_config()
    config.data.channels, config.data.dtype, config.data.value_range = 13, "float32", (0.0, 1.0)
    shapes = array_shapes(build_task(config).shapes())
    assert shapes["params/backbone/stem/conv/kernel"] == (7, 7, 13, 64)
