"""Is one semantic model better than another on these images? A paired bootstrap over images.

The scores are ratios of sums over images, so a resample needs no labels again: it weighs the counts
of every image by how often the image was drawn, for both models alike.
"""

import numpy as np
from jaxtyping import Float, Int

from benchmarks.bootstrap import PairedDifference
from pointrend_jax.evaluation.results import MaskSource
from pointrend_jax.evaluation.semantic_scores import (
    SemanticCounts,
    class_scores,
    fraction,
    mean_score,
)


def paired_semantic_bootstrap(
    counts_a: SemanticCounts,
    counts_b: SemanticCounts,
    *,
    metric: str,
    source_a: MaskSource = "rendered",
    source_b: MaskSource = "rendered",
    num_resamples: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """The difference a - b of a score, both on the same resampled images; 95 % interval.

    Args:
      counts_a, counts_b: of the same images, from `SemanticEvaluator.counts` or `load_counts`. The
        same counts twice, with two sources, tell what rendering adds.
      metric: one of `semantic_scores.metrics`.

    Raises: ValueError if the two are not of the same images, classes and ground truth, the metric
      is unknown, or it is undefined.
    """
    _check_same_truth(counts_a, counts_b)
    parts_a, parts_b = fraction(counts_a, metric, source_a), fraction(counts_b, metric, source_b)

    def difference(weights: Int[np.ndarray, "R I"]) -> Float[np.ndarray, " R"]:
        scores_a, scores_b = class_scores(parts_a, weights), class_scores(parts_b, weights)
        return mean_score(scores_a) - mean_score(scores_b)

    num_images = len(counts_a.image_ids)
    observed = float(difference(np.ones((1, num_images), np.int64))[0])
    if np.isnan(observed):
        raise ValueError(f"{metric} is undefined on these {num_images} images.")
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_resamples)
    # A resample may have nothing to score; it says nothing about the difference.
    low, high = np.nanpercentile(difference(weights), [2.5, 97.5])
    return PairedDifference(observed, float(low), float(high))


def _check_same_truth(counts_a: SemanticCounts, counts_b: SemanticCounts) -> None:
    if counts_a.class_names != counts_b.class_names:
        raise ValueError(
            f"Both counts must be of the same classes, got {counts_a.class_names} and "
            f"{counts_b.class_names}."
        )
    if not np.array_equal(counts_a.image_ids, counts_b.image_ids):
        raise ValueError(
            f"Both counts must be of the same images, got {len(counts_a.image_ids)} and "
            f"{len(counts_b.image_ids)} of which "
            f"{len(np.intersect1d(counts_a.image_ids, counts_b.image_ids))} are common."
        )
    # Labelled pixels by image and class.
    truth_a, truth_b = (counts.rendered.confusion.sum(2) for counts in (counts_a, counts_b))
    if not np.array_equal(truth_a, truth_b):
        differing = counts_a.image_ids[(truth_a != truth_b).any(1)]
        raise ValueError(
            f"Both counts must be of the same ground truth; it differs for {len(differing)} "
            f"images, the first is {differing[0]}."
        )
