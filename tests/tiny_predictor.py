"""Predictors that find something, for tests: their configurations, variables and images."""

from typing import Any

import numpy as np

from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Variables
from tests.tiny import tiny_config, tiny_semantic_config, tiny_variables

NAMES = ("circle", "square", "star")
LABEL_NAMES = ("sky", "road", "car")
# Landscape, portrait, two of one bucket, one enlarged, one too long for every bucket.
SIZES = ((64, 96), (96, 64), (128, 192), (60, 90), (7, 9), (20, 300))


def predictor_config() -> Config:
    config = tiny_config()
    config.model.box.score_threshold = 0.01
    config.data.eval_min_size, config.data.max_size = 64, 128
    config.data.buckets = ((64, 96), (96, 64))
    return config.lock()


def spread_variables() -> Variables:
    """Larger predictors than at initialisation, so that scores spread and masks are not empty."""
    variables = tiny_variables(build_task(predictor_config()))
    params = variables["params"]
    params["box_head"]["classifier"]["kernel"] *= 100
    for head in ("coarse_head", "point_head"):
        params["mask_head"][head]["predictor"]["kernel"] *= 1000
    return variables


def label_predictor_config(**semantic: Any) -> Config:
    config = tiny_semantic_config()
    config.data.eval_min_size, config.data.max_size = 64, 128
    config.data.buckets = ((64, 96), (96, 64))
    config.model.semantic.update(semantic)
    return config.lock()


def spread_label_variables(config: Config) -> Variables:
    """Larger predictors than at initialisation, so that classes and points are decided."""
    variables = tiny_variables(build_task(config))
    params = variables["params"]
    params["coarse_head"]["predictor"]["kernel"] *= 100
    if config.model.semantic.pointrend:
        params["point_head"]["point_head"]["predictor"]["kernel"] *= 1000
    return variables


def random_images() -> list[np.ndarray]:
    """One of each of `SIZES`."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*hw, 3), dtype=np.uint8) for hw in SIZES]


def assert_equal_instances(ours: PredictedInstances, theirs: PredictedInstances) -> None:
    for name in ("boxes", "scores", "classes", "class_names", "image_hw"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    np.testing.assert_array_equal(ours.masks.logits, theirs.masks.logits)
    np.testing.assert_array_equal(ours.coarse_masks.logits, theirs.coarse_masks.logits)
