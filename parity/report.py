"""The rows of a comparison as text for a terminal, and as tables for docs/parity.md."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime

import jax
import numpy as np

from parity.compare import LeftOut, Result, Row

HEADER = ("file", "quantity", "difference", "tolerance", "verdict")
# Wide enough for all but a few long names: lines are printed before the longest is known.
_WIDTHS = (58, 58, 10, 9, 7)


def text_line(result: Result) -> str:
    """A result as a line of a table whose columns are aligned."""
    if isinstance(result, LeftOut):
        return f"left out: {result.file}: {result.reason}"
    return columns(
        (result.file, result.quantity, *_numbers(result), "ok" if result.passed else "MISS")
    )


def columns(cells: tuple[str, ...]) -> str:
    aligned = (text.ljust(width) for text, width in zip(cells, _WIDTHS, strict=True))
    return "  ".join(aligned).rstrip()


def markdown(rows: list[Row], left_out: list[LeftOut], command: str) -> str:
    """By file the row closest to its tolerance; by quantity of models the largest difference."""
    missed = sum(not row.passed for row in rows)
    parts = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_versions()}.\n",
        f"```\n{command}\n{len(rows)} compared, {missed} missed, {len(left_out)} left out\n```\n",
        "By file, with the quantity that comes closest to its tolerance:\n",
        _table(
            ("file", "compared", "missed", "closest", "difference", "tolerance"),
            (_file_line(file, of_file) for file, of_file in _grouped(rows, "file").items()),
        ),
        "By quantity of whole models, the largest difference over all their files:\n",
        _table(
            ("quantity", "files", "largest difference", "tolerance"),
            (
                _quantity_line(quantity, of_quantity)
                for quantity, of_quantity in _grouped(
                    [row for row in rows if "/" in row.file], "quantity"
                ).items()
            ),
        ),
    ]
    if left_out:
        lines = (f"- {file}: {reason}" for file, reason in left_out)
        parts += ["Left out:\n", "\n".join(lines) + "\n"]
    return "\n".join(parts)


def _file_line(file: str, rows: list[Row]) -> tuple[str, ...]:
    closest = max(rows, key=_share)
    missed = sum(not row.passed for row in rows)
    return (f"`{file}`", str(len(rows)), str(missed), closest.quantity, *_numbers(closest))


def _quantity_line(quantity: str, rows: list[Row]) -> tuple[str, ...]:
    largest = max(rows, key=_share)
    return (quantity, str(len(rows)), *_numbers(largest))


def _share(row: Row) -> float:
    """How much of its tolerance a row uses up; where nothing is allowed, all or nothing."""
    if row.tolerance == 0:
        return np.inf if row.difference else 0.0
    return row.difference / row.tolerance


def _numbers(row: Row) -> tuple[str, str]:
    return (
        f"{row.difference:.2e}" if row.difference else "0",
        f"{row.tolerance:.2e}" if row.tolerance else "0",
    )


def _grouped(rows: list[Row], field: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row)
    return groups


def _table(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"| {' | '.join(header)} |\n|{'---|' * len(header)}\n{body}\n"


def _versions() -> str:
    return (
        f"Python {platform.python_version()}, jax {jax.__version__}, numpy {np.__version__}, "
        f"{jax.default_backend().upper()} ({os.cpu_count()} cores, {platform.machine()})"
    )
