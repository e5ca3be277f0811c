"""Where training and prediction start: files, backbones, checkpoints, resets, and what is said."""

import json
import pickle
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from pointrend_jax.convert import convert, export
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.importers.safetensors_file import write_safetensors
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load, task_of
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.checkpoints import CheckpointMeta, Checkpoints, Retention
from pointrend_jax.training.saved_variables import load_variables, save_variables
from pointrend_jax.training.step import TrainState
from pointrend_jax.training.trees import array_shapes, flat, nested
from pointrend_jax.weights import (
    check_starting_weights,
    describe_weights,
    import_file,
    load_weights,
    starting_variables,
    starting_weights,
)
from tests.tiny import NUM_CLASSES, tiny_config

PREDICTORS = (
    "box_head/classifier",
    "box_head/deltas",
    "mask_head/coarse_head/predictor",
    "mask_head/point_head",
)


@cache
def _task(num_classes: int = NUM_CLASSES) -> Task:
    return build_task(_config(num_classes=num_classes))


def _config(
    weights: str = "", reset: tuple[str, ...] = (), num_classes: int = NUM_CLASSES
) -> Config:
    config = tiny_config()
    config.num_classes = num_classes
    config.init.weights, config.init.reset = weights, reset
    return config


@cache
def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = array_shapes(_task().shapes())
    arrays = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    return {path: np.abs(a) if path.endswith("/var") else a for path, a in arrays.items()}


def _write(path: Path, tensors: dict[str, np.ndarray]) -> str:
    path.write_bytes(pickle.dumps({"model": tensors, "__author__": "a test"}))
    return str(path)


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    return _write(tmp_path / "model.pkl", export_detectron2(_arrays()))


@pytest.fixture
def backbone_file(tmp_path: Path) -> str:
    prefix = "backbone.bottom_up."
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in export_detectron2(_arrays()).items()
        if name.startswith(prefix)
    }
    return _write(tmp_path / "R-18.pkl", tensors)


def test_a_detectron2_file_gives_back_every_array(model_file: str) -> None:
    weights = import_file(model_file, _config(), _task())
    assert weights.scheme == "detectron2"
    assert weights.arrays.keys() == _arrays().keys()
    for path, array in weights.arrays.items():
        np.testing.assert_array_equal(array, _arrays()[path], err_msg=path)


def test_load_weights_names_the_classes(model_file: str) -> None:
    variables, names = load_weights(model_file, _config())
    assert names == ("class 0", "class 1", "class 2")
    np.testing.assert_array_equal(
        variables["params"]["rpn"]["conv"]["kernel"], _arrays()["params/rpn/conv/kernel"]
    )


def test_a_file_with_its_config_is_a_predictor(model_file: str) -> None:
    predictor = load(model_file, _config())
    assert isinstance(predictor, Predictor)
    assert predictor.class_names == ("class 0", "class 1", "class 2")
    assert predictor.config.is_locked
    with pytest.raises(ValueError, match="num_classes is 5"):
        load(model_file, _config(num_classes=5))


def test_a_backbone_file_starts_training_but_is_no_model(backbone_file: str) -> None:
    weights = starting_weights(_config(backbone_file), _task())
    assert weights is not None
    assert all("/backbone/" in path for path in weights.arrays)
    assert weights.report.left
    assert all(not name.startswith("backbone.bottom_up.") for name in weights.report.left)
    with pytest.raises(ValueError, match=r"R-18\.pkl: it holds a backbone alone"):
        load_weights(backbone_file, _config())


def test_other_classes_start_with_reset_predictors_and_say_so(model_file: str) -> None:
    with pytest.raises(ValueError, match=r"3 classes.*num_classes is 5.*init\.reset"):
        starting_weights(_config(model_file, num_classes=5), _task(5))
    config = _config(model_file, PREDICTORS, num_classes=5)
    variables, weights = starting_variables(config, _task(5))
    assert weights is not None
    arrays = flat(variables)
    assert arrays["params/box_head/classifier/bias"].shape == (6,)
    np.testing.assert_array_equal(
        arrays["params/box_head/fc1/kernel"], _arrays()["params/box_head/fc1/kernel"]
    )
    told = describe_weights(weights)
    assert "reset, so random: 14 arrays of roi_heads.box_predictor.bbox_pred" in told
    assert "model.pkl" in told


