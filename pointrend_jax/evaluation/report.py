"""The results of an evaluation as a table for people."""

from collections.abc import Sequence
from typing import NamedTuple

from pointrend_jax.evaluation.results import Results

# Rows of the table: what it says, and the key in "rendered" and "coarse".
_ROWS = (
    ("mask AP", "mask_ap"),
    ("mask AP50", "mask_ap50"),
    ("mask AP75", "mask_ap75"),
    ("mask AP small", "mask_ap_small"),
    ("mask AP medium", "mask_ap_medium"),
    ("mask AP large", "mask_ap_large"),
    ("boundary AP", "boundary_ap"),
    ("boundary AP50", "boundary_ap50"),
    ("boundary AP75", "boundary_ap75"),
)
_FREQUENCY_ROWS = (
    ("mask APr", "mask_ap_rare"),
    ("mask APc", "mask_ap_common"),
    ("mask APf", "mask_ap_frequent"),
    ("boundary APr", "boundary_ap_rare"),
    ("boundary APc", "boundary_ap_common"),
    ("boundary APf", "boundary_ap_frequent"),
    ("mask AR@300", "mask_ar300"),
)
_SEMANTIC_ROWS = {
    "miou": "mIoU",
    "iiou": "iIoU",
    "pixel_accuracy": "pixel accuracy",
    "boundary_iou": "boundary IoU",
}
# A table has a row for each class up to this number.
_MOST_CLASSES = 30


def format_results(results: Results) -> str:
    """A plain-text table, coarse beside rendered, in percent; "-" where nothing was to be found."""
    # AP with more detections than COCO counts, of a model that gives so many.
    more = [key for key in results["rendered"] if key.startswith("mask_ap_max")]
    rows = (*_ROWS, *((f"mask AP@{key.removeprefix('mask_ap_max')}", key) for key in more))
    return _instance_table(rows, results)


def format_lvis_results(results: Results) -> str:
    """The same by LVIS's rules, with AP of rare, common and frequent categories."""
    return _instance_table((*_ROWS, *_FREQUENCY_ROWS), results)


def format_cityscapes_results(results: Results) -> str:
    """Cityscapes' instance AP, over all classes and for each."""
    rows = [("Cityscapes AP", "mask_ap"), ("Cityscapes AP50", "mask_ap50")]
    return "\n".join(_compare(_scores(rows, results) + _classes("AP", "ap", results)))


def format_semantic_results(results: Results) -> str:
    """The same for semantic segmentation: the scores, then the IoU of each class."""
    rows = [(_SEMANTIC_ROWS.get(key) or _trimap_label(key), key) for key in results["rendered"]]
    return "\n".join(_compare(_scores(rows, results) + _classes("IoU", "iou", results)))


def _instance_table(rows: Sequence[tuple[str, str]], results: Results) -> str:
    box, compared = results["box"], _scores(rows, results)
    if len(results["rendered_mask_ap_by_class"]) <= _MOST_CLASSES:
        compared += _classes("mask AP", "mask_ap_by_class", results)
    lines = _compare(compared)
    names = (("box AP", "box_ap"), ("AP50", "box_ap50"), ("AP75", "box_ap75"))
    lines.append("   ".join(f"{label} {_percent(box[key])}" for label, key in names))
    return "\n".join(lines)


def _trimap_label(key: str) -> str:
    return f"trimap {key.removeprefix('trimap_miou_')} px"


class _Row(NamedTuple):
    label: str
    coarse: float | None
    rendered: float | None


def _scores(rows: Sequence[tuple[str, str]], results: Results) -> list[_Row]:
    """The scores that `rows` names."""
    coarse, rendered = results["coarse"], results["rendered"]
    return [_Row(label, coarse[key], rendered[key]) for label, key in rows]


def _classes(label: str, group: str, results: Results) -> list[_Row]:
    """A score of every class. A class may be called like a score, so the two are not mixed."""
    coarse = results[f"coarse_{group}"]
    return [
        _Row(f"{label} {name}", coarse[name], value)
        for name, value in results[f"rendered_{group}"].items()
    ]


def _compare(rows: Sequence[_Row]) -> list[str]:
    width = max(16, *(len(row.label) + 1 for row in rows))
    lines = [f"{'':<{width}}{'coarse':>9}{'rendered':>10}{'gain':>8}"]
    for label, before, after in rows:
        gain = None if before is None or after is None else after - before
        row = f"{_percent(before):>9}{_percent(after):>10}{_percent(gain, sign=True):>8}"
        lines.append(f"{label:<{width}}{row}")
    return lines


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
