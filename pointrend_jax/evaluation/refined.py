"""How much better masks have become: Boundary IoU with the truth, as given and as refined."""

import threading
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from pointrend_jax.evaluation.results import Results, Statistics, check_disjoint
from pointrend_jax.masks.boundary import boundary_iou

# COCO's: square pixels of the object.
SMALL, LARGE = 32.0**2, 96.0**2
SIZES = ("small", "medium", "large")


class RefinedScore(NamedTuple):
    """Of one object: its area in square pixels, and Boundary IoU as given and as refined."""

    area: float
    given: float
    refined: float


class RefineEvaluator:
    """Boundary IoU by object; several threads may add, each other objects.

    Args: boundary_dilation, the width of a boundary as a share of the image's diagonal.
    """

    def __init__(self, boundary_dilation: float) -> None:
        self._dilation, self._lock = boundary_dilation, threading.Lock()
        self.scores: dict[int, RefinedScore] = {}

    def add(
        self,
        number: int,
        area: float,
        truth: Bool[np.ndarray, "H W"],
        given: Bool[np.ndarray, "H W"],
        refined: Bool[np.ndarray, "H W"],
    ) -> None:
        """Masks of the whole image."""
        ious = (boundary_iou(mask, truth, self._dilation) for mask in (given, refined))
        score = RefinedScore(area, *ious)
        with self._lock:
            self.scores[number] = score

    def merge(self, scores: dict[int, RefinedScore]) -> None:
        """Adds the objects of another process. Raises ValueError if both have one."""
        check_disjoint(self.scores, scores)
        self.scores |= scores

    def results(self) -> Results:
        """Means over objects of each size; "coarse" are the given masks."""
        return {"rendered": self._means("refined"), "coarse": self._means("given")}

    def _means(self, which: str) -> Statistics:
        # In the same order whichever thread or process was first: sums round by it.
        scores = [self.scores[number] for number in sorted(self.scores)]
        means: Statistics = {"boundary_iou": _mean([getattr(s, which) for s in scores])}
        for size in SIZES:
            own = [getattr(s, which) for s in scores if size_of(s.area) == size]
            means[f"boundary_iou_{size}"] = _mean(own)
        return means


def size_of(area: float) -> str:
    """Of `SIZES`, by COCO's borders."""
    return "small" if area < SMALL else "medium" if area < LARGE else "large"


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None
