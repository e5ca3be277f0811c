"""The pictures of a prediction: overlays, coarse beside rendered, how they are rendered.

numpy in, uint8 RGB out; nothing here knows a model.
"""

from pointrend_jax.visualize.drawing import Rgb, check_font, ground, sheet
from pointrend_jax.visualize.explain import explain_picture
from pointrend_jax.visualize.explain_labels import explain_labels_picture
from pointrend_jax.visualize.labels import colorize, overlay_labels, palette
from pointrend_jax.visualize.overlay import comparison_strip, overlay_masks
from pointrend_jax.visualize.save import save_picture

__all__ = [
    "Rgb",
    "check_font",
    "colorize",
    "comparison_strip",
    "explain_labels_picture",
    "explain_picture",
    "ground",
    "overlay_labels",
    "overlay_masks",
    "palette",
    "save_picture",
    "sheet",
]
