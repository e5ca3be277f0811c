"""`make parity KIT=DIR`: compares with a kit's stored Detectron2 numbers, row by row, as they come.

Exit status 0 only if something was compared and nothing missed its tolerance. What a kit holds and
this project does not build yet is listed as left out, never as passed.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from parity.compare import LeftOut, Result, Row, compare, part
from parity.facts import schedule_rows, score_rows
from parity.host import HOST_FILES
from parity.models import STAGES, model_results
from parity.ops import OP_FILES, load
from parity.report import HEADER, columns, markdown, text_line


def op_results(kit: Path, stage: str) -> Iterator[Result]:
    """The rows of every known file of `kit/ops`."""
    for path in sorted((kit / "ops").glob(f"{stage or '*'}.npz")):
        if path.stem in OP_FILES or path.stem in HOST_FILES:
            yield from part(path.stem, "operation", _rows_of_operation(path))
        else:
            yield LeftOut(f"ops/{path.stem}", "unknown file")


def _rows_of_operation(path: Path) -> Iterator[Result]:
    name = path.stem
    checks = OP_FILES[name](load(path)) if name in OP_FILES else HOST_FILES[name](path)
    for check in checks:
        yield compare(name, check)


def fact_results(kit: Path) -> Iterator[Result]:
    """The rows of the kit's files beside ops/ and models/."""
    if (kit / "schedules.json").is_file():
        yield from part("schedules", "schedules", schedule_rows(kit))
    if (kit / "coco_eval.json").is_file():
        yield from part("coco_eval", "scores", score_rows(kit))


def results(kit: Path, model: str, stage: str) -> Iterator[Result]:
    """Everything that was asked for, as it is made."""
    if not model and not stage:
        yield from fact_results(kit)
    if not model and stage not in STAGES:
        yield from op_results(kit, stage)
    if not stage or stage in STAGES:
        for folder in sorted((kit / "models").glob(model or "*")):
            if folder.is_dir():
                yield from _timed(folder.name, model_results(kit, folder, stage))


def _timed(name: str, made: Iterator[Result]) -> Iterator[Result]:
    """`made`; says on stderr when all is."""
    start, number = time.monotonic(), 0
    for result in made:
        number += isinstance(result, Row)
        yield result
    print(f"{name}: {number} rows, {time.monotonic() - start:.0f} s", file=sys.stderr)


def check_choice(kit: Path, model: str, stage: str) -> None:
    """Raises ValueError, listing what there is, for a kit, model or stage that does not exist."""
    parts = ("ops", "models", "schedules.json", "coco_eval.json")
    if not any((kit / name).exists() for name in parts):
        raise ValueError(f"{kit} is no parity kit: it has none of {', '.join(parts)}.")
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
    left_out: list[LeftOut] = []
    print(columns(HEADER), flush=True)
    for result in results(args.kit, args.model, args.stage):
        # At once: a run takes half an hour, and what it found must not be lost when it is stopped.
        print(text_line(result), flush=True)
        if isinstance(result, Row):
            rows.append(result)
        else:
            left_out.append(result)
    missed = sum(not row.passed for row in rows)
    print(f"{len(rows)} compared, {missed} missed, {len(left_out)} left out")
    if args.markdown:
        args.markdown.write_text(markdown(rows, left_out, "make parity KIT=DIR"))
    if not rows:
        print("nothing was compared", file=sys.stderr)
    return int(missed > 0 or not rows)


if __name__ == "__main__":
    sys.exit(main())
