"""The benchmarks' document: every part of it from made-up measurements."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from benchmarks.speed.__main__ import all_cases
from benchmarks.speed.cases import CASES
from benchmarks.speed.measure import flops, layer_outputs
from benchmarks.speed.plot import Point, Series, line_plot, pareto_front, trade_off_plot
from benchmarks.speed.report import write

_TEMPLATE = Path(__file__).resolve().parents[2] / "benchmarks/speed/benchmarks.md.in"
_STAGES = (
    "backbone and FPN", "RPN", "RPN and box head", "masks", "paste to RLE", "network",
    "detector alone",
)  # fmt: skip


_MACHINE = {
    "date": "2026-01-02", "processor": "some", "jax": "1", "python": "3", "commit": "abc",
}  # fmt: skip


def _bench() -> dict[str, dict[str, Any]]:
    common = {
        "seconds": {"median": 0.5}, "peak_mib": 100.0, "product_gflops": 200.0, "machine": _MACHINE,
        "weights": "random", "found": 20, "stages": dict.fromkeys(_STAGES, 0.1),
        "images_a_second": 2.0, "images": 9, "buckets": 5, "networks": 4, "all_programs": 6,
    }  # fmt: skip
    common["gflop"], common["mask_samples"] = 50.0, [9, 17]
    common["gradients"] = {
        "all": 0.09, "RPN": 0.05, "coarse mask": 0.04, "coarse mask and points": 0.07,
    }  # fmt: skip
    common["operations"] = {"sampling": [0.3, 0.02], "pooling": [None, 0.1]}
    row = {"multiply_adds": 1e9, "activations": 1e6, "seconds_a_region": 0.1}
    rows = {
        "4-conv 28x28": row,
        "4-conv 224x224": row | {"multiply_adds": 40e9, "seconds_a_region": 4.0},
        "PointRend 224x224": row | {"multiply_adds_plain": 2e9},
    }
    bench = {}
    for case in all_cases():
        record = common | {"case": case.name, **case._asdict(), "rows": rows}
        record["found"] = case.arguments.get("instances", 20)
        if case.name == "curve":
            values = case.arguments["values"]
            seconds = [0.01 * value for value in values]
            spread = [(0.9 * s, 1.2 * s) for s in seconds]
            record |= {**case.arguments, "seconds": seconds, "found": values, "quartiles": spread}
        bench[case.label] = record
    start = {"imports_and_weights": 1.0, "first_image": 2.0, "seconds": 3.0}
    bench["first_result"] = {"case": "first_result", "cold": start, "warm": start}
    return bench


def _dial() -> dict[str, Any]:
    settings = [(0, 784, 0.0), (5, 784, 0.0), (5, 196, 0.0), (5, 784, 1.0)]
    rows = [
        {
            "subdivision_steps": steps, "subdivision_num_points": points, "min_cell_px": cell,
            "resolution": 7 * 2**steps, "most_points": points, "milliseconds": 3.0 + steps,
            "quartiles": (2.5 + steps, 4.0 + steps),
            "mask_ap": 0.5, "mask_ap75": 0.4, "boundary_ap": 0.2 + 0.01 * steps,
        }
        for steps, points, cell in settings
    ]  # fmt: skip
    return {"images": 34, "rows": rows, "machine": _MACHINE}


def test_the_document_has_every_part_and_its_plots(tmp_path):
    document = write(_bench(), _dial(), _TEMPLATE.read_text(), tmp_path)
    assert "{{" not in document
    # 500 ms beside Detectron2's 8050, and 40 times fewer multiply-adds.
    assert (
        "| R50, short side 320, 100 instances, to RLE | 2 | 500 | 8050 | 0.06 | 200 | 50 % | 100 |"
        in (document)
    )
    # 30 ms of 500 are the points'.
    assert "| 2 | 17 | 500 | 90 | 50 | 40 | 70 | 6 % |" in document
    assert "| 1.00 | 40.0 | 1.00 | 100.0 | 40.0 |" in document
    assert "| sampling | 300.0 | 20.0 |" in document
    assert "| pooling | - | 100.0 |" in document
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "benchmark_dial.svg", "benchmark_instances.svg", "benchmark_subdivision_num_points.svg",
        "benchmark_subdivision_steps.svg",
    ]  # fmt: skip
    for name in names:
        ElementTree.parse(tmp_path / name)
        assert f"({name})" in document


def test_every_case_is_known_and_has_a_label_of_its_own():
    cases = all_cases()
    assert {case.name for case in cases} | {"first_result"} == set(CASES)
    assert len({case.label for case in cases}) == len(cases)


def test_costs_are_counted_as_by_hand():
    x, w = jnp.ones((4, 8)), jnp.ones((8, 16))
    assert flops(lambda x, w: x @ w, x, w) == 2 * 4 * 8 * 16
    assert layer_outputs(lambda x, w: jnp.tanh(x @ w) @ w.T, x, w) == 4 * 16 + 4 * 8


_SVG = "{http://www.w3.org/2000/svg}"


def _words(picture: str) -> set[str]:
    return {text.text or "" for text in ElementTree.fromstring(picture).iter(f"{_SVG}text")}


def test_a_line_plot_has_its_labels_and_is_the_same_each_time():
    series = [Series("a", [Point(1, 10, 9, 12), Point(2, 20, 19, 25)])]
    picture = line_plot(series, x_label="x & y", y_label="ms")
    assert {"x & y", "ms"} <= _words(picture)
    assert line_plot(series, x_label="x & y", y_label="ms") == picture
    wider = [Series("a", [Point(1, 10, 9, 12), Point(2, 20, 19, 40)])]
    assert line_plot(wider, x_label="x & y", y_label="ms") != picture


def test_the_best_are_those_that_no_faster_one_equals():
    points = [Point(x, y, x, x) for x, y in ((3, 5), (1, 2), (2, 2), (4, 4), (5, 9), (1, 1))]
    assert [(p.x, p.y) for p in pareto_front(points)] == [(1, 2), (3, 5), (5, 9)]


def test_a_trade_off_names_each_point_and_its_series():
    series = [Series("steps", [Point(1, 10, 0.9, 1.2, "784")]), Series("cells", [])]
    words = _words(trade_off_plot(series, x_label="ms", y_label="AP"))
    assert {"784", "steps", "Pareto front", "ms", "AP"} <= words
