"""Curves and bars as SVG within a page, in the colours that its style sheet gives them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pointrend_jax.report.markup import Element, element

# Of the drawing and of the field of its curves: left, top, right, bottom.
_WIDTH, _HEIGHT = 460, 280
_FIELD = (64, 12, _WIDTH - 12, _HEIGHT - 40)
NUM_COLORS = 8
# A longer curve is drawn by the means of as many parts.
_MOST_POINTS = 400
# A curve of fewer points has a dot at each.
_DOTS_BELOW = 30


class Curve(NamedTuple):
    """A line of a chart.

    Attributes:
      x, y: as many of each, finite.
      color: 0.., those of the style sheet; equal ones belong together.
      dashed: as the coarse one of two.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int
    dashed: bool = False


def line_chart(
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> Element:
    """A figure with its curves and a legend of their names; both axes begin at 0 or below.

    Args:
      y_range: None for that of the curves.
    """
    drawn = [curve._replace(x=x, y=y) for curve in curves for x, y in [_shortened(curve)]]
    xs = [float(x) for curve in drawn for x in curve.x]
    ys = [float(y) for curve in drawn for y in curve.y]
    y_ticks = nice_ticks(*(y_range or (min([0.0, *ys]), max([0.0, *ys]))))
    x_ticks = nice_ticks(min([0.0, *xs]), max([0.0, *xs]))
    axes = _Axes((x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1]))
    lines = [_line(curve, axes) for curve in drawn]
    svg = _svg(title, axes.marks(x_ticks, y_ticks, x_label, y_label), lines)
    return _figure(title, svg, [(curve.name, f"line{_look(curve)}") for curve in curves])


def bar_chart(
    title: str, labels: Sequence[str], values: Sequence[int], parts: Sequence[int],
    *, names: tuple[str, str], x_label: str,
) -> Element:  # fmt: skip
    """A figure of bars, of which a part each is filled.

    Args:
      labels: of where each bar begins.
      names: what the whole bars are, and their parts.
    """
    y_ticks = nice_ticks(0.0, float(max([1, *values])))
    axes = _Axes((0.0, float(len(values))), (y_ticks[0], y_ticks[-1]))
    bars = []
    for i, (value, part) in enumerate(zip(values, parts, strict=True)):
        for height, look in ((value, "whole"), (part, "part")):
            (x0, y0), (x1, y1) = axes.place(i + 0.12, height), axes.place(i + 0.88, 0.0)
            size = {"width": round(x1 - x0, 1), "height": round(y1 - y0, 1)}
            bars.append(element("rect", class_=f"{look} c0", x=x0, y=y0, **size))
    marks = axes.marks([], y_ticks, x_label, names[0])
    for i, label in enumerate(labels):
        x, y = axes.place(float(i), 0.0)
        marks.append(element("text", label, class_="x tick", x=x, y=y + 14))
    legend = [(names[0], "bar whole c0"), (names[1], "bar part c0")]
    return _figure(title, _svg(title, marks, bars), legend)


def nice_ticks(low: float, high: float) -> list[float]:
    """Some five round numbers that hold both ends between the first and the last."""
    if not high > low:
        high = low + 1.0
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class _Axes:
    """From values to places in the drawing."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._x, self._y = x_range, y_range

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = _FIELD
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return round(left + across * (right - left), 1), round(bottom - up * (bottom - top), 1)

    def marks(
        self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str
    ) -> list[Element]:
        """Lines, numbers and names of the axes."""
        left, top, right, bottom = _FIELD
        made = []
        for tick in y_ticks:
            y = self.place(self._x[0], tick)[1]
            made.append(element("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
            made.append(element("text", f"{tick:g}", class_="y tick", x=left - 6, y=y + 4))
        for tick in x_ticks:
            x = self.place(tick, self._y[0])[0]
            made.append(element("text", f"{tick:g}", class_="x tick", x=x, y=bottom + 14))
        middle = (left + right) / 2, (top + bottom) / 2
        made.append(element("text", x_label, class_="axis", x=middle[0], y=_HEIGHT - 6))
        turned = f"rotate(-90 12 {middle[1]:g})"
        made.append(element("text", y_label, class_="axis", x=12, y=middle[1], transform=turned))
        return made


def _line(curve: Curve, axes: _Axes) -> Element:
    places = [axes.place(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
    path = "M" + " ".join(f"{x:g} {y:g}" for x, y in places) if places else None
    dots = places if len(places) < _DOTS_BELOW else []
    circles = [element("circle", cx=x, cy=y, r=2.5) for x, y in dots]
    return element("g", element("path", d=path), *circles, class_=f"curve{_look(curve)}")


def _look(curve: Curve) -> str:
    return f"{' dashed' * curve.dashed} c{curve.color % NUM_COLORS}"


def _shortened(curve: Curve) -> tuple[Sequence[float], Sequence[float]]:
    if len(curve.x) <= _MOST_POINTS:
        return curve.x, curve.y
    parts = [np.array_split(np.asarray(values, float), _MOST_POINTS) for values in curve[1:3]]
    x, y = ([float(part.mean()) for part in of_axis] for of_axis in parts)
    return x, y


def _svg(title: str, marks: Sequence[Element], shapes: Sequence[Element]) -> Element:
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return element("svg", *marks, *shapes, viewBox=box, role="img", aria_label=title)


def _figure(title: str, svg: Element, legend: Sequence[tuple[str, str]]) -> Element:
    entries = [
        element("li", element("span", class_=f"swatch {look}"), name) for name, look in legend
    ]
    return element(
        "figure", element("figcaption", title), svg, element("ul", *entries, class_="legend")
    )
