"""A line plot as SVG, without a plotting library."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 320, 60, 46, 16, 16
_COLOURS = ("#1f5fa8", "#c2571a", "#3d8b4f")


class Series(NamedTuple):
    """name, and (x, y) in the order of the line."""

    name: str
    points: Sequence[tuple[float, float]]


def line_plot(series: Sequence[Series], *, x_label: str, y_label: str, points: bool = False) -> str:
    """From zero on both axes, or, for `points`, from just below the lowest value."""
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    low_y = min(ys) - 0.1 * (max(ys) - min(ys)) if points else 0.0
    x_ticks, y_ticks = _ticks(0.0, max(xs)), _ticks(low_y, max(ys))
    high_x, high_y = max(x_ticks[-1], max(xs)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        up = (y - low_y) / (high_y - low_y)
        return _LEFT + width * x / high_x, _TOP + height * (1 - up)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for tick in x_ticks:
        x, y = place(tick, low_y)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        x, y = place(0, tick)
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, (name, line) in enumerate(series):
        colour, placed = _COLOURS[number % len(_COLOURS)], [place(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        if len(series) > 1:
            y = _HEIGHT - _BOTTOM - 14 - 16 * (len(series) - 1 - number)
            parts.append(
                f'<text x="{_WIDTH - _RIGHT - 8}" y="{y}" fill="{colour}" text-anchor="end">'
                f"{escape(name)}</text>"
            )
    centre = (_LEFT + _WIDTH) / 2
    parts.append(
        f'<text x="{centre}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """At most nine multiples of 1, 2 or 5 times a power of ten, from `low` to `high`."""
    steps = (digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= 8)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]
