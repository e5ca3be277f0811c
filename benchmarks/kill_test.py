"""Kills a tiny training again and again, and compares what it ends with.

    PYTHONPATH=. python benchmarks/kill_test.py --workdir runs/kill --kills 20 \
        -- --config.train.deterministic=True

A run that is never killed is the reference. Then the same command is started in a fresh directory
and killed (SIGKILL; with --signal TERM, asked to stop) at a random moment: while the data is
prepared, in a step, or while a checkpoint is written; it is started again until it is through.
When it is, and kills are left, another directory begins. What follows `--` is given to all of them.
At the end every run must have the parameters, momentum and losses of the reference, bit for bit.
Exit status 1 if one has not.
"""

import argparse
import json
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from pointrend_jax.training.trees import flat

_SOURCES = Path(__file__).resolve().parents[1]
# The parts of a life, from which the moment of its end is drawn.
_MOMENTS = ("prepare", "start", "step", "save")


class Life(NamedTuple):
    """From a start to its end. steps: lines of finished steps it printed."""

    killed_in: str
    status: int
    steps: int


class Run(NamedTuple):
    """A training that may be killed.

    Attributes:
      cache: of its data.
      variables: of its environment.
      flags: further ones of train.py.
      config: whose training it is.
    """

    workdir: Path
    cache: Path
    steps: int = 24
    variables: Mapping[str, str] = MappingProxyType({})
    flags: tuple[str, ...] = ()
    config: str = "configs/tiny.py"


def live(run: Run, moment: str, number: signal.Signals, delay: float) -> Life:
    """One start of the training, ended `delay` seconds into `moment` unless it is through before.

    Args:
      moment: of `_MOMENTS`, or "" to let it live.
    """
    process = subprocess.Popen(
        _command(run),
        cwd=_SOURCES, env=environment(run.workdir.parent) | dict(run.variables), text=True,
        bufsize=1,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    lines, due = [], time.monotonic() + delay if moment == "start" else None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            wait = None if due is None else max(due - time.monotonic(), 0.0)
            if moment == "prepare":
                # From the moment on at which the first file of the data appears.
                wait = 0.01
                if run.cache.exists():
                    due, moment = time.monotonic() + delay, "prepare!"
            ready = selector.select(wait)
            if not ready and due is not None and time.monotonic() >= due:
                process.send_signal(number)
                due = None
            if not ready:
                continue
            line = process.stdout.readline()
            if not line:
                break
            lines.append(line)
            # Every other step is followed by a checkpoint; the next step runs while it is written.
            parity = {"step": 1, "save": 0}.get(moment)
            if due is None and line.startswith("step ") and _step(line) % 2 == parity:
                due, moment = time.monotonic() + delay, moment + "!"
    status = process.wait()
    process.stdout.close()
    # SIGTERM before the first step, when there is nothing to save, ends the program as any other.
    if status not in (0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
        raise RuntimeError(f"the training failed with status {status}:\n{''.join(lines)}")
    return Life(moment, status, sum(line.startswith("step ") for line in lines))


def _step(line: str) -> int:
    return int(line.removeprefix("step").split("/")[0])


def _command(run: Run) -> list[str]:
    return [
        sys.executable, "train.py", "--config", run.config, "--workdir", str(run.workdir),
        f"--config.data.cache_dir={run.cache}", f"--config.train.steps={run.steps}",
        "--config.train.log_every=1", "--config.train.checkpoint_every=2", *run.flags,
    ]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """The environment of a training whose compiled programs are kept in `folder`."""
    return os.environ | {
        "PYTHONPATH": str(_SOURCES),
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def content(workdir: Path, last_step: int) -> dict[str, np.ndarray]:
    """All arrays of the last checkpoint, and the losses of all steps."""
    folder = (workdir / "checkpoints" / str(last_step) / "state").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = {name: np.asarray(x) for name, x in flat(checkpointer.restore(folder)).items()}
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [r["step"] for r in records if "loss" in r]
    if steps != list(range(1, last_step + 1)):
        raise RuntimeError(f"{workdir} has the losses of steps {steps}.")
    losses = {f"loss of step {r['step']}": np.asarray(r["loss"]) for r in records if "loss" in r}
    return arrays | losses


def kill_until_done(
    run: Run, number: signal.Signals, left: int, rng: random.Random
) -> Counter[str]:
    """Kills one run up to `left` times, until it is through; where it was killed, how often."""
    killed: Counter[str] = Counter()
    while True:
        # The data are prepared in the first life, and read in those that follow.
        moment = "prepare" if not run.cache.exists() else rng.choice(_MOMENTS[1:])
        moment = moment if left > 0 else ""
        longest = {"prepare": 0.5, "start": 8.0}.get(moment, 0.3)
        life = live(run, moment, number, rng.uniform(0.0, longest))
        if life.status == 0:
            return killed
        left -= 1
        killed[life.killed_in.removesuffix("!")] += 1
        print(f"  killed in {life.killed_in}: status {life.status}, {life.steps} steps", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="of all the runs")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kills-a-run", type=int, default=5)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("flags", nargs="*", help="of train.py, behind --")
    args = parser.parse_args()
    number, flags = signal.Signals[f"SIG{args.signal}"], tuple(args.flags)
    args.workdir.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    reference = Run(args.workdir / "reference", args.workdir / "reference-cache", flags=flags)
    shutil.rmtree(reference.workdir, ignore_errors=True)
    live(reference, "", number, 0.0)
    expected, killed, wrong = content(reference.workdir, reference.steps), Counter[str](), 0
    runs = 0
    while killed.total() < args.kills:
        run = Run(args.workdir / f"run{runs}", args.workdir / f"cache{runs}", flags=flags)
        for folder in (run.workdir, run.cache):
            shutil.rmtree(folder, ignore_errors=True)
        left = min(args.kills - killed.total(), args.kills_a_run)
        killed += kill_until_done(run, number, left, rng)
        found = content(run.workdir, run.steps)
        differ = [name for name in expected if not np.array_equal(expected[name], found[name])]
        wrong += bool(differ) or found.keys() != expected.keys()
        runs += 1
        print(f"run {runs}: {killed.total()} kills, {len(differ)} of {len(expected)} differ")
    where = ", ".join(f"{count} in {moment}" for moment, count in sorted(killed.items()))
    print(f"{killed.total()} kills by SIG{args.signal} ({where}), {runs} runs, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
