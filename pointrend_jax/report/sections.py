"""The parts of a report's page, each of what results.json has of it; a part that it lacks is left
out.

Nothing is computed here that another program could not read from results.json or metrics.jsonl.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pointrend_jax.evaluation.results import AUGMENTED, CITYSCAPES, Details, Results, of_prefix
from pointrend_jax.evaluation.tables import MOST_CLASSES, Row, class_rows, percent, score_rows
from pointrend_jax.evaluation.tables import cityscapes_rows as official_rows
from pointrend_jax.report.charts import Curve, bar_chart, line_chart
from pointrend_jax.report.markup import Element, element, picture
from pointrend_jax.report.tables import Cell, count_cell, long_table, score_cell, table
from pointrend_jax.visualize import Rgb

# In pixels, of the longer side: larger pictures are brought to the second, and images smaller than
# the first are drawn larger, so that names have room beside objects.
LEAST_SIDE = 480
_MOST_SIDE = 560
# Pairs of classes that are listed where a matrix would be too large.
_PAIRS, _ALL_PAIRS = 30, 1000
_BACKGROUND = "(background)"
# The scores whose way through a training is drawn.
_FOLLOWED = {
    "mask_ap": "mask AP", "boundary_ap": "boundary AP", "box_ap": "box AP",
    "miou": "mIoU", "boundary_iou": "boundary IoU",
}  # fmt: skip


class Drawn(NamedTuple):
    """An image under its truth or under what was predicted, and in words what is on it."""

    pixels: Rgb
    words: str


class Pair(NamedTuple):
    """An image under its truth, and under what was predicted."""

    truth: Drawn
    predicted: Drawn


class Section(NamedTuple):
    """A part of the page: the anchor that leads to it, its heading, what is in it."""

    anchor: str
    heading: str
    content: list[Element]


def scores_section(results: Results) -> Section:
    """All scores over all classes, of each way of scoring."""
    content = _score_tables(results)
    if augmented := of_prefix(results, AUGMENTED):
        content += [element("h3", "With test-time augmentation"), *_score_tables(augmented)]
    return Section("scores", "Scores", content)


def classes_section(results: Results) -> Section | None:
    """Every score that there is by class, coarse beside rendered."""
    groups = {
        "mask_ap_by_class": "mask AP", "boundary_ap_by_class": "boundary AP",
        "iou": "IoU", "iiou": "iIoU", "boundary_iou": "boundary IoU",
    }  # fmt: skip
    there = [name for name in groups if results.get(f"rendered_{name}")]
    official = of_prefix(results, CITYSCAPES)
    if not there and not official:
        return None
    compared = {name: {row.label: row for row in class_rows(results, name)} for name in there}
    columns = ["class"]
    for name in there:
        columns += [f"{groups[name]} coarse", "rendered", "gain"]
    boxes = results.get("box_ap_by_class")
    columns += ["box AP"] if boxes else []
    rows = []
    for label in results[f"rendered_{there[0]}"] if there else ():
        cells: list[Cell] = []
        for name in there:
            cells += _row_cells(compared[name].get(label, Row(label, None, None)))
        rows.append((label, cells + ([score_cell(boxes[label])] if boxes else [])))
    # By the first score of rendered masks.
    content = long_table("Scores by class in percent", columns, rows, by=1) if rows else []
    if official:
        of_class = [(row.label, _row_cells(row)) for row in class_rows(official, "ap")]
        columns = ["class", "AP coarse", "rendered", "gain"]
        content.append(table("AP by Cityscapes' rules in percent", columns, of_class))
    return Section("classes", "Classes", content)


def images_section(details: Details, pair_of: Callable[[int], Pair]) -> Section | None:
    """The best and the worst images, truth beside prediction."""
    images = details.get("images")
    if not images or not images["scored"]:
        return None
    text = f"Of {images['scored']} images, by {images['measure']} in percent."
    content = [element("p", text)]
    for which in ("best", "worst"):
        if images[which]:
            content.append(element("h3", f"The {which}"))
        content += [_pair(image, pair_of(image["id"])) for image in images[which]]
    return Section("images", "Best and worst images", content)


def curves_section(details: Details) -> Section | None:
    """Precision by recall."""
    curves: Mapping[str, Mapping[str, Sequence[float]]] = details.get("precision_recall", {})
    figures = []
    for kind, title in (("mask", "Masks"), ("boundary", "Boundaries"), ("box", "Boxes")):
        drawn = []
        for group in (f"rendered_{kind}", f"coarse_{kind}", kind):
            for color, (overlap, precision) in enumerate(curves.get(group, {}).items()):
                which = "" if group == kind else f"{group.removesuffix(f'_{kind}')}, "
                recall = [100 * i / (len(precision) - 1) for i in range(len(precision))]
                name, dashed = f"{which}IoU {overlap}", group.startswith("coarse")
                drawn.append(Curve(name, recall, [100 * p for p in precision], color, dashed))
        if drawn:
            axes = {"x_label": "recall in percent", "y_label": "precision in percent"}
            figures.append(line_chart(title, drawn, **axes, y_range=(0.0, 100.0)))
    if not figures:
        return None
    text = "The mean over the classes that have objects; AP is the area below."
    grid = element("div", *figures, class_="figures")
    return Section("curves", "Precision and recall", [element("p", text), grid])


def confusion_section(details: Details) -> Section | None:
    """A matrix of the classes, or the pairs that are confused most where they are many."""
    if not details.get("confusion"):
        return None
    confusion = details["confusion"]
    unit, class_names, pairs = (confusion[key] for key in ("unit", "classes", "pairs"))
    text = f"What was predicted for the {unit} of each class."
    if unit == "objects":
        text = (
            f"Rendered masks with a score of at least {confusion['least_score']:g} are paired with "
            f"the objects that they overlap by an IoU of at least {confusion['least_iou']:g}, of "
            "whatever class. What finds nothing, and what is not found, stands beside background."
        )
    if len(class_names) <= MOST_CLASSES:
        tables = [_matrix(pairs, class_names, unit)]
    else:
        tables = _pair_lists(pairs, unit)
    return Section("confusion", "Confusion", [element("p", text), *tables])


def sizes_section(details: Details) -> Section | None:
    """How large objects are, and how many of each size are found."""
    if not details.get("sizes"):
        return None
    sides, objects, found = (details["sizes"][key] for key in ("sides", "objects", "found"))
    labels = [f"{a}-{b}" for a, b in pairwise(sides)] + [f"{sides[-1]}+"]
    names = ("objects", "found as their class")
    axis = "side of a square of the same area, pixels"
    begins = [str(side) for side in sides]
    figure = bar_chart("Objects by size", begins, objects, found, names=names, x_label=axis)
    rows = [
        (label, [count_cell(all_), count_cell(hits), score_cell(hits / all_ if all_ else None)])
        for label, all_, hits in zip(labels, objects, found, strict=True)
    ]
    columns = ["side, pixels", "objects", "found", "percent"]
    listed = table("Objects by size, and those found as their class", columns, rows)
    grid = element("div", figure, listed, class_="figures")
    return Section("sizes", "Sizes", [grid])


def learning_section(metrics: Sequence[Mapping[str, float]]) -> Section | None:
    """Losses and scores by step."""
    losses = sorted({name for record in metrics for name in record if name.startswith("loss")})
    figures = [
        line_chart(title, drawn, x_label="step", y_label=y_label)
        for title, drawn, y_label in (
            ("Losses", [_followed(metrics, n, n, i) for i, n in enumerate(losses)], "loss"),
            ("Scores", _followed_scores(metrics), "percent"),
            ("Learning rate", [_followed(metrics, "learning_rate", "rate", 0)], "rate"),
        )
        if any(len(curve.x) for curve in drawn)
    ]
    if not figures:
        return None
    return Section("learning", "Learning curves", [element("div", *figures, class_="figures")])


def _score_tables(results: Results) -> list[Element]:
    """Those that there are: of a set without annotations Cityscapes' alone."""
    tables = []
    if "rendered" in results:
        tables.append(_comparison("Scores in percent", score_rows(results)))
    if box := results.get("box"):
        keys = (("box AP", "box_ap"), ("box AP50", "box_ap50"), ("box AP75", "box_ap75"))
        cells = [(label, [score_cell(box[key])]) for label, key in keys]
        tables.append(table("Boxes, which rendering does not change", ["", "percent"], cells))
    if official := of_prefix(results, CITYSCAPES):
        tables.append(_comparison("By Cityscapes' rules", official_rows(official)))
    return tables


