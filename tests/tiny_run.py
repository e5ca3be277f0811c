"""The whole run that several files of tests begin with, the same in all, programs included."""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import tests.quick_parts  # noqa: F401  (adds the parts)
from pointrend_jax.configs import tiny
from pointrend_jax.structures import Config
from tests.tiny import save_start


def tiny_run_config(data: Path) -> Config:
    """`configs/tiny.py` with every step logged and five images to score, prepared in `data`.

    On a backbone whose steps take no time, from weights drawn by numpy: what draws random ones
    takes as long to compile as the training step.
    """
    config = _without_weights()
    config.data.cache_dir, config.init.weights = str(data), str(_start())
    return config


def tiny_run_flags(data: Path) -> tuple[str, ...]:
    """`tiny_run_config` as arguments of train.py."""
    return (
        "--config=configs/tiny.py", f"--config.data.cache_dir={data}",
        "--config.data.embedded.num_eval=5", "--config.train.log_every=1",
        "--import=tests/quick_parts.py", "--config.model.backbone=patches",
        "--config.model.freeze_at=2", f"--config.init.weights={_start()}",
    )  # fmt: skip


def _without_weights() -> Config:
    config: Config = tiny.get_config()
    config.model.backbone, config.model.freeze_at = "patches", 2
    config.data.embedded.num_eval = 5
    config.train.log_every = 1
    return config


@cache
def _start() -> Path:
    """A checkpoint that is there until the process ends."""
    folder = TemporaryDirectory(prefix="tiny_run_start")
    atexit.register(folder.cleanup)
    config = _without_weights()
    config.init.weights = ""
    save_start(config, Path(folder.name))
    return Path(folder.name)


class TinyRun(NamedTuple):
    """A run of `tiny_run_config` that nobody stopped, to be read and not changed.

    cache: of its data, for runs that are compared with it.
    """

    cache: Path
    workdir: Path
