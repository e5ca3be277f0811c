"""PointRend (Kirillov, Wu, He, Girshick, CVPR 2020) in JAX: segmentation as rendering.

predictor = pointrend_jax.load("runs/people")  # the work directory of a training run
instances = predictor("photo.jpg")  # or uint8 [H, W, 3] RGB, any size
instances.boxes, instances.class_names, instances.masks.boolean()  # [n, 4], n, [n, H, W]

predictor = pointrend_jax.load("runs/streets")  # a run of a semantic model
predictor("photo.jpg").labels  # uint8 [H, W]

refined = pointrend_jax.refine("photo.jpg", masks, checkpoint="runs/refiner")  # anyone's masks
refined.boolean(), refined.changed_share  # [n, H, W], [n]

What other networks take from here (docs/own_network.md) needs jax, numpy and jaxtyping alone: the
functions in small letters but for `load`, `load_refiner`, `refine` and `read_image`,
`pointrend_jax.pointrend` and `pointrend_jax.point_loss`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointrend_jax.data.images import read_image
    from pointrend_jax.data.rasters import RasterImage
    from pointrend_jax.masks.boundary import boundary_iou
    from pointrend_jax.masks.paste import paste_mask
    from pointrend_jax.ops.nms import nms_sorted
    from pointrend_jax.ops.points import point_sample, point_scatter
    from pointrend_jax.ops.roi_align import roi_align
    from pointrend_jax.pixel_format import PixelFormat
    from pointrend_jax.pointrend import render
    from pointrend_jax.predict.instances import Predictor
    from pointrend_jax.predict.labels import SemanticPredictor
    from pointrend_jax.predict.load import load, load_refiner
    from pointrend_jax.predict.npy_file import NpyImage, NpyLabels
    from pointrend_jax.predict.raster_labels import RasterLabels
    from pointrend_jax.predict.refine import refine
    from pointrend_jax.predict.refiner import MaskRefiner
    from pointrend_jax.predict.scene import LabelScene, Scene
    from pointrend_jax.results.instances import PredictedInstances
    from pointrend_jax.results.label_maps import PredictedLabels
    from pointrend_jax.results.masks import PredictedMasks
    from pointrend_jax.results.refined import RefinedMasks
    from pointrend_jax.visualize.overlay import OverlayStyle
else:

    def __getattr__(name: str) -> object:
        # Importing jax takes a second, and the numpy side of the package does without it.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"pointrend_jax.{_HOMES[name]}"), name)


_HOMES = {
    "LabelScene": "predict.scene",
    "MaskRefiner": "predict.refiner",
    "NpyImage": "predict.npy_file",
    "NpyLabels": "predict.npy_file",
    "OverlayStyle": "visualize.overlay",
    "PixelFormat": "pixel_format",
    "PredictedInstances": "results.instances",
    "PredictedLabels": "results.label_maps",
    "PredictedMasks": "results.masks",
    "Predictor": "predict.instances",
    "RasterImage": "data.rasters",
    "RasterLabels": "predict.raster_labels",
    "RefinedMasks": "results.refined",
    "Scene": "predict.scene",
    "SemanticPredictor": "predict.labels",
    "boundary_iou": "masks.boundary",
    "load": "predict.load",
    "load_refiner": "predict.load",
    "nms_sorted": "ops.nms",
    "paste_mask": "masks.paste",
    "point_sample": "ops.points",
    "point_scatter": "ops.points",
    "read_image": "data.images",
    "refine": "predict.refine",
    "render": "pointrend",
    "roi_align": "ops.roi_align",
}
__version__ = "0.1.0"
__all__ = [
    "LabelScene",
    "MaskRefiner",
    "NpyImage",
    "NpyLabels",
    "OverlayStyle",
    "PixelFormat",
    "PredictedInstances",
    "PredictedLabels",
    "PredictedMasks",
    "Predictor",
    "RasterImage",
    "RasterLabels",
    "RefinedMasks",
    "Scene",
    "SemanticPredictor",
    "boundary_iou",
    "load",
    "load_refiner",
    "nms_sorted",
    "paste_mask",
    "point_sample",
    "point_scatter",
    "read_image",
    "refine",
    "render",
    "roi_align",
]
