"""Damages the checkpoint of a tiny training, bit by bit and file by file, and loads it each time.

    PYTHONPATH=. python benchmarks/flip_bits.py --workdir runs/flips --flips 200

A tiny model is trained to two checkpoints. Then one random bit of the newer one is flipped, until
--flips of them have changed a value (a reader that verifies nothing tells which), and it is read as
`predict`, `eval.py` and a resumed run read it. Afterwards every file of it is removed, emptied, cut
in half and zeroed. Each time the first two must refuse in one sentence, and a resumed run must go
on from the older checkpoint; where no value has changed, all may also read what was written. Exit
status 1 if something else happens.
"""

import argparse
import contextlib
import io
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from benchmarks.kill_test import environment
from pointrend_jax.configs import tiny
from pointrend_jax.experiment import evaluate_run
from pointrend_jax.predict.load import load
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import Checkpoints, Retention
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.training.step import DEFAULT_OPTIONS, TrainState, initial_state
from pointrend_jax.training.trees import flat

_OLDER, _NEWER = 2, 4
_LONGEST = 1000  # characters of a message
Arrays = dict[str, np.ndarray]
_DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "removed": lambda content: None,
    "emptied": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
}


def train(workdir: Path) -> None:
    """Two checkpoints."""
    command = [
        sys.executable, "train.py", "--config", "configs/tiny.py", "--workdir", str(workdir),
        f"--config.data.cache_dir={workdir.parent / 'cache'}", f"--config.train.steps={_NEWER}",
        f"--config.train.checkpoint_every={_OLDER}",
    ]  # fmt: skip
    folder = Path(__file__).resolve().parents[1]
    subprocess.run(command, cwd=folder, env=environment(workdir.parent), check=True)


def read_unverified(workdir: Path, step: int) -> Arrays | None:
    """All arrays as orbax reads them; None if it cannot."""
    folder = (workdir / "checkpoints" / str(step) / "state").absolute()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return arrays_of(checkpointer.restore(folder))
    # Whatever damaged files make it raise.
    except Exception:  # noqa: BLE001
        return None


def arrays_of(tree: Any) -> Arrays:
    return {name: np.asarray(array) for name, array in flat(tree).items()}


def equal(one: Arrays | None, other: Arrays | None) -> bool:
    """Whether both have the same arrays, bit for bit."""
    if one is None or other is None or one.keys() != other.keys():
        return False
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def shape_of_the_state() -> TrainState:
    """What a resumed run restores into."""
    config = tiny.get_config()
    task = build_task(config)

    def begin(variables: Any) -> TrainState:
        optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)
        return initial_state(variables, optimizer, DEFAULT_OPTIONS)

    return jax.eval_shape(begin, task.shapes())


def refusal(read: Callable[[Path], Any], workdir: Path) -> str:
    """The sentence with which `read` refuses; "" if it does not."""
    try:
        read(workdir)
    except ValueError as error:
        return str(error)
    return ""


def outcome(workdir: Path, expected: dict[int, Arrays], like: TrainState) -> str:
    """What every road makes of the damaged checkpoint: "found", "unchanged", or what is wrong."""
    unverified = read_unverified(workdir, _NEWER)
    changed = unverified is not None and not equal(unverified, expected[_NEWER])
    refused = refusal(load_variables, workdir)
    with Checkpoints(workdir, Retention(9)) as checkpoints:
        found = checkpoints.restore_newest(like)
    if found is None or not equal(arrays_of(found[0]), expected[found[1]]):
        return "WRONG: a run resumes with other values"
    if not refused:
        return "WRONG: read with other values" if changed else "unchanged"
    if found[1] != _OLDER:
        return "WRONG: a run resumes from what predict refuses"
    sentences = [refused, refusal(load, workdir), refusal(evaluate_run, workdir)]
    # Arrays are read by threads, so which of several damaged ones is named first may differ.
    same = len({re.sub(r"\(.*\)", "", sentence) for sentence in sentences}) == 1
    if not same or any(len(s) > _LONGEST or "\n" in s for s in sentences):
        return f"WRONG: {sentences}"
    return "found" if changed else "found although no value is another"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="of all that is written")
    parser.add_argument("--flips", type=int, default=200, help="that change a value")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # Orbax prints whole files that it cannot read.
    logging.set_verbosity(logging.FATAL)
    workdir, rng = args.workdir / "run", random.Random(args.seed)
    shutil.rmtree(workdir, ignore_errors=True)
    train(workdir)
    expected = {step: read_unverified(workdir, step) or {} for step in (_OLDER, _NEWER)}
    like = shape_of_the_state()
    newest = workdir / "checkpoints" / str(_NEWER)
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    counts: Counter[str] = Counter()

    def damage(file: Path, kind: str, change: Callable[[bytes], bytes | None]) -> str:
        content = file.read_bytes()
        damaged = change(content)
        file.unlink()
        if damaged is not None:
            file.write_bytes(damaged)
        with contextlib.redirect_stdout(io.StringIO()):
            result = outcome(workdir, expected, like)
        file.write_bytes(content)
        counts[f"{kind}: {result}"] += 1
        if result.startswith("WRONG"):
            print(f"{file.relative_to(newest)} {kind}: {result}", flush=True)
        return result

    found = tried = 0
    while found < args.flips:
        [file] = rng.choices(files, sizes)
        tried += 1
        found += damage(file, "bit flipped", lambda content: flipped(content, rng)) == "found"
        if tried % 20 == 0:
            print(f"{tried} bits flipped, of which {found} change a value", flush=True)
        if tried > 20 * args.flips:
            break
    for file in files:
        for kind, change in _DAMAGES.items():
            damage(file, kind, change)
    for text, count in sorted(counts.items()):
        print(f"{count:5d} {text}")
    wrong = sum(count for text, count in counts.items() if "WRONG" in text)
    print(f"{found} flips that change a value found by predict, eval and resume; {wrong} wrong")
    sys.exit(wrong > 0 or found < args.flips)


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    bit = rng.randrange(8 * len(content))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


if __name__ == "__main__":
    main()
