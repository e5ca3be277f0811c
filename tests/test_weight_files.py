"""A file of weights is read as a model: every array, or in words what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import save_variables
from pointrend_jax.training.trees import nested
from pointrend_jax.weights import (
    import_file,
    load_weights,
)
from pointrend_jax.weights_report import describe_weights
from tests.tiny_weights import (
    model_arrays,
    task_of_classes,
    weights_config,
    write_model,
    write_pickle,
)


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    return write_model(tmp_path)


def test_a_detectron2_file_gives_back_every_array(model_file: str) -> None:
    weights = import_file(model_file, weights_config(), task_of_classes())
    assert weights.scheme == "detectron2"
    assert weights.arrays.keys() == model_arrays().keys()
    for path, array in weights.arrays.items():
        np.testing.assert_array_equal(array, model_arrays()[path], err_msg=path)


def test_load_weights_names_the_classes(model_file: str) -> None:
    variables, names = load_weights(model_file, weights_config())
    assert names == ("class 0", "class 1", "class 2")
    np.testing.assert_array_equal(
        variables["params"]["rpn"]["conv"]["kernel"], model_arrays()["params/rpn/conv/kernel"]
    )


def test_a_file_with_its_config_is_a_predictor(model_file: str) -> None:
    predictor = load(model_file, weights_config())
    assert isinstance(predictor, Predictor)
    assert predictor.class_names == ("class 0", "class 1", "class 2")
    assert predictor.config.is_locked
    with pytest.raises(ValueError, match="num_classes is 5"):
        load(model_file, weights_config(num_classes=5))


def test_extra_tensors_are_refused_unless_named(tmp_path: Path) -> None:
    tensors = export_detectron2(model_arrays()) | {"teacher.weight": np.zeros(3, np.float32)}
    path, config = write_pickle(tmp_path / "model.pkl", tensors), weights_config()
    with pytest.raises(ValueError, match=r"extra: teacher\.weight.*\n.*init\.ignore"):
        import_file(path, config, task_of_classes())
    config.init.ignore = ("teacher.",)
    assert import_file(path, config, task_of_classes()).report.unused == ("teacher.weight",)


def test_pixel_statistics_of_a_file_must_be_those_of_the_backbone(tmp_path: Path) -> None:
    tensors = export_detectron2(model_arrays())
    msra = np.array([103.53, 116.28, 123.675], np.float32).reshape(3, 1, 1)
    fitting = write_pickle(tmp_path / "fitting.pkl", tensors | {"pixel_mean": msra})
    weights = import_file(fitting, weights_config(), task_of_classes())
    assert weights.not_needed == ("pixel_mean", "__author__")
    assert "not needed: pixel_mean, __author__" in describe_weights(weights)
    other = write_pickle(tmp_path / "other.pkl", tensors | {"pixel_mean": msra[::-1]})
    with pytest.raises(ValueError, match=r"its pixel_mean is \[123"):
        import_file(other, weights_config(), task_of_classes())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model._orig_mod.module.", "ema."])
def test_what_all_names_begin_with_is_taken_off_and_said(prefix: str, tmp_path: Path) -> None:
    tensors = {prefix + name: tensor for name, tensor in export_detectron2(model_arrays()).items()}
    pixels = {f"{prefix}pixel_mean": np.zeros(3, np.float32)}
    path = write_pickle(tmp_path / "model.pkl", tensors | {"n_averaged": np.zeros((), np.int64)})
    weights = import_file(path, weights_config(), task_of_classes())
    np.testing.assert_array_equal(
        weights.arrays["params/rpn/conv/kernel"], model_arrays()["params/rpn/conv/kernel"]
    )
    assert f"all names began with {prefix!r}" in describe_weights(weights)
    with pytest.raises(ValueError, match="its pixel_mean is"):
        import_file(
            write_pickle(tmp_path / "other.pkl", tensors | pixels),
            weights_config(),
            task_of_classes(),
        )


def test_a_file_of_two_models_needs_to_know_which(tmp_path: Path) -> None:
    one = export_detectron2(model_arrays())
    both = {f"{p}.{name}": t for p in ("student", "teacher") for name, t in one.items()}
    path, config = write_pickle(tmp_path / "model.pkl", both), weights_config()
    with pytest.raises(ValueError, match=r"behind 'student\.'.*'teacher\.'.*init\.ignore"):
        import_file(path, config, task_of_classes())
    config.init.ignore = ("student.",)
    assert import_file(path, config, task_of_classes()).wrapper == "teacher."


def test_values_of_a_diverged_training_are_refused_from_files_and_checkpoints(
    tmp_path: Path,
) -> None:
    path = "params/box_head/classifier/bias"
    arrays = model_arrays() | {path: np.full_like(model_arrays()[path], np.nan)}
    file = write_pickle(tmp_path / "model.pkl", export_detectron2(arrays))
    with pytest.raises(ValueError, match=r"cls_score\.bias has 4 of 4 values that are NaN"):
        load(file, weights_config())
    meta = CheckpointMeta(weights_config().to_dict(), ("a", "b", "c"))
    save_variables(tmp_path / "run", nested(arrays), meta)
    with pytest.raises(ValueError, match=r"1 of \d+ arrays .*box_head/classifier/bias.*diverged"):
        load(tmp_path / "run")
