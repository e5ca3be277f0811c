"""PointRend (Kirillov, Wu, He, Girshick, CVPR 2020) in JAX: segmentation as rendering.

predictor = pointrend_jax.load("runs/people")  # the work directory of a training run
instances = predictor("photo.jpg")  # or uint8 [H, W, 3] RGB, any size
instances.boxes, instances.class_names, instances.masks.boolean()  # [n, 4], n, [n, H, W]

predictor = pointrend_jax.load("runs/streets")  # a run of a semantic model
predictor("photo.jpg").labels  # uint8 [H, W]
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointrend_jax.data.images import read_image
    from pointrend_jax.predict.instances import Predictor
    from pointrend_jax.predict.labels import SemanticPredictor
    from pointrend_jax.predict.load import load
    from pointrend_jax.predict.npy_file import NpyImage, NpyLabels
    from pointrend_jax.predict.scene import LabelScene, Scene
    from pointrend_jax.results.instances import PredictedInstances
    from pointrend_jax.results.label_maps import PredictedLabels
    from pointrend_jax.results.masks import PredictedMasks
else:

    def __getattr__(name: str) -> object:
        # Importing jax takes a second, and the numpy side of the package does without it.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"pointrend_jax.{_HOMES[name]}"), name)


_HOMES = {
    "LabelScene": "predict.scene",
    "NpyImage": "predict.npy_file",
    "NpyLabels": "predict.npy_file",
    "PredictedInstances": "results.instances",
    "PredictedLabels": "results.label_maps",
    "PredictedMasks": "results.masks",
    "Predictor": "predict.instances",
    "Scene": "predict.scene",
    "SemanticPredictor": "predict.labels",
    "load": "predict.load",
    "read_image": "data.images",
}
__version__ = "0.1.0"
__all__ = [
    "LabelScene",
    "NpyImage",
    "NpyLabels",
    "PredictedInstances",
    "PredictedLabels",
    "PredictedMasks",
    "Predictor",
    "Scene",
    "SemanticPredictor",
    "load",
    "read_image",
]
