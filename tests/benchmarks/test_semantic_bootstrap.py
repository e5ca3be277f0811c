"""The paired bootstrap of semantic scores: equal counts, sign, and resamples written out."""

import numpy as np
import pytest

from benchmarks.semantic_bootstrap import paired_semantic_bootstrap
from pointrend_jax.evaluation.semantic import SemanticEvaluator
from pointrend_jax.evaluation.semantic_scores import (
    SemanticCounts,
    class_scores,
    fraction,
    mean_score,
    metrics,
    score,
)

NAMES = ("road", "car", "sky")
NUM_IMAGES = 8


def _maps(noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, its objects, and the truth with the outlines blurred by noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    place = x + 8 * np.sin(y / 5 + seed)
    truth = np.searchsorted([20, 40], place).astype(np.uint8)
    found = np.searchsorted([20, 40], place + noise * rng.normal(size=place.shape))
    return truth, 26001 * (truth == 1).astype(np.int32), found.astype(np.uint8)


def _counts(
    noise: float, *, images: range | list[int] = range(NUM_IMAGES), names: tuple[str, ...] = NAMES
) -> SemanticCounts:
    evaluator = SemanticEvaluator(names, average_object_sizes={"car": 500.0})
    for position, image in enumerate(images):
        truth, objects, found = _maps(noise, image)
        _, _, rough = _maps(4 * noise, image)
        evaluator.add(position, found, rough, truth, objects)
    return evaluator.counts()


def test_equal_counts_do_not_differ():
    counts = _counts(2.0)
    assert len(metrics(counts)) == 9
    for metric in metrics(counts):
        assert paired_semantic_bootstrap(counts, counts, metric=metric) == (0, 0, 0)


def test_clearly_better_labels_exclude_zero_and_the_sign_is_a_minus_b():
    fine, rough = _counts(1.0), _counts(2.0)
    for metric in metrics(fine):
        result = paired_semantic_bootstrap(fine, rough, metric=metric, num_resamples=200)
        mirrored = paired_semantic_bootstrap(rough, fine, metric=metric, num_resamples=200)
        assert 0 < result.low < result.difference < result.high, metric
        assert mirrored.difference == -result.difference
        assert mirrored.low == pytest.approx(-result.high)


def test_rendered_is_compared_with_its_own_coarse():
    counts = _counts(1.0)
    result = paired_semantic_bootstrap(counts, counts, metric="miou", source_b="coarse")
    results = score(counts)
    gain = (results["rendered"]["miou"] or 0) - (results["coarse"]["miou"] or 0)
    assert result.difference == pytest.approx(gain, abs=1e-12)
    assert result.low > 0


def test_weights_equal_repeated_and_left_out_images():
    weights = np.random.default_rng(0).multinomial(NUM_IMAGES, [1 / NUM_IMAGES] * NUM_IMAGES)
    assert weights.max() > 1
    counts = _counts(2.0)
    written = _counts(2.0, images=np.repeat(np.arange(NUM_IMAGES), weights).tolist())
    for metric in metrics(counts):
        scores = class_scores(fraction(counts, metric, "rendered"), weights[None])
        assert mean_score(scores)[0] == pytest.approx(
            score(written)["rendered"][metric], abs=1e-12
        ), metric


def test_same_seed_gives_the_same_interval():
    a, b = _counts(1.0), _counts(1.2)

    def interval(seed: int) -> tuple:
        return paired_semantic_bootstrap(a, b, metric="miou", num_resamples=30, seed=seed)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)


def test_unknown_metric_is_refused():
    counts = _counts(1.0)
    with pytest.raises(ValueError, match="trimap_miou_16; got 'trimap_miou_3'"):
        paired_semantic_bootstrap(counts, counts, metric="trimap_miou_3")


def test_counts_that_cannot_be_paired_are_refused():
    counts = _counts(1.0)
    for other, message in (
        (_counts(1.0, images=range(NUM_IMAGES - 1)), "the same images, got 8 and 7 of which 7"),
        (_counts(1.0, names=(*NAMES, "tree")), "the same classes"),
        (_counts(1.0, images=[*range(NUM_IMAGES - 1), 20]), "the same ground truth.*first is 7"),
    ):
        with pytest.raises(ValueError, match=message):
            paired_semantic_bootstrap(counts, other, metric="miou")


def test_undefined_score_is_refused():
    evaluator = SemanticEvaluator(NAMES)
    evaluator.add(0, *np.zeros((3, 4, 4), np.uint8))
    counts = evaluator.counts()
    with pytest.raises(ValueError, match="iiou is undefined"):
        paired_semantic_bootstrap(counts, counts, metric="iiou")
