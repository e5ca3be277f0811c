"""The same five steps on 1, 4 and 8 replicas, in 1, 2 and 4 processes, by pmap and shard_map.

    PYTHONPATH=. python benchmarks/replicas.py

Every process has fake CPU devices and works on its part of the same global batch of 8 images; the
processes talk over gloo. Prints, against one process with one device, the largest difference of
losses and parameters, and how often the step was compiled.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.launch import finish, start_processes

_LAYOUTS = ((1, 1), (1, 2), (1, 8), (2, 2), (4, 2))


def run_layout(
    processes: int, devices: int, strategy: str, output: Path, *extra: str
) -> dict[str, Any]:
    """Losses, parameters, seconds a step and number of compilations of the lead process."""
    command = [
        "-m", "tests.training.replica_program", "--devices", str(devices),
        "--strategy", strategy, "--output", str(output), *extra,
    ]  # fmt: skip
    flags = ("--processes={number}", "--index={index}", "--port={port}")
    finish(start_processes(command, processes, cluster_flags=flags, devices=devices))
    with np.load(output) as content:
        return dict(content)


def differences(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """The largest relative one of a loss, and the largest absolute one of a parameter."""
    losses = [k for k in one if k.startswith("losses/")]
    params = [k for k in one if k.startswith("params/")]
    return (
        max(float(np.max(np.abs(one[k] - other[k]) / np.abs(one[k]))) for k in losses),
        max(float(np.max(np.abs(one[k] - other[k]))) for k in params),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    print("| processes x devices | strategy | loss, relative | parameter, absolute | compiled |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        reference: dict[str, Any] = {}
        for (processes, devices), strategy in itertools.product(_LAYOUTS, ("pmap", "shard_map")):
            name = f"{processes}x{devices}-{strategy}.npz"
            result = run_layout(processes, devices, strategy, Path(folder) / name)
            reference = reference or result
            loss, parameter = differences(reference, result)
            print(
                f"| {processes} x {devices} | {strategy} | {loss:.1e} | {parameter:.1e} | "
                f"{int(result['compiled'])} |",
                flush=True,
            )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
