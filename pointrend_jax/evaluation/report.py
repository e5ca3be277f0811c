"""The results of an evaluation as a table for people."""

from collections.abc import Mapping, Sequence

from pointrend_jax.evaluation.coco import Results

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
    classes = [(f"AP {name}", name) for name in results["rendered_ap"]]
    coarse = results["coarse"] | results["coarse_ap"]
    rendered = results["rendered"] | results["rendered_ap"]
    return "\n".join(_compare(rows + classes, coarse, rendered))


def format_semantic_results(results: Results) -> str:
    """The same for semantic segmentation: the scores, then the IoU of each class."""
    rows = [(_SEMANTIC_ROWS.get(key) or _trimap_label(key), key) for key in results["rendered"]]
    classes = [(f"IoU {name}", name) for name in results["rendered_iou"]]
    coarse = results["coarse"] | results["coarse_iou"]
    rendered = results["rendered"] | results["rendered_iou"]
    return "\n".join(_compare(rows + classes, coarse, rendered))


def _instance_table(rows: Sequence[tuple[str, str]], results: Results) -> str:
    box, classes = results["box"], results["rendered_mask_ap_by_class"]
    shown = classes if len(classes) <= _MOST_CLASSES else {}
    coarse = results["coarse"] | results["coarse_mask_ap_by_class"]
    rendered = results["rendered"] | classes
    lines = _compare((*rows, *((f"mask AP {name}", name) for name in shown)), coarse, rendered)
    names = (("box AP", "box_ap"), ("AP50", "box_ap50"), ("AP75", "box_ap75"))
    lines.append("   ".join(f"{label} {_percent(box[key])}" for label, key in names))
    return "\n".join(lines)


def _trimap_label(key: str) -> str:
    return f"trimap {key.removeprefix('trimap_miou_')} px"


def _compare(
    rows: Sequence[tuple[str, str]],
    coarse: Mapping[str, float | None],
    rendered: Mapping[str, float | None],
) -> list[str]:
    width = max(16, *(len(label) + 1 for label, _ in rows))
    lines = [f"{'':<{width}}{'coarse':>9}{'rendered':>10}{'gain':>8}"]
    for label, key in rows:
        before, after = coarse[key], rendered[key]
        gain = None if before is None or after is None else after - before
        row = f"{_percent(before):>9}{_percent(after):>10}{_percent(gain, sign=True):>8}"
        lines.append(f"{label:<{width}}{row}")
    return lines


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
