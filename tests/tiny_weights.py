"""A file of weights for the tiny model, and what is in it."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np

from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.trees import array_shapes
from tests.tiny import NUM_CLASSES, tiny_config

# What the number of classes decides the shape of.
PREDICTORS = (
    "box_head/classifier",
    "box_head/deltas",
    "mask_head/coarse_head/predictor",
    "mask_head/point_head",
)


@cache
def task_of_classes(num_classes: int = NUM_CLASSES) -> Task:
    return build_task(weights_config(num_classes=num_classes))


def weights_config(
    weights: str = "", reset: tuple[str, ...] = (), num_classes: int = NUM_CLASSES
) -> Config:
    config = tiny_config()
    config.num_classes = num_classes
    config.init.weights, config.init.reset = weights, reset
    return config


@cache
def model_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = array_shapes(task_of_classes().shapes())
    arrays = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    return {path: np.abs(a) if path.endswith("/var") else a for path, a in arrays.items()}


def write_pickle(path: Path, tensors: dict[str, np.ndarray]) -> str:
    path.write_bytes(pickle.dumps({"model": tensors, "__author__": "a test"}))
    return str(path)


def write_model(folder: Path) -> str:
    """The path of a file of the whole model, written now."""
    return write_pickle(folder / "model.pkl", export_detectron2(model_arrays()))
