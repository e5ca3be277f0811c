"""Where the time goes on the device that jax finds, part by part.

    python -m benchmarks.gpu --output runs/gpu.json [--kit DIR] [--stages] [--network] [--rle]
        [--resizing] [--selection] [--training] [--deterministic] [--profile]
        [--baseline runs/earlier.json] [--small]

Without the name of a part all of them are measured. Figures are printed and written as they come.
--kit takes the weights and the photo of a parity kit; --baseline prints the figures of another such
file beside each. After three minutes no further figure of a part is begun, nor another of the steps
whose bits are compared, and what is left out is said.
--small takes a tiny model and tiny images, to see whether all of it runs.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.limit import Limit, OutOfTimeError
from benchmarks.gpu.parts import PARTS, Figures, Work, small_work, whole_work
from benchmarks.gpu.trace import NoDeviceError
from benchmarks.speed.measure import machine
from pointrend_jax.storage import write_json

_SECONDS_A_PART = 180


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("runs/gpu.json"))
    parser.add_argument("--kit", type=Path)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--small", action="store_true")
    for name, part in PARTS.items():
        summary = (part.__doc__ or "").splitlines()[0]
        parser.add_argument(f"--{name}", action="store_true", help=summary)
    args = parser.parse_args(arguments)
    if args.kit and not (args.kit / "models").is_dir():
        parser.error(f"--kit {args.kit} is no parity kit: it has no folder models/.")
    if args.kit and args.small:
        parser.error("--small has a model of its own; leave --kit out.")
    if args.baseline and not args.baseline.is_file():
        parser.error(f"--baseline {args.baseline} is not a file.")
    earlier = json.loads(args.baseline.read_text()) if args.baseline else {}
    if args.baseline and not {"machine", "weights", "small", "parts"} <= set(earlier):
        parser.error(f"--baseline {args.baseline} is no file that this program wrote.")
    chosen = [name for name in PARTS if getattr(args, name)] or list(PARTS)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "machine": machine(), "weights": "parity kit" if args.kit else "random",
        "small": args.small, "parts": {},
    }  # fmt: skip
    print(_what(record), flush=True)
    if earlier:
        print(f"earlier: {_what(earlier)}", flush=True)
    work = small_work() if args.small else whole_work(args.kit)
    for name in chosen:
        record["parts"][name] = of_part = {}
        _measure(
            name, work, of_part, earlier.get("parts", {}).get(name, {}),
            partial(write_json, args.output, record),
        )  # fmt: skip


def _measure(
    name: str,
    work: Work,
    of_part: dict[str, Any],
    earlier: dict[str, Any],
    save: Callable[[], None],
) -> None:
    """Fills `of_part`, saves and prints as figures come."""
    start = time.monotonic()
    try:
        for what, figures in PARTS[name](work._replace(limit=Limit(_SECONDS_A_PART))):
            of_part[what] = figures
            save()
            print(f"{name}, {what}: {described(figures, earlier.get(what, {}))}", flush=True)
    except OutOfTimeError as error:
        of_part["left_out"] = f"{error}, as {_SECONDS_A_PART} s are over"
    except NoDeviceError as error:
        of_part["left_out"] = str(error)
    if "left_out" in of_part:
        print(f"{name}: left out: {of_part['left_out']}", flush=True)
        save()
    print(f"{name}: {time.monotonic() - start:.0f} s in all", flush=True)


def described(figures: Figures, earlier: Figures) -> str:
    """The figures in words, each with the one that was measured earlier and their ratio."""
    texts = []
    for name, value in figures.items():
        before = earlier.get(name)
        if isinstance(value, str):
            beside = " (as earlier)" if before == value else f" (earlier {before})"
            texts.append(f"{name} {value}" + ("" if before is None else beside))
        elif isinstance(before, float | int) and before:
            texts.append(f"{name} {value:.4g} (earlier {before:.4g}, x{value / before:.2f})")
        else:
            texts.append(f"{name} {value:.4g}")
    return "; ".join(texts)


def _what(record: dict[str, Any]) -> str:
    facts = record["machine"]
    small = ", small" if record["small"] else ""
    return (
        f"{facts['date']}, {facts['device']}, jax {facts['jax']}, commit {facts['commit']}, "
        f"{record['weights']} weights{small}"
    )


if __name__ == "__main__":
    main()
