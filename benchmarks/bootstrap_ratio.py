"""A ratio of two sums over objects with its interval, for which images are drawn again."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Interval(NamedTuple):
    """A value on all images, and the bounds of its 95 % percentile interval."""

    value: float
    low: float
    high: float

    def text(self, factor: float = 1.0, unit: str = "") -> str:
        """With its bounds, one digit behind the point."""
        value, low, high = (factor * x for x in self)
        return f"{value:+.1f}{unit} [{low:+.1f}, {high:+.1f}]"


def paired_ratio(
    above: Float[np.ndarray, " N"],
    below: Float[np.ndarray, " N"],
    images: Int[np.ndarray, " N"],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """sum(above) / sum(below), as a mean where `below` is 1 everywhere.

    Args: images, the image of each object. Resamples in which nothing is below are left out.
    """
    _, place = np.unique(images, return_inverse=True)
    number = int(place.max()) + 1
    tops, bottoms = (np.bincount(place, x, number) for x in (above, below))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(number, np.full(number, 1 / number), num_resamples)
    top, bottom = weights @ tops, weights @ bottoms
    ratios = top[bottom > 0] / bottom[bottom > 0]
    if not ratios.size or not bottoms.sum():
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(tops.sum() / bottoms.sum()), float(low), float(high))
