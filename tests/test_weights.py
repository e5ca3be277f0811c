"""What a training starts from: files, backbones, checkpoints, resets, and what is said of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.convert import convert
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.predict.load import load
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.trees import flat
from pointrend_jax.weights import (
    check_starting_weights,
    load_weights,
    starting_variables,
    starting_weights,
)
from pointrend_jax.weights_report import describe_weights, report_record
from tests.tiny import tiny_config
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


@pytest.fixture
def backbone_file(tmp_path: Path) -> str:
    prefix = "backbone.bottom_up."
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in export_detectron2(model_arrays()).items()
        if name.startswith(prefix)
    }
    return write_pickle(tmp_path / "R-18.pkl", tensors)


def test_a_backbone_file_starts_training_but_is_no_model(backbone_file: str) -> None:
    weights = starting_weights(weights_config(backbone_file), task_of_classes())
    assert weights is not None
    assert all("/backbone/" in path for path in weights.arrays)
    assert weights.report.left
    assert all(not name.startswith("backbone.bottom_up.") for name in weights.report.left)
    with pytest.raises(ValueError, match=r"R-18\.pkl: it holds a backbone alone"):
        load_weights(backbone_file, weights_config())


def test_other_classes_start_with_reset_predictors_and_say_so(model_file: str) -> None:
    with pytest.raises(ValueError, match=r"3 classes.*num_classes is 5.*init\.reset"):
        starting_weights(weights_config(model_file, num_classes=5), task_of_classes(5))
    config = weights_config(model_file, PREDICTORS, num_classes=5)
    variables, weights = starting_variables(config, task_of_classes(5))
    assert weights is not None
    arrays = flat(variables)
    assert arrays["params/box_head/classifier/bias"].shape == (6,)
    np.testing.assert_array_equal(
        arrays["params/box_head/fc1/kernel"], model_arrays()["params/box_head/fc1/kernel"]
    )
    told = describe_weights(weights)
    assert "reset, so random: 14 arrays of roi_heads.box_predictor.bbox_pred" in told
    assert "model.pkl" in told


def test_reset_without_weights_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"config\.init\.reset"):
        starting_weights(weights_config(reset=("rpn/conv",)), task_of_classes())


def test_torchvision_weights_need_a_torchvision_backbone(tmp_path: Path) -> None:
    tensors = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    tensors |= {f"bn1.{k}": np.zeros(64, np.float32) for k in ("weight", "bias")}
    tensors |= {f"layer1.0.conv{i}.weight": np.zeros((64, 64, 3, 3), np.float32) for i in (1, 2)}
    path = tmp_path / "resnet18.pkl"
    path.write_bytes(pickle.dumps(tensors))
    with pytest.raises(ValueError, match="torchvision"):
        starting_weights(weights_config(str(path)), task_of_classes())


def test_a_checkpoint_of_a_backbone_with_other_pixels_is_refused(
    model_file: str, tmp_path: Path
) -> None:
    output = tmp_path / "checkpoint"
    convert(model_file, weights_config(), output)
    config = weights_config(str(output))
    config.model.backbone = "resnet18_torchvision"
    with pytest.raises(ValueError, match="made with the backbone 'resnet18'"):
        starting_weights(config, task_of_classes())
    with pytest.raises(ValueError, match="made with the backbone 'resnet18'"):
        load(output, {"model.backbone": "resnet18_torchvision"})


def test_a_checkpoint_whose_colours_are_elsewhere_is_refused(
    model_file: str, tmp_path: Path
) -> None:
    output, bands = tmp_path / "checkpoint", weights_config()
    bands.data.rgb_channels = (2, 1, 0)
    convert(model_file, bands, output)
    config = weights_config(str(output))
    config.data.rgb_channels = (0, 1, 2)
    with pytest.raises(ValueError, match=r"rgb_channels \(2, 1, 0\), here they are \(0, 1, 2\)"):
        starting_weights(config, build_task(config))
    config.data.rgb_channels = (2, 1, 0)
    assert starting_weights(config, build_task(config)) is not None


def test_imagenet_weights_of_another_variant_are_refused() -> None:
    config = weights_config("efficientnet_lite1")
    config.model.backbone = "efficientnet_lite2"
    with pytest.raises(ValueError, match=r"needs config\.model\.backbone 'efficientnet_lite1'"):
        starting_weights(config, task_of_classes())


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pkl"):
        starting_weights(weights_config("nowhere.pkl"), task_of_classes())


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
        check_starting_weights(weights_config())
    config = weights_config()
    config.model.freeze_at = 0
    check_starting_weights(config)


def test_weights_must_have_all_that_is_frozen(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "model.pkl", export_detectron2(model_arrays()))
    config = weights_config(str(path), reset=("backbone/stem",))
    with pytest.raises(
        ValueError, match=r"freeze_at is 2, .*model\.pkl .*backbone/stem/conv/kernel"
    ):
        starting_variables(config, task_of_classes())


def test_a_first_convolution_of_other_channels_is_told_and_kept(backbone_file: str) -> None:
    weights = starting_weights(weights_config(backbone_file), task_of_classes())
    assert weights is not None
    assert report_record(weights)["inflated"] == ""
    changed = weights._replace(inflated="first convolution: 4 channels of 3")
    assert report_record(changed)["inflated"] == changed.inflated
    assert f"  {changed.inflated}" in describe_weights(changed).splitlines()
