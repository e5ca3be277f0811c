"""The pictures of a prediction: overlays, coarse beside rendered, how a mask is rendered.

numpy in, uint8 RGB out; nothing here knows a model.
"""

from pointrend_jax.visualize.explain import explain_picture
from pointrend_jax.visualize.overlay import comparison_strip, overlay_instances

__all__ = ["comparison_strip", "explain_picture", "overlay_instances"]
