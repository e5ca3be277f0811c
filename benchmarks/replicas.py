"""The same five steps on 1, 2, 4 and 8 replicas, in 1, 2 and 4 processes, by pmap and shard_map.

    PYTHONPATH=. python benchmarks/replicas.py [--layouts 1x1 2x2] [--folder runs/replicas]

Every process has fake CPU devices and works on its part of the same global batch of 8 images; the
processes talk over gloo. Prints, against one process with one device, the largest difference of
losses and parameters, how often the step was compiled, and the median time of a step. With
--folder, results are kept there and not computed again.
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.launch import run_processes

_LAYOUTS = ("1x1", "1x2", "1x8", "2x2", "4x2")


def run_layout(
    processes: int, devices: int, strategy: str, output: Path, *extra: str
) -> dict[str, Any]:
    """Losses, parameters, seconds a step and number of compilations of the lead process."""
    command = [
        "benchmarks/replica_program.py", "--devices", str(devices),
        "--strategy", strategy, "--data", str(output.parent / "data"), "--output", str(output),
        *extra,
    ]  # fmt: skip
    flags = ("--processes={number}", "--index={index}", "--port={port}")
    if not output.exists():
        run_processes(command, processes, cluster_flags=flags, devices=devices)
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
    parser.add_argument("--layouts", nargs="+", default=_LAYOUTS, help="processes x devices")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    print(
        "| processes x devices | strategy | loss, relative | parameter, absolute | compiled | s |"
    )
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        reference = run_layout(1, 1, "pmap", folder / "1x1-pmap.npz")
        for layout, strategy in itertools.product(args.layouts, ("pmap", "shard_map")):
            processes, devices = map(int, layout.split("x"))
            result = run_layout(processes, devices, strategy, folder / f"{layout}-{strategy}.npz")
            loss, parameter = differences(reference, result)
            print(
                f"| {processes} x {devices} | {strategy} | {loss:.1e} | {parameter:.1e} | "
                f"{int(result['compiled'])} | {np.median(result['seconds'][1:]):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
