"""Repeat-factor sampling: images of rare categories are seen several times an epoch.

Gupta et al., "LVIS" (2019), appendix B.2. The share f(c) of the images that have category c gives
the category r(c) = max(1, sqrt(threshold / f(c))), and an image the greatest r of its categories.
That is how often an epoch has it on average: its fractional part is rounded anew every epoch.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, Int

# Fractional parts are counted in units of 2^-32, so that sums are exact in any order.
_BITS = 32
_UNIT = 2**_BITS


def image_repeat_factors(
    image_labels: Sequence[Collection[int]], threshold: float
) -> Float[np.ndarray, " N"]:
    """r of every image, at least 1; 1 for an image without objects.

    Args:
      image_labels: the classes of each image's objects, repeats allowed.
      threshold: the share of images below which a category is repeated.
    Raises: ValueError unless the threshold is in 0..1.
    Source: Detectron2 data/samplers/distributed_sampler.py, RepeatFactorTrainingSampler.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(
            "config.data.repeat_threshold must be a share of images, 0 (off) to 1, got "
            f"{threshold}; LVIS has 0.001."
        )
    images_with = Counter(label for labels in image_labels for label in set(labels))
    factors = {
        label: max(1.0, math.sqrt(threshold * len(image_labels) / count))
        for label, count in images_with.items()
    }
    return np.asarray([max((factors[k] for k in labels), default=1.0) for labels in image_labels])


def most_images(repeat_factors: Float[np.ndarray, " N"]) -> int:
    """The most images that an epoch can have: the sum of the factors, rounded up."""
    whole, fractions = _split(repeat_factors)
    return int(whole.sum()) - (-int(fractions.sum()) // _UNIT)


def repeat_counts(
    repeat_factors: Float[np.ndarray, " N"], rng: np.random.Generator
) -> Int[np.ndarray, " N"]:
    """How often one epoch has each image: its factor rounded down or up, on average the factor.

    Detectron2 draws for each image by itself, so the length of its epochs varies with the square
    root of the number of images. Here the fractional parts lie one after the other, in a random
    order, on a line on which every whole number, moved by one random offset, picks the image that
    it falls on (systematic sampling). Each image is picked with the same probability as there, but
    the epoch's length is the expected one, rounded down or up: where an epoch begins is known
    without planning those before it.
    """
    whole, fractions = _split(repeat_factors)
    order = rng.permutation(len(fractions))
    ends = np.cumsum(fractions[order]) + rng.integers(_UNIT)
    picked = (ends >> _BITS) - ((ends - fractions[order]) >> _BITS)
    counts = whole.copy()
    counts[order] += picked
    return counts


def _split(
    repeat_factors: Float[np.ndarray, " N"],
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """Whole part, and fractional part in units."""
    whole = np.floor(repeat_factors).astype(np.int64)
    fractions = np.rint((repeat_factors - whole) * _UNIT).astype(np.int64)
    return whole, fractions
