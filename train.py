"""Trains a model: python train.py --config configs/demo.py --workdir runs/demo

Fields are overridden by flags, as in --config.train.steps=100. A run that was stopped goes on from
its last checkpoint when started again with the same --workdir.
"""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import config_flags

from pointrend_jax.experiment import train
from pointrend_jax.flags import define_workdir, run

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_WORKDIR = define_workdir()


def main(_: Sequence[str]) -> None:
    if _CONFIG.value is None:
        raise ValueError("give the experiment, as in --config configs/demo.py.")
    train(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == "__main__":
    run(main)
