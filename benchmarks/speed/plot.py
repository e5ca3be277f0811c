"""The plots of the benchmarks' document, drawn by matplotlib (the extra `plot`) as SVG."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from pointrend_jax.visualize import check_matplotlib

_WIDTH, _HEIGHT = 6.4, 3.8  # inches
_COLORS = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito's
# Letters stay letters, and the same numbers give the same bytes.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "pointrend_jax", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e4e4e4", "axes.axisbelow": True,
}  # fmt: skip


class Point(NamedTuple):
    """A measurement: `low` to `high` is the spread of what was repeated, along the axis of times.

    name: of what was set, where a plot says so beside the point.
    """

    x: float
    y: float
    low: float
    high: float
    name: str = ""


class Series(NamedTuple):
    """Measurements under one name, in the order of the line that joins them."""

    name: str
    points: Sequence[Point]


def line_plot(series: Sequence[Series], *, x_label: str, y_label: str) -> str:
    """Times upwards, from zero on both axes, with the spread of each as a bar."""
    with _settings():
        figure, axes = _axes(x_label, y_label)
        for color, (name, points) in zip(_COLORS, series, strict=False):
            xs, ys = [p.x for p in points], [p.y for p in points]
            bars = [[p.y - p.low for p in points], [p.high - p.y for p in points]]
            axes.errorbar(xs, ys, bars, fmt="o-", capsize=3, markersize=4, color=color, label=name)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        return _svg(figure, axes, legend=len(series) > 1)


def trade_off_plot(series: Sequence[Series], *, x_label: str, y_label: str) -> str:
    """Quality upwards against time to the right, as points with their spread in time.

    A line joins those that no other beats in both, the Pareto front.
    """
    with _settings():
        figure, axes = _axes(x_label, y_label)
        for color, (name, points) in zip(_COLORS, series, strict=False):
            xs, ys = [p.x for p in points], [p.y for p in points]
            bars = [[p.x - p.low for p in points], [p.high - p.x for p in points]]
            axes.errorbar(
                xs, ys, xerr=bars, fmt="o", capsize=3, markersize=5, color=color, label=name
            )
            for point in points:
                axes.annotate(
                    point.name, (point.x, point.y), (5, 5), textcoords="offset points", fontsize=8
                )
        front = pareto_front([p for s in series for p in s.points])
        xs, ys = [p.x for p in front], [p.y for p in front]
        axes.plot(
            xs, ys, color="#888888", linestyle="--", linewidth=1, zorder=1, label="Pareto front"
        )
        axes.set_xlim(left=0)
        axes.margins(0.1)
        return _svg(figure, axes, legend=True)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those with more quality than every faster one, from fast to slow."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _settings() -> Any:
    check_matplotlib()
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)


def _axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _svg(figure: Any, axes: Any, *, legend: bool) -> str:
    if legend:
        axes.legend(frameon=False, loc="lower right")
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
