"""PointRend (Kirillov, Wu, He, Girshick, CVPR 2020) in JAX: segmentation as rendering.

predictor = pointrend_jax.load("runs/people")  # the work directory of a training run
instances = predictor.predict(image)  # uint8 [H, W, 3] RGB, any size
instances.boxes, instances.class_names, instances.masks.boolean()  # [n, 4], n, [n, H, W]

predictor = pointrend_jax.load("runs/streets")  # a run of a semantic model
predictor.predict(image).labels  # uint8 [H, W]
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointrend_jax.data.npy_file import NpyImage, NpyLabels
    from pointrend_jax.instances import PredictedInstances, PredictedMasks
    from pointrend_jax.label_maps import PredictedLabels
    from pointrend_jax.loading import load
    from pointrend_jax.predictor import Predictor
    from pointrend_jax.semantic_predictor import SemanticPredictor
else:

    def __getattr__(name: str) -> object:
        # Importing jax takes a second, and the numpy side of the package does without it.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"pointrend_jax.{_HOMES[name]}"), name)


_HOMES = {
    "NpyImage": "data.npy_file",
    "NpyLabels": "data.npy_file",
    "PredictedInstances": "instances",
    "PredictedLabels": "label_maps",
    "PredictedMasks": "instances",
    "Predictor": "predictor",
    "SemanticPredictor": "semantic_predictor",
    "load": "loading",
}
__version__ = "0.1.0"
__all__ = [
    "NpyImage",
    "NpyLabels",
    "PredictedInstances",
    "PredictedLabels",
    "PredictedMasks",
    "Predictor",
    "SemanticPredictor",
    "load",
]
