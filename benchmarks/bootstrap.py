"""Is one model better than another on these images? A paired bootstrap over images.

AP is no mean over images, so a resample needs AP again: the matches of detections to ground truth
do not change, only how often each image counts. They are tabulated once, with a detection's image
beside it, and a resample is a vector of image weights.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools.cocoeval import COCOeval

from pointrend_jax.evaluation.coco import OverlapKind, evaluate_detections
from pointrend_jax.evaluation.ground_truth import load_ground_truth

Metric = Literal[
    "box_ap", "box_ap50", "box_ap75",
    "mask_ap", "mask_ap50", "mask_ap75",
    "boundary_ap", "boundary_ap50", "boundary_ap75",
]  # fmt: skip

_KINDS: dict[str, OverlapKind] = {"box": "box", "mask": "mask", "boundary": "boundary"}
_IOU_THRESHOLDS = {"ap": None, "ap50": 0.5, "ap75": 0.75}


class MatchTable(NamedTuple):
    """The matches of one category at T overlap thresholds; detections by descending score.

    Attributes:
      image_index: the image of each detection.
      true_positive, false_positive: both False for a detection that is to be ignored.
      num_truths: objects to find, by image.
    """

    image_index: Int[np.ndarray, " N"]
    true_positive: Bool[np.ndarray, "T N"]
    false_positive: Bool[np.ndarray, "T N"]
    num_truths: Int[np.ndarray, " I"]


class PairedDifference(NamedTuple):
    """metric(a) - metric(b) on all images, and the bounds of its 95 % percentile interval."""

    difference: float
    low: float
    high: float


class PairedShare(NamedTuple):
    """metric(a) / metric(b) on all images, and the bounds of its 95 % percentile interval."""

    share: float
    low: float
    high: float


def paired_bootstrap(
    ground_truth: Mapping[str, Any] | Path | str,
    detections_a: Iterable[Mapping[str, Any]],
    detections_b: Iterable[Mapping[str, Any]],
    *,
    metric: Metric,
    num_resamples: int = 1000,
    seed: int = 0,
    boundary_dilation: float = 0.02,
    image_ids: Sequence[int] | None = None,
) -> PairedDifference:
    """The difference a - b of a metric, both scored on the same resampled images.

    Args:
      detections_a, detections_b: in COCO's result format.
      image_ids: the images to score; None for all of the ground truth.

    Raises: ValueError if the metric is undefined, there being nothing to find.
    """
    return PairedDifference(
        *_compared(
            operator.sub, ground_truth, detections_a, detections_b, metric=metric,
            num_resamples=num_resamples, seed=seed, boundary_dilation=boundary_dilation,
            image_ids=image_ids,
        )
    )  # fmt: skip


def paired_share(
    ground_truth: Mapping[str, Any] | Path | str,
    detections_a: Iterable[Mapping[str, Any]],
    detections_b: Iterable[Mapping[str, Any]],
    *,
    metric: Metric,
    num_resamples: int = 1000,
    seed: int = 0,
) -> PairedShare:
    """What part a is of b, as `paired_bootstrap`.

    Raises: ValueError likewise, or if b finds nothing.
    """
    return PairedShare(
        *_compared(
            _share, ground_truth, detections_a, detections_b, metric=metric,
            num_resamples=num_resamples, seed=seed, boundary_dilation=0.02, image_ids=None,
        )
    )  # fmt: skip


def _share(a: float, b: float) -> float:
    return a / b if b else float("nan")


def _compared(
    compare: Callable[[float, float], float],
    ground_truth: Mapping[str, Any] | Path | str,
    detections_a: Iterable[Mapping[str, Any]],
    detections_b: Iterable[Mapping[str, Any]],
    *,
    metric: Metric,
    num_resamples: int,
    seed: int,
    boundary_dilation: float,
    image_ids: Sequence[int] | None,
) -> tuple[float, float, float]:
    """`compare` of both metrics on all images, and the bounds of its interval."""
    kind, _, name = metric.partition("_")
    truth = load_ground_truth(ground_truth)
    chosen = sorted(truth.imgs if image_ids is None else image_ids)
    tables_a, tables_b = (
        match_tables(
            evaluate_detections(
                truth,
                detections,
                _KINDS[kind],
                boundary_dilation=boundary_dilation,
                image_ids=chosen,
            ),
            iou_threshold=_IOU_THRESHOLDS[name],
        )
        for detections in (detections_a, detections_b)
    )

    def compared(weights: Int[np.ndarray, " I"]) -> float:
        of_each = (average_precision(tables, weights) for tables in (tables_a, tables_b))
        return compare(*of_each)

    observed = compared(np.ones(len(chosen), np.int64))
    if np.isnan(observed):
        raise ValueError(
            f"{metric} is undefined: the {len(chosen)} images have nothing to find, or nothing was."
        )
    rng = np.random.default_rng(seed)
    uniform = np.full(len(chosen), 1 / len(chosen))
    resampled = [compared(rng.multinomial(len(chosen), uniform)) for _ in range(num_resamples)]
    # A resample may hold no image with an object; it says nothing about the difference.
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return observed, float(low), float(high)


def match_tables(
    evaluation: COCOeval, *, iou_threshold: float | None = None
) -> tuple[MatchTable, ...]:
    """The matches of `evaluation`, by category, for all areas and its largest number of detections.

    Args:
      iou_threshold: one of pycocotools' overlap thresholds; None for all of them.
    """
    params = evaluation.params
    num_images, num_areas = len(params.imgIds), len(params.areaRng)
    thresholds = slice(None)
    if iou_threshold is not None:
        index = int(np.argmin(np.abs(params.iouThrs - iou_threshold)))
        thresholds = slice(index, index + 1)
    return tuple(
        # evalImgs runs over categories, areas (the first is "all"), images.
        _match_table(evaluation.evalImgs[k * num_areas * num_images :][:num_images], thresholds)
        for k in range(len(params.catIds))
    )


def average_precision(tables: Sequence[MatchTable], weights: Int[np.ndarray, " I"]) -> float:
    """AP where image i counts `weights[i]` times; NaN where no category has anything to find.

    With all weights 1 it is pycocotools' number to the last bit: the same operations in the same
    order. A repeated image repeats its detections at equal score, which moves no point of the
    interpolated precision.
    """
    precisions = [_precision(table, weights) for table in tables]
    defined = [precision for precision in precisions if precision is not None]
    return float(np.mean(np.stack(defined, axis=2))) if defined else float("nan")


# pycocotools' Params.recThrs.
_RECALLS = np.linspace(0.0, 1.0, 101)


def _precision(table: MatchTable, weights: np.ndarray) -> Float[np.ndarray, "T R"] | None:
    num_truths = int(table.num_truths @ weights)
    if num_truths == 0:
        return None
    counts = weights[table.image_index].astype(np.float64)
    true_positives = np.cumsum(table.true_positive * counts, axis=1)
    false_positives = np.cumsum(table.false_positive * counts, axis=1)
    recall = true_positives / num_truths
    precision = true_positives / (false_positives + true_positives + np.spacing(1))
    # The best precision at this recall or beyond; 0 beyond the last recall that is reached.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.pad(envelope, ((0, 0), (0, 1)))
    positions = np.stack([np.searchsorted(row, _RECALLS, side="left") for row in recall])
    return np.take_along_axis(envelope, positions, axis=1)


def _match_table(images: Sequence[Any], thresholds: slice) -> MatchTable:
    num_truths = np.zeros(len(images), np.int64)
    scores, image_index, matched, ignored = [], [], [], []
    for i, image in enumerate(images):
        if image is None:
            continue
        num_truths[i] = np.count_nonzero(image["gtIgnore"] == 0)
        scores.append(np.asarray(image["dtScores"], np.float64))
        image_index.append(np.full(len(image["dtScores"]), i))
        matched.append(image["dtMatches"][thresholds] != 0)
        ignored.append(image["dtIgnore"][thresholds].astype(np.bool_))
    if not scores:
        empty = np.zeros((1, 0), np.bool_)
        return MatchTable(np.zeros(0, np.int64), empty, empty, num_truths)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    match = np.concatenate(matched, axis=1)[:, order]
    ignore = np.concatenate(ignored, axis=1)[:, order]
    index = np.concatenate(image_index)[order]
    return MatchTable(index, match & ~ignore, ~match & ~ignore, num_truths)
