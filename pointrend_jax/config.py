"""Configs: Python files whose `get_config()` gives every field, and the fields that there are."""

import contextlib
import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from pointrend_jax import configs
from pointrend_jax.configs import base
from pointrend_jax.storage import local_path
from pointrend_jax.structures import Config


def load_config(source: Path | str) -> Config:
    """The locked result of `get_config()` of an experiment.

    Args:
      source: the name of one that comes with the package ("demo"), or the path of a Python file,
        which may import from `pointrend_jax.configs` and from files beside it.
    Raises: ValueError if there is no such name or file, or its `get_config` gives no config.
    """
    if re.fullmatch(r"\w+", os.fspath(source)):
        return _named(os.fspath(source))
    path = local_path(source)
    if not path.is_file():
        raise ValueError(f"--config {path} is not a file.{_instead_of(path)}")
    with _neighbours_importable(path, "--config"):
        module = _run(path, "--config")
        if not hasattr(module, "get_config"):
            raise ValueError(f"--config {path} defines no get_config().")
        config = module.get_config()
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"get_config() of --config {path} must return a ConfigDict, as `return config` at its "
            f"end does; got {type(config).__name__}."
        )
    return config.lock()


def run_file(path: Path) -> None:
    """Runs a Python file, which adds parts of a user's own (`pointrend_jax/extend.py`).

    It may import files beside it. Raises: ValueError if there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"--import {path} is not a file.{_beside(path)}")
    with _neighbours_importable(path, "--import"):
        _run(path, "--import")


def _run(path: Path, flag: str) -> ModuleType:
    """What a file defines. Args: flag, which gave it, for messages."""
    # Another name than that of any library; dataclasses look up the module that they are made in.
    name = str(path.resolve())
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{flag} {path} must be a Python file, whose name ends in .py.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _neighbours_importable(path: Path, flag: str) -> Iterator[None]:
    """Within, a file may import those beside it, also in its functions."""
    # As for a script, but last, so that no neighbour hides a library.
    folder = str(path.resolve().parent)
    sys.path.append(folder)
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "configs":
            raise
        raise ValueError(
            f"{flag} {path} imports `configs`, which is part of the package: write "
            "`from pointrend_jax.configs import base` instead of `from configs import base`."
        ) from error
    finally:
        # The file may have changed the list; what was there before it stays.
        if folder in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def with_newer_fields(saved: Mapping[str, Any]) -> Config:
    """The configuration of a checkpoint, and the fields that it is older than at their defaults,
    which keep what was done without them."""
    return ConfigDict(_filled(saved, base.get_config().to_dict())).lock()


def _filled(saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    filled = {**defaults, **saved}
    for name in saved.keys() & defaults.keys():
        if isinstance(saved[name], Mapping) and isinstance(defaults[name], Mapping):
            filled[name] = _filled(saved[name], defaults[name])
    return filled


def known_configs() -> list[str]:
    """The names of the experiments that come with the package."""
    files = (path for folder in configs.__path__ for path in Path(folder).glob("*.py"))
    return sorted(p.stem for p in files if "def get_config(" in p.read_text(encoding="utf-8"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "Did you mean A or B? ", of the known names that are like it; "" if none is."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}? " if close else ""


def _named(name: str) -> Config:
    known = known_configs()
    if name not in known:
        raise ValueError(
            f"--config {name} is none that comes with pointrend_jax. "
            f"{did_you_mean(name, known)}There are: "
            f"{', '.join(known)}. A file is given by its path, as in --config ./{name}.py."
        )
    return importlib.import_module(f"pointrend_jax.configs.{name}").get_config().lock()


def _instead_of(path: Path) -> str:
    """What to say of a file that is not there."""
    if path.stem in known_configs():
        return f" The config of that name that comes with pointrend_jax is --config {path.stem}."
    return _beside(path)


def _beside(path: Path) -> str:
    beside = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
    return f" Beside it are: {', '.join(beside)}." if beside else ""


def check_field(config: Config, field: str) -> None:
    """Raises ValueError, listing what there is, unless `config` has `field` ("train.steps")."""
    here, seen = config, "config"
    for part in field.split("."):
        if not isinstance(here, ConfigDict) or part not in here:
            known = sorted(here.keys()) if isinstance(here, ConfigDict) else []
            close = difflib.get_close_matches(part, known, n=1)
            hint = f" Did you mean {seen}.{close[0]}?" if close else ""
            raise ValueError(
                f"there is no field {seen}.{part}.{hint} "
                f"{seen} has: {', '.join(known) or 'no fields'}."
            )
        here, seen = here[part], f"{seen}.{part}"
