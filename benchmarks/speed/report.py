"""docs/benchmarks.md and its plots, from what `benchmarks.speed` and `benchmarks.speed.dial` wrote.

python -m benchmarks.speed.report --bench runs/bench.json --dial runs/dial.json
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.detectron2 import CONV_HEAD_MILLISECONDS, MILLISECONDS
from benchmarks.speed.plot import Point, Series, line_plot, trade_off_plot

Record = dict[str, Any]
Records = dict[str, Record]
_DOCS = Path(__file__).resolve().parents[2] / "docs"
_MISSING = "Not measured in this run."
_KNOBS = {
    "instances": "instances of the image",
    "subdivision_num_points": "points of a step (N)",
    "subdivision_steps": "subdivision steps",
}


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def of_case(bench: Records, name: str) -> list[dict[str, Any]]:
    """In the order of their arguments, fewer threads first."""
    records = [record for record in bench.values() if record["case"] == name]

    def place(record: dict[str, Any]) -> tuple[list[str], int]:
        # Numbers as text of one length, as a knob has a name.
        return [str(v).zfill(6) for v in record["arguments"].values()], record["threads"]

    return sorted(records, key=place)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.0f}"


def comparison(bench: Records) -> str:
    """Whole calls beside Detectron2's."""
    rows = []
    for record in of_case(bench, "predict") + of_case(bench, "semantic") + of_case(bench, "train"):
        name, arguments = record["case"], record["arguments"]
        if name == "predict":
            key = (name, arguments["side"], arguments["instances"])
            plural = "" if record["found"] == 1 else "s"
            what = f"R50, short side {key[1]}, {record['found']} instance{plural}, to RLE"
        elif name == "semantic":
            key = (name, arguments["height"], arguments["width"])
            what = f"semantic R101, {key[1]}x{key[2]}, to labels"
        else:
            key, what = (name, 320, 2), "training step, 2 images of short side 320"
        theirs = MILLISECONDS.get(key, (0, 0))[record["threads"] - 1]
        ours = record["seconds"]["median"]
        rows.append((
            what, record["threads"], _ms(ours), theirs or "-",
            f"{1e3 * ours / theirs:.2f}" if theirs else "-",
            f"{record['product_gflops']:.0f}", _of_limit(record), f"{record['peak_mib']:.0f}",
        ))  # fmt: skip
    head = (
        "what", "cores", "ms", "Detectron2, ms", "ratio", "GFLOP/s of a product",
        "share of that rate", "peak MiB",
    )  # fmt: skip
    return table(head, rows)


def _of_limit(record: Record) -> str:
    """The rate of the whole call as a share of the matrix product's."""
    if "gflop" not in record:
        return "-"
    rate = record["gflop"] / record["seconds"]["median"]
    return f"{100 * rate / record['product_gflops']:.0f} %"


def training(bench: Records) -> str:
    rows = []
    for r in of_case(bench, "train"):
        parts = r["gradients"]
        points = parts["coarse mask and points"] - parts["coarse mask"]
        rows.append((
            r["threads"], max(r["mask_samples"]), _ms(r["seconds"]["median"]), _ms(parts["all"]),
            _ms(parts["RPN"]), _ms(parts["coarse mask"]), _ms(parts["coarse mask and points"]),
            f"{100 * points / r['seconds']['median']:.0f} %",
        ))  # fmt: skip
    head = (
        "cores", "most mask samples of an image", "step", "gradient of all losses",
        "of the RPN's", "of the coarse mask's", "of the coarse mask's and the points'",
        "points, of a step",
    )  # fmt: skip
    return table(head, rows) if rows else _MISSING


def stages(bench: Records) -> str:
    names = (
        "backbone and FPN", "RPN", "RPN and box head", "masks", "paste to RLE", "network",
        "detector alone",
    )  # fmt: skip
    rows = [
        (r["arguments"]["side"], r["found"], r["threads"], *(_ms(r["stages"][n]) for n in names))
        for r in of_case(bench, "predict")
    ]
    return table(("short side", "instances", "cores", *names), rows)


