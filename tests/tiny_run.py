"""A run of seconds, for tests that start and stop whole programs.

python train.py --config tests/tiny_run.py --workdir runs/tiny --config.data.cache_dir=DIR
"""

from pointrend_jax.structures import Config
from tests.tiny import tiny_config


def get_config() -> Config:
    config = tiny_config("efficientnet_lite0")
    config.name = "tiny_run"
    config.num_classes = 6
    config.init.weights = "efficientnet_lite0"
    # Everything above chance: predictions of an untrained model are wanted here.
    config.model.box.score_threshold = 0.01
    data = config.data
    data.source = "embedded"
    data.train_min_sizes, data.eval_min_size, data.max_size = (64,), 64, 96
    data.buckets = ((64, 96), (96, 64))
    data.embedded.image_size, data.embedded.num_train, data.embedded.num_eval = 64, 6, 4
    train = config.train
    train.steps, train.learning_rate, train.log_every = 4, 0.005, 2
    train.eval_every, train.checkpoint_every = 0, 2
    return config