def _row_cells(row: Row) -> list[Cell]:
    return [score_cell(row.coarse), score_cell(row.rendered), score_cell(row.gain, sign=True)]


def _comparison(caption: str, rows: Sequence[Row]) -> Element:
    columns = ["", "coarse", "rendered", "gain"]
    return table(caption, columns, [(row.label, _row_cells(row)) for row in rows])


def _pair(image: Mapping[str, Any], pair: Pair) -> Element:
    heading = f"{image['name']}: {percent(image['quality'])}"
    shown = [
        element(
            "figure",
            element("figcaption", f"{label}: {drawn.words}"),
            picture(drawn.pixels, f"{image['name']}, {label}", longest=_MOST_SIDE),
        )
        for label, drawn in (("truth", pair.truth), ("prediction", pair.predicted))
    ]
    return element("figure", element("figcaption", heading), element("div", *shown, class_="pair"))


def _matrix(pairs: Sequence[Mapping[str, Any]], class_names: Sequence[str], unit: str) -> Element:
    """Of objects with their numbers; of pixels in percent of a row, which are too many to read."""
    counts = {(pair["true"], pair["predicted"]): pair["count"] for pair in pairs}
    names = [*class_names, None] if unit == "objects" else [*class_names]
    rows = []
    for true in names:
        total = sum(counts.get((true, other), 0) for other in names)
        cells = []
        for predicted in names:
            count = counts.get((true, predicted), 0)
            share = count / total if total else 0.0
            cell = count_cell(count) if unit == "objects" else score_cell(share)
            cells.append(cell._replace(shade=share if count else None))
        rows.append((true or _BACKGROUND, cells))
    caption = "Rows are the truth, columns what was predicted"
    if unit == "pixels":
        caption += "; in percent of the pixels of a row"
    columns = ["", *(name or _BACKGROUND for name in names)]
    return table(caption, columns, rows, look="matrix")


