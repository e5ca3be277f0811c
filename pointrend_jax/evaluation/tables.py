"""The results of an evaluation as rows, coarse beside rendered, and as a table for people."""

from collections.abc import Sequence
from typing import NamedTuple

from pointrend_jax.evaluation.results import Results

# What the rows of scores say, by their key in "rendered" and "coarse"; in this order.
_LABELS = {
    "mask_ap": "mask AP",
    "mask_ap50": "mask AP50",
    "mask_ap75": "mask AP75",
    "mask_ap_small": "mask AP small",
    "mask_ap_medium": "mask AP medium",
    "mask_ap_large": "mask AP large",
    "boundary_ap": "boundary AP",
    "boundary_ap50": "boundary AP50",
    "boundary_ap75": "boundary AP75",
    "mask_ap_rare": "mask APr",
    "mask_ap_common": "mask APc",
    "mask_ap_frequent": "mask APf",
    "boundary_ap_rare": "boundary APr",
    "boundary_ap_common": "boundary APc",
    "boundary_ap_frequent": "boundary APf",
    "mask_ar300": "mask AR@300",
    "miou": "mIoU",
    "iiou": "iIoU",
    "pixel_accuracy": "pixel accuracy",
    "boundary_iou": "boundary IoU",
    "boundary_iou_small": "boundary IoU small",
    "boundary_iou_medium": "boundary IoU medium",
    "boundary_iou_large": "boundary IoU large",
}
# Scores of which there are as many as a configuration asks for: what their keys begin with.
_NUMBERED = {"mask_ap_max": "mask AP@{}", "trimap_miou_": "trimap {} px"}
# A table has a row for each class up to this number.
MOST_CLASSES = 30


class Row(NamedTuple):
    """A score of coarse and of rendered masks or labels, 0..1; None where nothing was to find."""

    label: str
    coarse: float | None
    rendered: float | None

    @property
    def gain(self) -> float | None:
        """What rendering adds; None unless both are known."""
        if self.coarse is None or self.rendered is None:
            return None
        return self.rendered - self.coarse


def score_rows(results: Results) -> list[Row]:
    """The scores of masks or label maps over all classes that a table shows."""
    rendered, coarse = results["rendered"], results["coarse"]
    labels = {key: label for key, label in _LABELS.items() if key in rendered}
    for key in rendered:
        for start, label in _NUMBERED.items():
            if key.startswith(start):
                labels[key] = label.format(key.removeprefix(start))
    return [Row(label, coarse[key], rendered[key]) for key, label in labels.items()]


def class_rows(results: Results, group: str) -> list[Row]:
    """A score of each class, labelled by its name alone.

    Args:
      group: what follows "rendered_" and "coarse_" in the names of two groups.
    """
    coarse, rendered = results[f"coarse_{group}"], results[f"rendered_{group}"]
    return [Row(name, coarse[name], value) for name, value in rendered.items()]


def format_results(results: Results) -> str:
    """A plain-text table of instances, in percent; "-" where nothing was to be found."""
    box, rows = results["box"], score_rows(results)
    if len(results["rendered_mask_ap_by_class"]) <= MOST_CLASSES:
        rows += _named("mask AP", class_rows(results, "mask_ap_by_class"))
    names = (("box AP", "box_ap"), ("AP50", "box_ap50"), ("AP75", "box_ap75"))
    boxes = "   ".join(f"{label} {percent(box[key])}" for label, key in names)
    return "\n".join([*_compare(rows), boxes])


def format_cityscapes_results(results: Results) -> str:
    """Cityscapes' instance AP, over all classes and for each."""
    rows = _named("Cityscapes", cityscapes_rows(results))
    return "\n".join(_compare(rows + _named("AP", class_rows(results, "ap"))))


def cityscapes_rows(results: Results) -> list[Row]:
    """AP and AP50 by Cityscapes' rules."""
    coarse, rendered = results["coarse"], results["rendered"]
    keys = (("AP", "mask_ap"), ("AP50", "mask_ap50"))
    return [Row(label, coarse[key], rendered[key]) for label, key in keys]


def format_semantic_results(results: Results) -> str:
    """The same for semantic segmentation: the scores, then the IoU of each class."""
    return "\n".join(_compare(score_rows(results) + _named("IoU", class_rows(results, "iou"))))


def format_refined_results(results: Results) -> str:
    """The scores of given masks ("coarse") and of what a refiner made of them ("rendered")."""
    return "\n".join(_compare(score_rows(results)))


def percent(value: float | None, *, sign: bool = False) -> str:
    """A score or a difference of two, one digit behind the point; "-" for None."""
    if value is None:
        return "-"
    # A difference of less than half of a digit is no loss: +0.0, not -0.0.
    points = round(100 * value, 1) + 0.0
    return f"{points:+.1f}" if sign else f"{points:.1f}"


def _named(score: str, rows: Sequence[Row]) -> list[Row]:
    """The rows with the name of the score: a class may be called like a score."""
    return [row._replace(label=f"{score} {row.label}") for row in rows]


def _compare(rows: Sequence[Row]) -> list[str]:
    width = max(16, *(len(row.label) + 1 for row in rows))
    lines = [f"{'':<{width}}{'coarse':>9}{'rendered':>10}{'gain':>8}"]
    for row in rows:
        values = f"{percent(row.coarse):>9}{percent(row.rendered):>10}"
        lines.append(f"{row.label:<{width}}{values}{percent(row.gain, sign=True):>8}")
    return lines
