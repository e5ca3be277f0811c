"""A converted checkpoint is a model like any other, and goes to a safetensors file and back."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from pointrend_jax.convert import convert, export
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.importers.safetensors_file import write_safetensors
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load, model_config
from pointrend_jax.training.checkpoints import CheckpointMeta, Checkpoints, Retention
from pointrend_jax.training.saved_variables import load_variables, save_variables
from pointrend_jax.training.step import TrainState
from pointrend_jax.training.trees import array_shapes, flat
from pointrend_jax.weights import (
    import_file,
    starting_weights,
)
from tests.tiny import NUM_CLASSES
from tests.tiny_weights import (
    PREDICTORS,
    model_arrays,
    task_of_classes,
    weights_config,
    write_model,
    write_pickle,
)


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    return write_model(tmp_path)


def test_a_converted_checkpoint_predicts_and_starts_other_runs(
    model_file: str, tmp_path: Path
) -> None:
    output = tmp_path / "checkpoint"
    convert(model_file, weights_config(), output)
    variables, meta, step = load_variables(output)
    assert step == 0
    assert meta.class_names == ("class 0", "class 1", "class 2")
    for path, array in flat(variables).items():
        np.testing.assert_array_equal(array, model_arrays()[path], err_msg=path)
    weights = starting_weights(
        weights_config(str(output), PREDICTORS, num_classes=5), task_of_classes(5)
    )
    assert weights is not None
    assert len(weights.report.reset) == 14
    with pytest.raises(ValueError, match="already"):
        convert(model_file, weights_config(), output)


def test_a_checkpoint_goes_to_a_safetensors_file_and_back_to_the_last_bit(
    model_file: str, tmp_path: Path
) -> None:
    config = weights_config()
    config.data.class_names = ("ant", "bee", "cow")
    convert(model_file, config, tmp_path / "checkpoint")
    file = tmp_path / "model.safetensors"
    assert export(tmp_path / "checkpoint", file) == len(model_arrays())
    # For readers of torch's layout: Detectron2's names, (out, in, height, width).
    stem = load_file(file)["backbone.bottom_up.stem.conv1.weight"]
    assert stem.shape == (64, 3, 7, 7)
    ours = model_arrays()["params/backbone/stem/conv/kernel"]
    np.testing.assert_array_equal(stem[5, 2], ours[:, :, 2, 5])
    # By itself, it says what model it is.
    loaded = load(file, {"model.box.score_threshold": 0.25})
    assert loaded.class_names == ("ant", "bee", "cow")
    assert loaded.config.model.box.score_threshold == 0.25
    assert model_config(file).task == "instance"
    # As any other file of these tensors.
    again = import_file(file, weights_config(), task_of_classes()).arrays
    assert again.keys() == model_arrays().keys()
    for path, array in again.items():
        np.testing.assert_array_equal(array, model_arrays()[path], err_msg=path)


def test_a_safetensors_file_of_others_needs_a_config(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, export_detectron2(model_arrays()), {"format": "pt"})
    for of in (load, model_config):
        with pytest.raises(ValueError, match=r"model\.safetensors does not say .*load\(file, conf"):
            of(file)
    assert load(file, weights_config()).class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("text", ["{", "3", "[]", "{}", '{"config": 3, "class_names": []}'])
def test_a_description_that_cannot_be_one_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, export_detectron2(model_arrays()), {"pointrend_jax": text})
    with pytest.raises(ValueError, match=r"model\.safetensors: its description cannot be read"):
        load(file)


def test_an_export_replaces_nothing_and_is_called_what_it_is(
    model_file: str, tmp_path: Path
) -> None:
    convert(model_file, weights_config(), tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        export(tmp_path / "checkpoint", tmp_path / "model.pth")
    (tmp_path / "model.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match="is there already"):
        export(tmp_path / "checkpoint", tmp_path / "model.safetensors")


def test_a_converted_checkpoint_is_no_run_to_resume(model_file: str, tmp_path: Path) -> None:
    convert(model_file, weights_config(), tmp_path / "checkpoint")
    state = TrainState(np.zeros(()), {}, {}, {}, {})
    with (
        Checkpoints(tmp_path / "checkpoint", Retention(1)) as checkpoints,
        pytest.raises(ValueError, match=r"converted weights.*--config\.init\.weights"),
    ):
        checkpoints.restore_newest(state)


def test_the_card_says_what_was_converted(model_file: str, tmp_path: Path) -> None:
    weights = convert(model_file, weights_config(), tmp_path / "checkpoint")
    card = json.loads((tmp_path / "checkpoint" / "model_card.json").read_text())
    assert card["sha256"] == weights.sha256
    assert len(card["sha256"]) == 64
    assert card["config"]["num_classes"] == NUM_CLASSES
    assert len(card["tensors"]["loaded"]) == len(model_arrays())
    assert card["parameters"] == sum(a.size for p, a in model_arrays().items() if "params" in p)


def test_a_failed_conversion_leaves_nothing(model_file: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_classes is 5"):
        convert(model_file, weights_config(num_classes=5), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "checkpoints").exists()


def test_published_models_keep_the_category_ids_of_their_set(tmp_path: Path) -> None:
    config = weights_config(num_classes=8)
    config.data.categories = "cityscapes"
    shapes = array_shapes(task_of_classes(8).shapes())
    zeros = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
    convert(write_pickle(tmp_path / "m.pkl", export_detectron2(zeros)), config, tmp_path / "out")
    _, meta, _ = load_variables(tmp_path / "out")
    assert meta.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    loaded = load(tmp_path / "out")
    assert isinstance(loaded, Predictor)
    assert loaded.category_ids == meta.category_ids


def test_a_checkpoint_loads_on_this_device_wherever_it_was_saved(tmp_path: Path) -> None:
    elsewhere = jax.device_put(np.ones((2, 3), np.float32), jax.devices()[1])
    variables = {"params": {"conv": {"kernel": elsewhere}}, "buffers": {}}
    save_variables(tmp_path, variables, CheckpointMeta({}, ("a",)))
    loaded, _, _ = load_variables(tmp_path)
    kernel = loaded["params"]["conv"]["kernel"]
    assert kernel.devices() == {jax.local_devices()[0]}
    np.testing.assert_array_equal(kernel, elsewhere)