def head_costs(record: dict[str, Any]) -> str:
    rows, base = record["rows"], record["rows"]["4-conv 224x224"]
    cells = []
    for name, row in rows.items():
        if "multiply_adds_plain" in row:
            plain = row["multiply_adds_plain"]
            cells.append((
                f"{name}, the MLP as written", f"{plain / 1e9:.2f}",
                f"{base['multiply_adds'] / plain:.1f}", f"{row['activations'] / 1e6:.2f}", "-", "-",
            ))  # fmt: skip
            name = f"{name}, as it runs (coarse head included)"
        cells.append((
            name, f"{row['multiply_adds'] / 1e9:.2f}",
            f"{base['multiply_adds'] / row['multiply_adds']:.1f}",
            f"{row['activations'] / 1e6:.2f}", f"{1e3 * row['seconds_a_region']:.1f}",
            f"{base['seconds_a_region'] / row['seconds_a_region']:.1f}",
        ))  # fmt: skip
    head = (
        "head", "G multiply-adds a region", "fewer than 4-conv 224x224", "M activations",
        "ms a region", "faster than 4-conv 224x224",
    )  # fmt: skip
    return table(head, cells)


def operations(record: dict[str, Any]) -> str:
    rows = [
        (name, f"{1e3 * plain:.1f}" if plain else "-", f"{1e3 * ours:.1f}")
        for name, (plain, ours) in record["operations"].items()
    ]
    return table(("operation", "plain, ms", "here, ms"), rows)


def first_and_others(bench: Records) -> str:
    parts = []
    if first := bench.get("first_result"):
        head = ("compiled programs", "imports and weights, s", "first image, s", "whole, s")
        fields = "imports_and_weights", "first_image", "seconds"
        rows = [(n, *(f"{first[n][f]:.1f}" for f in fields)) for n in ("cold", "warm")]
        parts.append(table(head, rows))
    if batches := of_case(bench, "images_a_call"):
        head = ("images a call", "instances an image", "ms", "images a second", "peak MiB")
        rows = [
            (
                r["arguments"]["number"], f"{r['found']:g}", _ms(r["seconds"]["median"]),
                f"{r['images_a_second']:.2f}", f"{r['peak_mib']:.0f}",
            )
            for r in batches
        ]  # fmt: skip
        parts.append(
            "Several images of 320x484 in one call of the network:\n\n" + table(head, rows)
        )
    for r in of_case(bench, "compilations"):
        others = r["all_programs"] - r["networks"]
        parts.append(
            f"{r['images']} images of as many sizes, {r['buckets']} buckets: the network was "
            f"compiled {r['networks']} times, other programs {others} times."
        )
    return "\n\n".join(parts) or _MISSING


def curves(bench: Records, folder: Path) -> str:
    parts = []
    for record in of_case(bench, "curve"):
        knob = record["knob"]
        values = record["found"] if knob == "instances" else record["values"]
        name = f"benchmark_{knob}.svg"
        points = [
            Point(value, 1e3 * middle, 1e3 * low, 1e3 * high)
            for value, middle, (low, high) in zip(
                values, record["seconds"], record["quartiles"], strict=True
            )
        ]
        picture = line_plot(
            [Series("masks", points)], x_label=_KNOBS[knob], y_label="masks of an image, ms"
        )
        (folder / name).write_text(picture)
        rows = [[_KNOBS[knob], *values], ["ms", *(_ms(s) for s in record["seconds"])]]
        if knob == "subdivision_steps":
            rows.insert(1, ["resolution", *(7 * 2**v for v in values)])
        parts.append(f"![{_KNOBS[knob]}]({name})\n\n" + table([str(c) for c in rows[0]], rows[1:]))
    return "\n\n".join(parts) or _MISSING


