"""Tables of a page, which its script makes sortable; long ones show both ends first."""

from collections.abc import Sequence
from typing import NamedTuple

from pointrend_jax.evaluation.tables import MOST_CLASSES, percent
from pointrend_jax.report.markup import Element, element

# Of a long table, at either end.
_ENDS = 10


class Cell(NamedTuple):
    """text, the number that a column is sorted by, and the shade behind it, 0..1."""

    text: str
    value: float | None = None
    shade: float | None = None


def score_cell(value: float | None, *, sign: bool = False) -> Cell:
    """A score, 0..1, in percent."""
    return Cell(percent(value, sign=sign), value)


def count_cell(value: int) -> Cell:
    """A number of objects or pixels."""
    return Cell(f"{value:,}".replace(",", "\u202f"), value)


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    *,
    look: str | None = None,
) -> Element:
    """A table whose rows begin with a name.

    Args:
      columns: the first is that of the names.
      look: a class of the style sheet; "matrix" has narrow columns.
    """
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    body = [element("tr", element("th", name, scope="row"), *map(_cell, row)) for name, row in rows]
    parts = element("caption", caption), element("thead", head), element("tbody", *body)
    made = element("table", *parts, class_=look)
    # Wide tables scroll by themselves, with the keyboard too.
    return element("div", made, class_="scroll", role="region", aria_label=caption, tabindex="0")


def long_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    by: int,
) -> list[Element]:
    """The table; where it is long, its best and worst rows, and all of them folded away.

    Args:
      by: the place among the cells of the number that says which are best.
    """
    if len(rows) <= MOST_CLASSES:
        return [table(caption, columns, rows)]
    known = [row for row in rows if row[1][by].value is not None]
    known.sort(key=lambda row: -(row[1][by].value or 0.0))
    ends = (("best", known[:_ENDS]), ("worst", known[-_ENDS:][::-1]))
    shown = [table(f"{caption}: the {len(part)} {end}", columns, part) for end, part in ends]
    every = table(f"{caption}: all {len(rows)}", columns, rows)
    summary = element("summary", f"All {len(rows)} classes")
    return [*shown, element("details", summary, every)]


def _cell(cell: Cell) -> Element:
    style = None if cell.shade is None else f"--shade: {100 * cell.shade:.0f}%"
    value = None if cell.value is None else f"{cell.value:.6g}"
    return element("td", cell.text, data_value=value, style=style)
