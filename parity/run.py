"""`make parity KIT=DIR`: compares with the stored Detectron2 numbers of a kit and prints a table.

Exit status 0 only if something was compared and nothing missed its tolerance. What a kit holds and
this project does not build yet is listed as left out, never as passed.
"""

import argparse
import sys
import time
from math import inf
from pathlib import Path

from parity.compare import Row, compare
from parity.facts import schedule_rows, score_rows
from parity.host import HOST_FILES
from parity.kit import MODELS
from parity.models import STAGES, left_out, model_rows
from parity.ops import OP_FILES, load
from parity.report import markdown, text_table


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
        else:
            left_out.append(f"ops/{name}: unknown file")
    return rows, left_out


def compare_facts(kit: Path) -> tuple[list[Row], list[str]]:
    """Rows of the kit's files beside ops/ and models/."""
    rows, left_out = [], []
    if (kit / "schedules.json").is_file():
        rows, left_out = schedule_rows(kit)
    if (kit / "coco_eval.json").is_file():
        rows += score_rows(kit)
    return rows, left_out


def compare_models(kit: Path, model: str, stage: str) -> tuple[list[Row], list[str]]:
    """Rows of the folders of `kit/models`; tells on stderr how far it is."""
    rows: list[Row] = []
    unbuilt: list[str] = []
    folders = sorted(p for p in (kit / "models").glob(model or "*") if p.is_dir())
    for folder in folders:
        unbuilt += left_out(folder)
        if folder.name not in MODELS:
            continue
        start, before = time.monotonic(), len(rows)
        try:
            for row in model_rows(kit, folder, stage):
                rows.append(row)
        except (ValueError, KeyError, OSError) as error:
            # What was compared before it is still worth its lines.
            rows.append(Row(folder.name, f"stopped by {type(error).__name__}: {error}", inf, 0.0))
        seconds = time.monotonic() - start
        print(f"{folder.name}: {len(rows) - before} rows, {seconds:.0f} s", file=sys.stderr)
    return rows, unbuilt


def check_choice(kit: Path, model: str, stage: str) -> None:
    """Raises ValueError, listing what there is, for a kit, model or stage that does not exist."""
    if not (kit / "ops").is_dir() and not (kit / "models").is_dir():
        raise ValueError(f"{kit} is no parity kit: it has neither ops/ nor models/.")
    models = sorted(path.name for path in (kit / "models").glob("*"))
    if model and model not in models:
        raise ValueError(f"the kit has no model {model!r}; it has {', '.join(models)}.")
    files = sorted(path.stem for path in (kit / "ops").glob("*.npz"))
    if stage and stage not in (*STAGES, *files):
        raise ValueError(
            f"there is no stage {stage!r}; of models: {', '.join(STAGES)}; of ops: "
            f"{', '.join(files)}."
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, required=True, help="folder of the parity kit")
    parser.add_argument("--model", default="", help="only this folder of models/")
    parser.add_argument(
        "--stage", default="", help=f"only one of {', '.join(STAGES)}, or a file of ops/"
    )
    parser.add_argument("--markdown", type=Path, help="also write the tables of a document there")
    args = parser.parse_args()
    try:
        check_choice(args.kit, args.model, args.stage)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    rows: list[Row] = []
    unbuilt: list[str] = []
    if not args.model and not args.stage:
        rows, unbuilt = compare_facts(args.kit)
    if not args.model and args.stage not in STAGES:
        more = compare_ops(args.kit, args.stage)
        rows, unbuilt = rows + more[0], unbuilt + more[1]
    if not args.stage or args.stage in STAGES:
        more = compare_models(args.kit, args.model, args.stage)
        rows, unbuilt = rows + more[0], unbuilt + more[1]
    print(text_table(rows, unbuilt))
    missed = sum(not row.passed for row in rows)
    print(f"{len(rows)} compared, {missed} missed, {len(unbuilt)} left out")
    if args.markdown:
        args.markdown.write_text(markdown(rows, unbuilt, "make parity KIT=DIR"))
    if not rows:
        print("nothing was compared", file=sys.stderr)
    return int(missed > 0 or not rows)


if __name__ == "__main__":
    sys.exit(main())
