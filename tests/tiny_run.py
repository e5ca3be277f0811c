"""The whole run that several files of tests begin with, the same in all, programs included."""

from pathlib import Path
from typing import NamedTuple

from pointrend_jax.configs import tiny
from pointrend_jax.structures import Config


def tiny_run_config(cache: Path) -> Config:
    """`configs/tiny.py` with every step logged and five images to score, prepared in `cache`."""
    config: Config = tiny.get_config()
    config.data.cache_dir = str(cache)
    config.data.embedded.num_eval = 5
    config.train.log_every = 1
    return config


class TinyRun(NamedTuple):
    """A run of `tiny_run_config` that nobody stopped, to be read and not changed.

    cache: of its data, for runs that are compared with it.
    """

    cache: Path
    workdir: Path
