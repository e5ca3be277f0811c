"""`make parity KIT=DIR`: compares with the stored Detectron2 numbers of a kit and prints a table.

Exit status 0 only if something was compared and nothing missed its tolerance. What a kit holds and
this project does not build yet is listed as left out, never as passed.
"""

import argparse
import sys
from pathlib import Path

from tests.parity.compare import Row, compare
from tests.parity.host import HOST_FILES
from tests.parity.ops import OP_FILES, load

# Quantities of ops/ that belong to semantic segmentation.
LEFT_OUT = {
    "color_aug_ssd": "SSD colour augmentation is not built yet",
    "interpolate": "sem_seg_postprocess (sem_*) is not built yet",
    "losses": "semantic cross entropy (ce_*, hard20_*) is not built yet",
}


def compare_ops(kit: Path, stage: str) -> tuple[list[Row], list[str]]:
    """Rows of every known file of `kit/ops`, and what was left out and why."""
    rows: list[Row] = []
    left_out: list[str] = []
    for path in sorted((kit / "ops").glob(f"{stage or '*'}.npz")):
        name = path.stem
        if name in OP_FILES:
            rows += [compare(name, check) for check in OP_FILES[name](load(path))]
        elif name in HOST_FILES:
            rows += [compare(name, check) for check in HOST_FILES[name](path)]
        elif name not in LEFT_OUT:
            left_out.append(f"ops/{name}: unknown file")
        if name in LEFT_OUT:
            left_out.append(f"ops/{name}: {LEFT_OUT[name]}")
    return rows, left_out


def print_table(rows: list[Row], left_out: list[str]) -> None:
    header = ("file", "quantity", "difference", "tolerance", "verdict")
    cells = [
        (
            r.file,
            r.quantity,
            f"{r.difference:.2e}",
            f"{r.tolerance:.2e}",
            "ok" if r.passed else "MISS",
        )
        for r in rows
    ]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(5)]
    for row in [header, *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    for line in left_out:
        print(f"left out: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="folder of the parity kit")
    parser.add_argument("--model", default="", help="only this folder of models/")
    parser.add_argument("--stage", default="", help="only this file of ops/ (without .npz)")
    args = parser.parse_args()
    if not (args.kit / "ops").is_dir():
        print(f"{args.kit} is no parity kit: it has no folder ops/.", file=sys.stderr)
        return 2
    rows, left_out = ([], []) if args.model else compare_ops(args.kit, args.stage)
    models = sorted(p.name for p in (args.kit / "models").glob(args.model or "*"))
    left_out += [f"models/{name}: whole models are not compared yet" for name in models]
    print_table(rows, left_out)
    missed = sum(not row.passed for row in rows)
    print(f"{len(rows)} compared, {missed} missed, {len(left_out)} left out")
    if not rows:
        print("nothing was compared", file=sys.stderr)
    return int(missed > 0 or not rows)


if __name__ == "__main__":
    sys.exit(main())
