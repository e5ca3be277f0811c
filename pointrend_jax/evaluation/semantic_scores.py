"""The scores of semantic segmentation from the counts of its images, and a file of those counts.

A score is the mean over classes of a ratio of sums over all images (not a mean of the scores of
images), as in evalPixelLevelSemanticLabeling.py of cityscapesscripts. A class that is neither in
the truth nor predicted where there is truth has no score and is left out of the mean; one that is
only predicted has 0.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from pointrend_jax.evaluation.results import MaskSource, Results
from pointrend_jax.evaluation.semantic_counts import LabelCounts
from pointrend_jax.storage import AnyPath, write_whole

_SOURCES: tuple[MaskSource, ...] = ("rendered", "coarse")


class SemanticCounts(NamedTuple):
    """The counts of I images, by ascending image id.

    Attributes:
      class_names: K names.
      instance_classes: the classes that have an iIoU; none where objects are not told apart.
      trimap_widths: T widths in pixels, ascending.
      object_totals: weighted pixels of the objects of a class, as in `LabelCounts.object_hits`.
    """

    class_names: tuple[str, ...]
    instance_classes: tuple[str, ...]
    trimap_widths: tuple[int, ...]
    image_ids: Int[np.ndarray, " I"]
    object_totals: Float[np.ndarray, "I K"]
    rendered: LabelCounts
    coarse: LabelCounts


class Fraction(NamedTuple):
    """A score as its parts: by class, the sum of the numerators over that of the denominators.

    Attributes:
      numerator, denominator: of each image and class (of one "class" for the pixel accuracy).
    """

    numerator: Num[np.ndarray, "I K"]
    denominator: Num[np.ndarray, "I K"]


def score(counts: SemanticCounts) -> Results:
    """{"rendered": {"miou", "iiou", "pixel_accuracy", "boundary_iou", "trimap_miou_1", ...},
    "rendered_iou": by class name, "rendered_iiou", "rendered_boundary_iou", and the same of
    "coarse"}.

    Scores are in 0..1, None where there is nothing to score; "rendered_iiou" has the classes that
    have an iIoU at all.
    """
    results: Results = {}
    once = np.ones((1, len(counts.image_ids)))
    for source in ("rendered", "coarse"):
        parts = {name: fraction(counts, name, source) for name in metrics(counts)}
        by_class = {name: class_scores(part, once) for name, part in parts.items()}
        results[source] = {name: _defined(mean_score(row)[0]) for name, row in by_class.items()}
        for group, name in (("iou", "miou"), ("iiou", "iiou"), ("boundary_iou", "boundary_iou")):
            classes = counts.instance_classes if name == "iiou" else counts.class_names
            rows = zip(counts.class_names, by_class[name][0], strict=True)
            values = {class_name: _defined(value) for class_name, value in rows}
            results[f"{source}_{group}"] = {c: values[c] for c in classes}
    return results


def metrics(counts: SemanticCounts) -> tuple[str, ...]:
    """The names of the scores."""
    trimaps = (f"trimap_miou_{width}" for width in counts.trimap_widths)
    return ("miou", "iiou", "pixel_accuracy", "boundary_iou", *trimaps)


def fraction(counts: SemanticCounts, metric: str, source: MaskSource) -> Fraction:
    """The parts of one of the `metrics`.

    Raises: ValueError if the metric is unknown.
    """
    if metric not in metrics(counts):
        raise ValueError(f"metric must be one of {', '.join(metrics(counts))}; got {metric!r}.")
    labels = counts.rendered if source == "rendered" else counts.coarse
    confusion = labels.confusion
    if metric == "pixel_accuracy":
        correct = np.trace(confusion, axis1=1, axis2=2)
        return Fraction(correct[:, None], confusion.sum((1, 2))[:, None])
    if metric == "boundary_iou":
        return Fraction(labels.boundary_intersection, labels.boundary_union)
    if metric == "iiou":
        # Pixels of a group are no object's: neither found nor missed. What is false counts as for
        # mIoU, by pixels.
        applies = np.isin(counts.class_names, counts.instance_classes)
        false_positives = confusion.sum(1) - _diagonal(confusion)
        return Fraction(
            labels.object_hits * applies, (counts.object_totals + false_positives) * applies
        )
    if metric != "miou":
        width = int(metric.removeprefix("trimap_miou_"))
        confusion = labels.trimap_confusion[:, counts.trimap_widths.index(width)]
    correct = _diagonal(confusion)
    return Fraction(correct, confusion.sum(1) + confusion.sum(2) - correct)


def class_scores(parts: Fraction, weights: Num[np.ndarray, "R I"]) -> Float[np.ndarray, "R K"]:
    """The scores by class where image i counts `weights[:, i]` times; NaN where undefined."""
    numerator, denominator = weights @ parts.numerator, weights @ parts.denominator
    nothing = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=nothing, where=denominator > 0)


def mean_score(class_scores: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """The mean over the classes that have a score, NaN where none has."""
    defined = ~np.isnan(class_scores)
    total = np.where(defined, class_scores, 0).sum(1)
    nothing = np.full(total.shape, np.nan)
    return np.divide(total, defined.sum(1), out=nothing, where=defined.any(1))


def save_counts(path: AnyPath, counts: SemanticCounts) -> None:
    """Writes an .npz file for `load_counts`. Raises: ValueError if it cannot be written."""
    arrays: dict[str, Any] = counts._asdict()
    for source in _SOURCES:
        labels: LabelCounts = arrays.pop(source)
        arrays |= {f"{source}_{name}": array for name, array in labels._asdict().items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_whole(path, content.getvalue())


def load_counts(path: Path) -> SemanticCounts:
    """Raises: ValueError if the file is absent or was not written by `save_counts`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        with np.load(io.BytesIO(content)) as file:
            arrays = dict(file)
        labels = {
            source: LabelCounts(*(arrays[f"{source}_{name}"] for name in LabelCounts._fields))
            for source in _SOURCES
        }
        return SemanticCounts(
            class_names=tuple(arrays["class_names"].tolist()),
            instance_classes=tuple(arrays["instance_classes"].tolist()),
            trimap_widths=tuple(arrays["trimap_widths"].tolist()),
            image_ids=arrays["image_ids"],
            object_totals=arrays["object_totals"],
            **labels,
        )
    # What numpy raises for text or a part of a file, for an empty one, and for other arrays.
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(
            f"{path} is no file of counts; write it with SemanticEvaluator.save_counts."
        ) from error


def _diagonal(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=1, axis2=2)


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
