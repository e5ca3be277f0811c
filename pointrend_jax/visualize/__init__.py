"""The pictures of a prediction: overlays, coarse beside rendered, how they are rendered.

numpy in, uint8 RGB out; nothing here knows a model.
"""

from pointrend_jax.visualize.drawing import Rgb, enlarging, ground, sheet
from pointrend_jax.visualize.explain import explain_picture
from pointrend_jax.visualize.explain_labels import explain_labels_picture
from pointrend_jax.visualize.labels import colorize, overlay_labels, palette, save_label_map
from pointrend_jax.visualize.overlay import (
    DEFAULT_STYLE,
    OverlayStyle,
    comparison_strip,
    overlay_masks,
)
from pointrend_jax.visualize.save import save_picture
from pointrend_jax.visualize.vector import VECTOR_FORMATS, check_matplotlib, save_vector_overlay
from pointrend_jax.visualize.vector_labels import save_vector_labels

__all__ = [
    "DEFAULT_STYLE",
    "VECTOR_FORMATS",
    "OverlayStyle",
    "Rgb",
    "check_matplotlib",
    "colorize",
    "comparison_strip",
    "enlarging",
    "explain_labels_picture",
    "explain_picture",
    "ground",
    "overlay_labels",
    "overlay_masks",
    "palette",
    "save_label_map",
    "save_picture",
    "save_vector_labels",
    "save_vector_overlay",
    "sheet",
]