def test_a_converted_checkpoint_predicts_and_starts_other_runs(
    model_file: str, tmp_path: Path
) -> None:
    output = tmp_path / "checkpoint"
    convert(model_file, _config(), output)
    variables, meta, step = load_variables(output)
    assert step == 0
    assert meta.class_names == ("class 0", "class 1", "class 2")
    for path, array in flat(variables).items():
        np.testing.assert_array_equal(array, _arrays()[path], err_msg=path)
    weights = starting_weights(_config(str(output), PREDICTORS, num_classes=5), _task(5))
    assert weights is not None
    assert len(weights.report.reset) == 14
    with pytest.raises(ValueError, match="already"):
        convert(model_file, _config(), output)


def test_a_checkpoint_goes_to_a_safetensors_file_and_back_to_the_last_bit(
    model_file: str, tmp_path: Path
) -> None:
    config = _config()
    config.data.class_names = ("ant", "bee", "cow")
    convert(model_file, config, tmp_path / "checkpoint")
    file = tmp_path / "model.safetensors"
    assert export(tmp_path / "checkpoint", file) == len(_arrays())
    # For readers of torch's layout: Detectron2's names, (out, in, height, width).
    stem = load_file(file)["backbone.bottom_up.stem.conv1.weight"]
    assert stem.shape == (64, 3, 7, 7)
    ours = _arrays()["params/backbone/stem/conv/kernel"]
    np.testing.assert_array_equal(stem[5, 2], ours[:, :, 2, 5])
    # By itself, it says what model it is.
    loaded = load(file, {"model.box.score_threshold": 0.25})
    assert loaded.class_names == ("ant", "bee", "cow")
    assert loaded.config.model.box.score_threshold == 0.25
    assert task_of(file) == "instance"
    # As any other file of these tensors.
    again = import_file(file, _config(), _task()).arrays
    assert again.keys() == _arrays().keys()
    for path, array in again.items():
        np.testing.assert_array_equal(array, _arrays()[path], err_msg=path)


def test_a_safetensors_file_of_others_needs_a_config(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, export_detectron2(_arrays()), {"format": "pt"})
    for of in (load, task_of):
        with pytest.raises(ValueError, match=r"model\.safetensors does not say .*load\(file, conf"):
            of(file)
    assert load(file, _config()).class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("text", ["{", "3", "[]", "{}", '{"config": 3, "class_names": []}'])
def test_a_description_that_cannot_be_one_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, export_detectron2(_arrays()), {"pointrend_jax": text})
    with pytest.raises(ValueError, match=r"model\.safetensors: its description cannot be read"):
        load(file)


