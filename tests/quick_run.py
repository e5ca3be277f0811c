"""A run that is about all but the network: label maps of blocks, by two small parts of one's own.

It traces, compiles and saves several times as fast as one of instances. Processes that tests start
have it by `--config` and this file, and `QuickRun.flags`.
"""

from pathlib import Path
from typing import NamedTuple

import tests.quick_parts  # noqa: F401  (adds the parts)
from pointrend_jax.structures import Config
from tests.data.label_sets import blocks, write_camvid
from tests.tiny import quick_semantic_config, save_start

CONFIG, STEPS = "tests/quick_run.py", 4


def get_config() -> Config:
    """Without the places of its data and its start."""
    config = quick_semantic_config()
    config.num_classes = 11
    data, train = config.data, config.train
    data.source = data.categories = "camvid"
    data.train_min_sizes, data.eval_min_size, data.max_size = (64,), 64, 64
    data.buckets = ((64, 64),)
    train.steps, train.learning_rate, train.log_every = STEPS, 0.02, 1
    train.warmup_steps, train.milestones = 0, ()
    train.eval_every, train.checkpoint_every = 0, 2
    return config


class QuickRun(NamedTuple):
    """A run of `get_config` that nobody stopped, to be read and not changed.

    root: of its data, of the weights that it starts from, and of its work directory.
    """

    root: Path

    @property
    def workdir(self) -> Path:
        return self.root / "work"

    def config(self) -> Config:
        """Its own, for runs that are compared with it."""
        config, data = get_config(), self.root / "data"
        config.data.dir, config.data.cache_dir = str(data), str(self.root / "cache")
        config.init.weights = str(self.root / "start")
        return config

    def flags(self) -> tuple[str, ...]:
        """`config` as arguments of train.py, beside `--config`."""
        return (
            f"--config.data.dir={self.root / 'data'}",
            f"--config.data.cache_dir={self.root / 'cache'}",
            f"--config.init.weights={self.root / 'start'}",
        )  # fmt: skip

    def write(self) -> None:
        """Six images to train on, five to score, and weights to start from."""
        for split, number in (("train", 6), ("val", 5)):
            write_camvid(self.root / "data", split, [blocks((64, 64), i) for i in range(number)])
        save_start(get_config(), self.root / "start")
