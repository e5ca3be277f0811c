"""PointRend (Kirillov, Wu, He, Girshick, CVPR 2020) in JAX: segmentation as rendering."""

__version__ = "0.1.0"
