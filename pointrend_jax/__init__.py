"""PointRend (Kirillov, Wu, He, Girshick, CVPR 2020) in JAX: segmentation as rendering.

predictor = pointrend_jax.load("runs/people")  # the work directory of a training run
instances = predictor.predict(image)  # uint8 [H, W, 3] RGB, any size
instances.boxes, instances.class_names, instances.masks.boolean()  # [n, 4], n, [n, H, W]
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointrend_jax.instances import PredictedInstances, PredictedMasks
    from pointrend_jax.loading import load
    from pointrend_jax.predictor import Predictor
else:

    def __getattr__(name: str) -> object:
        # Importing jax takes a second, and the numpy side of the package does without it.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pointrend_jax import instances, loading, predictor

        homes = {"load": loading, "Predictor": predictor}
        return getattr(homes.get(name, instances), name)


__version__ = "0.1.0"
__all__ = ["PredictedInstances", "PredictedMasks", "Predictor", "load"]