def test_an_export_replaces_nothing_and_is_called_what_it_is(
    model_file: str, tmp_path: Path
) -> None:
    convert(model_file, _config(), tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        export(tmp_path / "checkpoint", tmp_path / "model.pth")
    (tmp_path / "model.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match="is there already"):
        export(tmp_path / "checkpoint", tmp_path / "model.safetensors")


def test_a_converted_checkpoint_is_no_run_to_resume(model_file: str, tmp_path: Path) -> None:
    convert(model_file, _config(), tmp_path / "checkpoint")
    state = TrainState(np.zeros(()), {}, {}, {}, {})
    with (
        Checkpoints(tmp_path / "checkpoint", Retention(1)) as checkpoints,
        pytest.raises(ValueError, match=r"converted weights.*--config\.init\.weights"),
    ):
        checkpoints.restore_newest(state)


def test_the_card_says_what_was_converted(model_file: str, tmp_path: Path) -> None:
    weights = convert(model_file, _config(), tmp_path / "checkpoint")
    card = json.loads((tmp_path / "checkpoint" / "model_card.json").read_text())
    assert card["sha256"] == weights.sha256
    assert len(card["sha256"]) == 64
    assert card["config"]["num_classes"] == NUM_CLASSES
    assert len(card["tensors"]["loaded"]) == len(_arrays())
    assert card["parameters"] == sum(a.size for p, a in _arrays().items() if "params" in p)


def test_a_failed_conversion_leaves_nothing(model_file: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_classes is 5"):
        convert(model_file, _config(num_classes=5), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "checkpoints").exists()


def test_extra_tensors_are_refused_unless_named(tmp_path: Path) -> None:
    tensors = export_detectron2(_arrays()) | {"teacher.weight": np.zeros(3, np.float32)}
    path, config = _write(tmp_path / "model.pkl", tensors), _config()
    with pytest.raises(ValueError, match=r"extra: teacher\.weight.*\n.*init\.ignore"):
        import_file(path, config, _task())
    config.init.ignore = ("teacher.",)
    assert import_file(path, config, _task()).report.unused == ("teacher.weight",)


def test_reset_without_weights_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"config\.init\.reset"):
        starting_weights(_config(reset=("rpn/conv",)), _task())


def test_torchvision_weights_need_a_torchvision_backbone(tmp_path: Path) -> None:
    tensors = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    tensors |= {f"bn1.{k}": np.zeros(64, np.float32) for k in ("weight", "bias")}
    tensors |= {f"layer1.0.conv{i}.weight": np.zeros((64, 64, 3, 3), np.float32) for i in (1, 2)}
    path = tmp_path / "resnet18.pkl"
    path.write_bytes(pickle.dumps(tensors))
    with pytest.raises(ValueError, match="torchvision"):
        starting_weights(_config(str(path)), _task())


def test_a_checkpoint_of_a_backbone_with_other_pixels_is_refused(
    model_file: str, tmp_path: Path
) -> None:
    output = tmp_path / "checkpoint"
    convert(model_file, _config(), output)
    config = _config(str(output))
    config.model.backbone = "resnet18_torchvision"
    with pytest.raises(ValueError, match="made with the backbone 'resnet18'"):
        starting_weights(config, _task())
    with pytest.raises(ValueError, match="made with the backbone 'resnet18'"):
        load(output, {"model.backbone": "resnet18_torchvision"})


def test_pixel_statistics_of_a_file_must_be_those_of_the_backbone(tmp_path: Path) -> None:
    tensors = export_detectron2(_arrays())
    msra = np.array([103.53, 116.28, 123.675], np.float32).reshape(3, 1, 1)
    fitting = _write(tmp_path / "fitting.pkl", tensors | {"pixel_mean": msra})
    weights = import_file(fitting, _config(), _task())
    assert weights.not_needed == ("pixel_mean", "__author__")
    assert "not needed: pixel_mean, __author__" in describe_weights(weights)
    other = _write(tmp_path / "other.pkl", tensors | {"pixel_mean": msra[::-1]})
    with pytest.raises(ValueError, match=r"its pixel_mean is \[123"):
        import_file(other, _config(), _task())


def test_a_checkpoint_loads_on_this_device_wherever_it_was_saved(tmp_path: Path) -> None:
    elsewhere = jax.device_put(np.ones((2, 3), np.float32), jax.devices()[1])
    variables = {"params": {"conv": {"kernel": elsewhere}}, "buffers": {}}
    save_variables(tmp_path, variables, CheckpointMeta({}, ("a",)))
    loaded, _, _ = load_variables(tmp_path)
    kernel = loaded["params"]["conv"]["kernel"]
    assert kernel.devices() == {jax.local_devices()[0]}
    np.testing.assert_array_equal(kernel, elsewhere)


def test_imagenet_weights_of_another_variant_are_refused() -> None:
    config = _config("efficientnet_lite1")
    config.model.backbone = "efficientnet_lite2"
    with pytest.raises(ValueError, match=r"needs config\.model\.backbone 'efficientnet_lite1'"):
        starting_weights(config, _task())


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pkl"):
        starting_weights(_config("nowhere.pkl"), _task())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model._orig_mod.module.", "ema."])
def test_what_all_names_begin_with_is_taken_off_and_said(prefix: str, tmp_path: Path) -> None:
    tensors = {prefix + name: tensor for name, tensor in export_detectron2(_arrays()).items()}
    pixels = {f"{prefix}pixel_mean": np.zeros(3, np.float32)}
    path = _write(tmp_path / "model.pkl", tensors | {"n_averaged": np.zeros((), np.int64)})
    weights = import_file(path, _config(), _task())
    np.testing.assert_array_equal(
        weights.arrays["params/rpn/conv/kernel"], _arrays()["params/rpn/conv/kernel"]
    )
    assert f"all names began with {prefix!r}" in describe_weights(weights)
    with pytest.raises(ValueError, match="its pixel_mean is"):
        import_file(_write(tmp_path / "other.pkl", tensors | pixels), _config(), _task())


def test_a_file_of_two_models_needs_to_know_which(tmp_path: Path) -> None:
    one = export_detectron2(_arrays())
    both = {f"{p}.{name}": t for p in ("student", "teacher") for name, t in one.items()}
    path, config = _write(tmp_path / "model.pkl", both), _config()
    with pytest.raises(ValueError, match=r"behind 'student\.'.*'teacher\.'.*init\.ignore"):
        import_file(path, config, _task())
    config.init.ignore = ("student.",)
    assert import_file(path, config, _task()).wrapper == "teacher."


def test_values_of_a_diverged_training_are_refused_from_files_and_checkpoints(
    tmp_path: Path,
) -> None:
    path = "params/box_head/classifier/bias"
    arrays = _arrays() | {path: np.full_like(_arrays()[path], np.nan)}
    file = _write(tmp_path / "model.pkl", export_detectron2(arrays))
    with pytest.raises(ValueError, match=r"cls_score\.bias has 4 of 4 values that are NaN"):
        load(file, _config())
    meta = CheckpointMeta(_config().to_dict(), ("a", "b", "c"))
    save_variables(tmp_path / "run", nested(arrays), meta)
    with pytest.raises(ValueError, match=r"1 of \d+ arrays .*box_head/classifier/bias.*diverged"):
        load(tmp_path / "run")


def test_published_models_keep_the_category_ids_of_their_set(tmp_path: Path) -> None:
    config = _config(num_classes=8)
    config.data.categories = "cityscapes"
    shapes = array_shapes(_task(8).shapes())
    zeros = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
    convert(_write(tmp_path / "m.pkl", export_detectron2(zeros)), config, tmp_path / "out")
    _, meta, _ = load_variables(tmp_path / "out")
    assert meta.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    loaded = load(tmp_path / "out")
    assert isinstance(loaded, Predictor)
    assert loaded.category_ids == meta.category_ids


def test_unknown_or_unfitting_weights_are_refused() -> None:
    config = tiny_config()
    task = build_task(config)
    config.init.weights = "imagenet"
    with pytest.raises(ValueError, match=r"config\.init\.weights.*got 'imagenet'"):
        starting_variables(config, task)
    config.init.weights = "efficientnet_lite0"
    with pytest.raises(ValueError, match=r"needs config\.model\.backbone"):
        starting_variables(config, task)


def test_random_layers_that_are_never_trained_are_refused() -> None:
    with pytest.raises(ValueError, match=r"freeze_at 2 would keep .*freeze_at = 0"):
        check_starting_weights(_config())
    config = _config()
    config.model.freeze_at = 0
    check_starting_weights(config)


def test_weights_must_have_all_that_is_frozen(tmp_path: Path) -> None:
    path = _write(tmp_path / "model.pkl", export_detectron2(_arrays()))
    config = _config(str(path), reset=("backbone/stem",))
    with pytest.raises(
        ValueError, match=r"freeze_at is 2, .*model\.pkl .*backbone/stem/conv/kernel"
    ):
        starting_variables(config, _task())
