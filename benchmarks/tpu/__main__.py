"""What a TPU's own compiler says of the programs, for chips that need not be there.

    PYTHONPATH=.:LIBTPU python -m benchmarks.tpu --output runs/tpu.json [--chip v5e:2x4 ...]
        [--stages] [--prediction] [--training] [--only NAME ...] [--baseline runs/earlier.json]

Without the name of a part all of them are compiled, for v5e:2x4 unless other chips are named.
Figures are printed and written as they come: seconds of compilation on this machine, MiB of code
and memory, and the sum of the compiler's estimates of cycles, in which each loop counts as often as
it turns. A program that was compiled before is read from --cache, so a stop loses one at most. A
stage takes a minute or more of a core, the training step many. --baseline prints the figures of
another such file beside each. LIBTPU is a folder that holds the compiler:
pip install --no-deps --target LIBTPU libtpu==VERSION, the version that jax's extra tpu names.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.gpu.__main__ import described
from benchmarks.hlo_collectives import collectives_of
from benchmarks.speed.measure import machine
from benchmarks.tpu.chips import CHIPS, Chip, NoCompilerError, compiler_version, devices_of
from benchmarks.tpu.compiled import Compiled, compiled
from benchmarks.tpu.estimate import Estimate, estimate
from benchmarks.tpu.programs import PROGRAMS, Program
from pointrend_jax.storage import write_json

_PARTS = ("stages", "prediction", "training")
Figures = dict[str, float | str]


def main(arguments: Sequence[str] | None = None) -> None:
    args, parser = _arguments(arguments)
    if args.baseline and not args.baseline.is_file():
        parser.error(f"--baseline {args.baseline} is not a file.")
    earlier = json.loads(args.baseline.read_text()) if args.baseline else {}
    if args.baseline and not {"machine", "chips"} <= set(earlier):
        parser.error(f"--baseline {args.baseline} is no file that this program wrote.")
    try:
        record: dict[str, Any] = {"machine": _facts(), "chips": {}}
    except NoCompilerError as error:
        parser.error(str(error))
    parts = [part for part in _PARTS if getattr(args, part)] or _PARTS
    chosen = args.only or [name for name, program in PROGRAMS.items() if program.part in parts]
    print(_what(record), flush=True)
    if earlier:
        print(f"earlier: {_what(earlier)}", flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    for chip in args.chip:
        devices = devices_of(chip)
        record["chips"][chip] = of_chip = {}
        for name in chosen:
            program = PROGRAMS[name]
            made = compiled(program.lower(devices), chip, args.cache)
            of_chip[name] = of_program = _record(program, CHIPS[chip], made)
            write_json(args.output, record)
            before = earlier.get("chips", {}).get(chip, {}).get(name, {})
            _print(f"{chip}, {name}", of_program, before.get("figures", {}))


def _arguments(
    arguments: Sequence[str] | None,
) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tpu",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("runs/tpu.json"))
    parser.add_argument("--chip", nargs="+", choices=CHIPS, default=["v5e:2x4"])
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, help="of the programs of all parts")
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/tpu"))
    for part in _PARTS:
        names = [name for name, program in PROGRAMS.items() if program.part == part]
        parser.add_argument(f"--{part}", action="store_true", help="; ".join(names))
    return parser.parse_args(arguments), parser


def _record(program: Program, chip: Chip, made: Compiled) -> dict[str, Any]:
    found = estimate(made.text, program.assumed)
    return {
        "figures": made.facts | _speed(found, chip, program.gflop),
        "loops": [loop._asdict() for loop in found.loops],
        "worst": [cost._asdict() for cost in found.worst],
        "unestimated": dict(found.unestimated),
        "collectives": [
            {"kind": one.kind, "arrays": len(one.shapes), "bytes": one.bytes}
            for one in collectives_of(made.text)
        ],
    }


def _speed(found: Estimate, chip: Chip, gflop: float | None) -> Figures:
    """gflop: of the work; how near the chip comes to its peak of it."""
    seconds = found.cycles / chip.clock
    figures: Figures = {"million_cycles": found.cycles / 1e6, "ms": 1e3 * seconds}
    if gflop and seconds:
        figures["percent_of_peak"] = 100 * 1e9 * gflop / seconds / chip.peak
    return figures


def _print(name: str, record: dict[str, Any], earlier: Figures) -> None:
    print(f"{name}: {described(record['figures'], earlier)}")
    for loop in record["loops"]:
        print(
            f"  loop {loop['where']}: {loop['rounds']} rounds ({loop['why']}) of "
            f"{loop['cycles'] / 1e6:.3f} M cycles, begun {loop['times']} times"
        )
    for cost in record["worst"]:
        times = f" in {cost['times']} times" if cost["times"] > 1 else ""
        print(f"  {cost['cycles'] / 1e6:.3f} M cycles{times}: {cost['what']}, {cost['where']}")
    for one in record["collectives"]:
        print(f"  {one['kind']} of {one['arrays']} arrays, {one['bytes']} bytes")
    without = ", ".join(f"{kind} {number}" for kind, number in record["unestimated"].items())
    print(f"  without an estimate: {without or 'nothing'}", flush=True)


def _facts() -> dict[str, Any]:
    """Of this machine and of the compiler."""
    version = compiler_version()
    jax.config.update("jax_platforms", "cpu")
    return machine() | {"libtpu": version}


def _what(record: dict[str, Any]) -> str:
    facts = record["machine"]
    return (
        f"{facts['date']}, libtpu {facts['libtpu']}, jax {facts['jax']}, commit {facts['commit']}; "
        f"compiled on {facts['cores']} cores of {facts['processor']}"
    )


if __name__ == "__main__":
    main()
