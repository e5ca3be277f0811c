"""Measures every case in a process of its own and writes one JSON file.

    python -m benchmarks.speed --output runs/bench.json [--kit DIR] [--only predict heads]

A file that exists is gone on with: what it has is not measured again. --kit takes the weights of a
parity kit, so that the work is that of the Detectron2 figures. docs/benchmarks.md is written from
the file by `python -m benchmarks.speed.report`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """name: in `cases.CASES`. threads: cores it may use, 0 = all."""

    name: str
    threads: int
    arguments: dict[str, Any]

    @property
    def label(self) -> str:
        values = " ".join(f"{k}={v}" for k, v in self.arguments.items())
        return " ".join(f"{self.name} {values} threads={self.threads or 'all'}".split())


def all_cases() -> list[Case]:
    """What a reader asks for first comes first: a run can be stopped and gone on with."""
    cases = [
        Case("predict", 2, {"side": side, "instances": instances})
        for side, instances in ((320, 100), (320, 20), (320, 0), (800, 100), (800, 20))
    ]
    semantic = {"height": 512, "width": 1024}
    cases += [Case("train", 2, {}), Case("semantic", 2, semantic), Case("heads", 2, {})]
    cases.append(Case("operations", 2, {}))
    cases += [Case("compilations", 0, {}), Case("predict", 1, {"side": 320, "instances": 100})]
    for knob, values in (
        ("instances", [1, 5, 20, 50, 100]),
        ("subdivision_num_points", [196, 784, 3136]),
        ("subdivision_steps", [3, 4, 5, 6]),
    ):
        cases.append(Case("curve", 2, {"knob": knob, "values": values}))
    cases += [Case("predict", 1, {"side": s, "instances": n}) for s, n in ((800, 100), (320, 20))]
    cases += [Case("train", 1, {}), Case("semantic", 1, semantic)]
    cases += [Case("images_a_call", 0, {"number": n, "side": 320}) for n in (1, 4)]
    cases += [
        Case("predict", 2, {"side": 320, "instances": 1}),
        Case("predict", 2, {"side": 800, "instances": 0}),
        Case("predict", 1, {"side": 800, "instances": 20}),
        Case("semantic", 2, {"height": 1024, "width": 2048}),
    ]
    return cases


def run_case(case: Case, kit: Path | None) -> dict[str, Any]:
    """Raises: RuntimeError with the end of what the process said if it failed."""
    request = json.dumps([case.name, str(kit) if kit else None, case.threads, case.arguments])
    command = [sys.executable, "-m", "benchmarks.speed", "--case", request]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{case.label} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def first_results(kit: Path | None) -> dict[str, Any]:
    """The first result without compiled programs, and with those of the process before."""
    results = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            arguments = {"cache": cache, "began": time.time()}
            results[name] = run_case(Case("first_result", 0, arguments), kit)
    return results


def _run_here(request: str) -> None:
    # jax starts its threads with its first array: `run` chooses the cores before there is one.
    from benchmarks.speed.cases import run
    from benchmarks.speed.measure import machine

    name, kit, threads, arguments = json.loads(request)
    record = run(name, Path(kit) if kit else None, threads, arguments)
    print(json.dumps(record | {"machine": machine()}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/bench.json"))
    parser.add_argument("--kit", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="names of cases")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        _run_here(args.case)
        return
    if args.kit and not (args.kit / "models").is_dir():
        parser.error(f"{args.kit} is no parity kit: it has no folder models/.")
    known = {case.name for case in all_cases()} | {"first_result"}
    if unknown := set(args.only) - known:
        parser.error(f"unknown cases {sorted(unknown)}; there are {', '.join(sorted(known))}.")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(args.output.read_text()) if args.output.is_file() else {}

    def keep(label: str, record: dict[str, Any]) -> None:
        results[label] = record
        labels = [*(case.label for case in all_cases()), "first_result"]
        in_order = {label: results[label] for label in labels if label in results}
        args.output.write_text(json.dumps(in_order, indent=1) + "\n")

    for case in all_cases():
        if case.label in results or (args.only and case.name not in args.only):
            continue
        start = time.monotonic()
        keep(case.label, {"case": case.name, **case._asdict(), **run_case(case, args.kit)})
        print(f"{case.label}: {time.monotonic() - start:.0f} s", flush=True)
    if "first_result" not in results and (not args.only or "first_result" in args.only):
        keep("first_result", {"case": "first_result", **first_results(args.kit)})


if __name__ == "__main__":
    main()
