"""A refiner small enough for tests: its configuration, variables, and photos with masks."""

from functools import cache

import numpy as np

from pointrend_jax.configs import base
from pointrend_jax.predict.refiner import MaskRefiner
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Variables
from tests.tiny import tiny_variables


def refiner_config() -> Config:
    """Every part of the real thing, at a fraction of its size."""
    config: Config = base.get_config()
    config.task, config.num_classes, config.name = "refine", 1, "tiny refiner"
    config.init.weights = config.model.backbone = "efficientnet_lite0"
    config.model.freeze_at = 5
    config.data.buckets = ((64, 64),)
    refine = config.model.refine
    refine.conv_dim, refine.point_fc_dim, refine.least_side = 24, 16, 16
    refine.train_num_points, refine.subdivision_num_points = 32, 64
    refine.keep_below = 0.0
    config.train.batch_size = config.eval.batch_size = 2
    return config


def refiner_variables() -> Variables:
    """Larger predictors than at initialisation, so that masks change."""
    variables = tiny_variables(build_task(refiner_config()))
    variables["params"]["point_head"]["predictor"]["kernel"] *= 3000
    return variables


@cache
def tiny_refiner() -> MaskRefiner:
    """Compiled once for all tests of a process."""
    return MaskRefiner(refiner_variables(), refiner_config())


def photo(height: int = 60, width: int = 80) -> np.ndarray:
    """Noise with a bright ellipse."""
    image = np.random.default_rng(0).integers(0, 90, (height, width, 3), np.uint8)
    image[ellipse(height, width)] += 120
    return image


def ellipse(height: int = 60, width: int = 80, at: tuple[int, int] = (40, 30)) -> np.ndarray:
    """A mask; `at` is (x, y) of its centre."""
    y, x = np.mgrid[:height, :width]
    return ((x - at[0]) / 18) ** 2 + ((y - at[1]) / 12) ** 2 <= 1