def dial(record: dict[str, Any], folder: Path) -> str:
    rows = record["rows"]
    paper, whole = {"subdivision_num_points": 784}, {"min_cell_px": 0.0}

    def those(**fields: float) -> list[dict[str, Any]]:
        return [r for r in rows if all(r[name] == value for name, value in fields.items())]

    groups = {
        "steps": (those(**paper, **whole), "subdivision_steps"),
        "points of a step": (those(subdivision_steps=5, **whole), "subdivision_num_points"),
        "min_cell_px": (those(subdivision_steps=5, **paper), "min_cell_px"),
    }
    series = [
        Series(
            name,
            [
                _timed_quality(r, f"{r[field]:g}")
                for r in rows
                # The paper's own setting, which is of all three, once.
                if r in group and (field == "subdivision_steps" or r not in groups["steps"][0])
            ],
        )
        for name, (group, field) in groups.items()
    ]
    picture = trade_off_plot(series, x_label="masks of an image, ms", y_label="Boundary AP")
    (folder / "benchmark_dial.svg").write_text(picture)
    head = (
        "subdivision_steps", "resolution", "subdivision_num_points", "min_cell_px",
        "points an instance, at most", "masks, ms an image", "mask AP", "mask AP75", "Boundary AP",
    )  # fmt: skip
    cells = [
        (
            r["subdivision_steps"], r["resolution"], r["subdivision_num_points"], r["min_cell_px"],
            r["most_points"], f"{r['milliseconds']:.1f}", f"{100 * r['mask_ap']:.1f}",
            f"{100 * r['mask_ap75']:.1f}", f"{100 * r['boundary_ap']:.1f}",
        )
        for r in rows
    ]  # fmt: skip
    return f"![Boundary AP against time](benchmark_dial.svg)\n\n{table(head, cells)}"


def _timed_quality(row: Record, name: str) -> Point:
    low, high = row["quartiles"]
    return Point(row["milliseconds"], 100 * row["boundary_ap"], low, high, name)


def _where(machine: Record) -> str:
    return (
        f"{machine['date']}, {machine['processor']}, jax {machine['jax']}, Python "
        f"{machine['python']}, at commit {machine['commit']}"
    )


def write(bench: Records, dialled: dict[str, Any] | None, template: str, folder: Path) -> str:
    """The document; its plots go to `folder`. A template names the parts."""
    facts = next(iter(of_case(bench, "predict")))
    where = f"{_where(facts['machine'])}, {facts['weights']} weights."
    commits = {record["machine"]["commit"] for record in bench.values() if "machine" in record}
    if others := sorted(commits - {facts["machine"]["commit"]}):
        where += f" Some parts at commit {', '.join(others)}."
    parts = {
        "WHERE": where,
        "COMPARISON": comparison(bench),
        "CONV_HEAD": f"{CONV_HEAD_MILLISECONDS[0]} and {CONV_HEAD_MILLISECONDS[1]}",
        "STAGES": stages(bench),
        "TRAINING": training(bench),
        "HEADS": "\n\n".join(map(head_costs, of_case(bench, "heads"))) or _MISSING,
        "OPERATIONS": "\n\n".join(map(operations, of_case(bench, "operations"))) or _MISSING,
        "FIRST": first_and_others(bench),
        "CURVES": curves(bench, folder),
        "DIAL": dial(dialled, folder) if dialled else _MISSING,
        "DIAL_IMAGES": str(dialled["images"]) if dialled else "on the",
        "DIAL_WHERE": f"{_where(dialled['machine'])}. " if dialled else "",
    }
    for name, text in parts.items():
        template = template.replace("{{" + name + "}}", text)
    return template


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--dial", type=Path, help="of `benchmarks.speed.dial`")
    parser.add_argument("--docs", type=Path, default=_DOCS)
    args = parser.parse_args()
    template = Path(__file__).with_name("benchmarks.md.in").read_text()
    bench = json.loads(args.bench.read_text())
    dialled = json.loads(args.dial.read_text()) if args.dial else None
    (args.docs / "benchmarks.md").write_text(write(bench, dialled, template, args.docs))


if __name__ == "__main__":
    main()
