"""Configs: Python files whose `get_config()` gives every field, and the fields that there are."""

import difflib
import importlib.util
import sys
from pathlib import Path

from ml_collections import ConfigDict

from pointrend_jax.storage import local_path
from pointrend_jax.structures import Config


def load_config(path: Path | str) -> Config:
    """The locked result of `get_config()` of a Python file.

    Raises: ValueError if there is no such file or it has no `get_config`.
    """
    path = local_path(path)
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        beside = f" Beside it are: {', '.join(known)}." if known else ""
        raise ValueError(f"--config {path} is not a file.{beside}")
    # Experiments import configs.base, so the folder that holds configs/ must be importable.
    root = str(path.resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--config {path} must be a Python file that defines get_config().")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"--config {path} defines no get_config().")
    return module.get_config().lock()


def check_field(config: Config, field: str) -> None:
    """Raises ValueError, listing what there is, unless `config` has `field` ("train.steps")."""
    here, seen = config, "config"
    for part in field.split("."):
        part = part.partition("[")[0]
        if not isinstance(here, ConfigDict) or part not in here:
            known = sorted(here.keys()) if isinstance(here, ConfigDict) else []
            close = difflib.get_close_matches(part, known, n=1)
            hint = f" Did you mean {seen}.{close[0]}?" if close else ""
            raise ValueError(
                f"there is no field {seen}.{part}.{hint} "
                f"{seen} has: {', '.join(known) or 'no fields'}."
            )
        here, seen = here[part], f"{seen}.{part}"