def _pair_lists(pairs: Sequence[Mapping[str, Any]], unit: str) -> list[Element]:
    wrong = [pair for pair in pairs if pair["true"] != pair["predicted"]]
    wrong.sort(key=lambda pair: -pair["count"])

    def listed(caption: str, part: Sequence[Mapping[str, Any]]) -> Element:
        rows = [
            (
                f"{pair['true'] or _BACKGROUND} as {pair['predicted'] or _BACKGROUND}",
                [count_cell(pair["count"])],
            )
            for pair in part
        ]
        return table(caption, ["truth as prediction", unit], rows)

    more = len(wrong) - _ALL_PAIRS
    left_out = f" ({more} more are in results.json)" if more > 0 else ""
    folded = element(
        "details",
        element("summary", f"All pairs of classes{left_out}"),
        listed("All pairs that were confused", wrong[:_ALL_PAIRS]),
    )
    return [listed("The pairs that were confused most", wrong[:_PAIRS]), folded]


def _followed(
    metrics: Sequence[Mapping[str, float]], key: str, name: str, color: int, *, dashed: bool = False
) -> Curve:
    points = [(r["step"], r[key]) for r in metrics if key in r and math.isfinite(r[key])]
    return Curve(name, [x for x, _ in points], [y for _, y in points], color, dashed)


def _followed_scores(metrics: Sequence[Mapping[str, float]]) -> list[Curve]:
    curves = []
    for color, (key, label) in enumerate(_FOLLOWED.items()):
        for group in ("rendered", "coarse", "box"):
            name = label if group == "box" else f"{label}, {group}"
            dashed = group == "coarse"
            curves.append(_followed(metrics, f"{group}/{key}", name, color, dashed=dashed))
    return [curve._replace(y=[100 * y for y in curve.y]) for curve in curves if len(curve.x)]
