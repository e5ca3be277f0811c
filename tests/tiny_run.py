"""The whole run that several files of tests begin with, the same in all, programs included."""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pointrend_jax.configs import tiny
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import save_variables
from tests.tiny import tiny_variables


def tiny_run_config(data: Path) -> Config:
    """`configs/tiny.py` with every step logged and five images to score, prepared in `data`.

    It starts from weights drawn by numpy for all of a ResNet-18: what draws random ones takes as
    long to compile as the training step, and EfficientNet's blocks take long to trace.
    """
    config = _without_weights()
    config.data.cache_dir, config.init.weights = str(data), str(_start())
    return config


def tiny_run_flags(data: Path) -> tuple[str, ...]:
    """`tiny_run_config` as arguments of train.py."""
    return (
        "--config=configs/tiny.py", f"--config.data.cache_dir={data}",
        "--config.data.embedded.num_eval=5", "--config.train.log_every=1",
        "--config.model.backbone=resnet18", f"--config.init.weights={_start()}",
    )  # fmt: skip


def _without_weights() -> Config:
    config: Config = tiny.get_config()
    config.model.backbone = "resnet18"
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
    names = tuple(f"class {i}" for i in range(config.num_classes))
    variables = tiny_variables(build_task(config))
    save_variables(Path(folder.name), variables, CheckpointMeta(config.to_dict(), names))
    return Path(folder.name)


class TinyRun(NamedTuple):
    """A run of `tiny_run_config` that nobody stopped, to be read and not changed.

    cache: of its data, for runs that are compared with it.
    """

    cache: Path
    workdir: Path
