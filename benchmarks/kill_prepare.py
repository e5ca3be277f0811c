"""Kills `prepare` again and again, and compares the record files with those of a run left alone.

    PYTHONPATH=. python benchmarks/kill_prepare.py --workdir runs/kill_prepare --kills 3 -- \
        --dataset coco --source DIR --subset --images-per-shard 16

What follows `--` is given to `prepare`. Exit status 1 if a byte of any file differs.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

_SOURCES = Path(__file__).resolve().parents[1]
_LOCK = ".lock"


def prepare(data_dir: Path, arguments: list[str], kill_after: float | None) -> bool:
    """Whether it was killed, `kill_after` seconds after its first shard or later."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pointrend_jax", "prepare", "--data-dir", str(data_dir), *arguments],
        cwd=_SOURCES, env=os.environ | {"PYTHONPATH": str(_SOURCES)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    before = len(_notes(data_dir))
    while kill_after is not None and process.poll() is None:
        if len(_notes(data_dir)) > before:
            time.sleep(kill_after)
            process.kill()
            break
        time.sleep(0.001)
    _, errors = process.communicate()
    if process.returncode not in (0, -9):
        raise RuntimeError(errors)
    return process.returncode == -9


def _notes(data_dir: Path) -> list[Path]:
    return list(data_dir.rglob("*.done.json"))


def contents(data_dir: Path) -> dict[str, bytes]:
    """Every file but the lock, by path."""
    files = (path for path in data_dir.rglob("*") if path.is_file() and path.name != _LOCK)
    return {str(path.relative_to(data_dir)): path.read_bytes() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("arguments", nargs="+", help="of prepare, behind --")
    args = parser.parse_args()
    shutil.rmtree(args.workdir, ignore_errors=True)
    whole, killed = args.workdir / "whole", args.workdir / "killed"
    prepare(whole, args.arguments, None)
    rng, kills = random.Random(args.seed), 0
    while kills < args.kills and prepare(killed, args.arguments, rng.uniform(0.0, 0.2)):
        kills += 1
        print(f"killed with {len(_notes(killed))} shards finished", flush=True)
    prepare(killed, args.arguments, None)
    expected, found = contents(whole), contents(killed)
    names = expected.keys() | found.keys()
    differ = sorted(name for name in names if expected.get(name) != found.get(name))
    size = sum(map(len, expected.values())) / 2**20
    print(f"{kills} kills; {len(expected)} files, {size:.1f} MiB: {len(differ)} differ {differ}")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
