"""Places in a chart by hand: ticks, the ends of a curve, the heights of bars."""

import pytest

from pointrend_jax.report.charts import Curve, bar_chart, line_chart, nice_ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 420.0, [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]),
        (-0.3, 0.9, [-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.0, 3.0, [0.0, 1.0, 2.0, 3.0]),
        (0.0, 0.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_hold_the_range(low: float, high: float, expected: list) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_a_curve_goes_from_corner_to_corner_of_its_field() -> None:
    figure = line_chart(
        "t", [Curve("a", [0, 1], [0, 1], 9, True)], x_label="x", y_label="y", y_range=(0.0, 1.0)
    )
    (group,) = figure.iter("g")
    assert group.get("class") == "curve dashed c1"
    # As its name in the legend.
    assert "swatch line dashed c1" in [part.get("class") for part in figure.iter()]
    path = group.find("path")
    assert path is not None
    # Of the field: left 64, right 448, top 12, bottom 240.
    assert path.get("d") == "M64 240 448 12"
    assert len(list(group.iter("circle"))) == 2


def test_a_long_curve_is_drawn_by_means() -> None:
    curve = Curve("a", range(4000), [0.5] * 4000, 0)
    path = next(line_chart("t", [curve], x_label="x", y_label="y").iter("path"))
    assert len((path.get("d") or "").split()) == 800


def test_bars_are_as_high_as_their_numbers() -> None:
    names = ("all", "some")
    figure = bar_chart("t", ["a", "b"], [4, 0], [1, 0], names=names, x_label="x")
    heights = [float(rect.get("height") or -1) for rect in figure.iter("rect")]
    assert heights == pytest.approx([228, 57, 0, 0])
