"""The inputs of golden/ops/point_loss.npz, which holds only what came out. In numpy alone."""

import numpy as np

from parity import recipe

# Mask2Former's.
NUM_POINTS = 12544
_TAG = "point_loss"
_MASKS, _QUERIES, _CLASSES = 3, 7, 5
_LOGITS_HW, _MASKS_HW = (40, 56), (80, 112)


def inputs() -> dict[str, np.ndarray]:
    """Smooth logits, elliptic masks, candidates k = 3 and beta = 0.75, and costs' points."""
    uncertain = int(0.75 * NUM_POINTS)
    centre = recipe.uniform(_TAG, "centre", (_MASKS, 2)) * 0.4 + 0.3
    radius = recipe.uniform(_TAG, "radius", (_MASKS, 2)) * 0.2 + 0.15
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n for n in _MASKS_HW), indexing="ij")
    place = (np.stack([x, y], -1)[None] - centre[:, None, None]) / radius[:, None, None]
    noise = recipe.normal(_TAG, "logits", (_QUERIES, 5, 7), scale=3.0)
    return {
        "class_logits": recipe.normal(_TAG, "class_logits", (_QUERIES, _CLASSES + 1), scale=2.0),
        "classes": np.asarray([4, 0, 4]),
        "mask_logits": np.kron(noise, np.ones((8, 8), np.float32))
        + recipe.normal(_TAG, "detail", (_QUERIES, *_LOGITS_HW)),
        "masks": (np.sum(place**2, -1) < 1).astype(np.float32),
        "matched": np.asarray([5, 0, 2]),
        "oversampled": recipe.uniform(_TAG, "oversampled", (_MASKS, 3 * NUM_POINTS, 2)),
        "uniform": recipe.uniform(_TAG, "uniform", (_MASKS, NUM_POINTS - uncertain, 2)),
        "cost_points": recipe.uniform(_TAG, "cost_points", (NUM_POINTS, 2)),
    }
