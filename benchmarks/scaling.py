"""Time of a training step on 1, 2, 4 and 8 replicas, each with as many images.

    PYTHONPATH=. python benchmarks/scaling.py [--per_replica 1] [--folder runs/scaling]

Fake CPU devices share the cores of one machine, so on c cores n replicas should take n / c times as
long as one core takes for one replica: what a step takes beyond that is the cost of replicas. With
--folder, results are kept there and not computed again.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.replicas import run_layout

_REPLICAS = (1, 2, 4, 8)
_STEPS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per_replica", type=int, default=1, help="images")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores; tiny model, {args.per_replica} images of 64 x 64 a replica")
    print(
        "| replicas | s a step (median) | fastest | s a replica | compiled |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for replicas in _REPLICAS:
            batch = str(replicas * args.per_replica)
            result = run_layout(
                1, replicas, "pmap", folder / f"{replicas}-{batch}.npz",
                "--batch", batch, "--steps", str(_STEPS),
            )  # fmt: skip
            # The first step compiles.
            seconds = result["seconds"][1:]
            print(
                f"| {replicas} | {np.median(seconds):.3f} | {np.min(seconds):.3f} | "
                f"{np.median(seconds) / replicas:.3f} | {int(result['compiled'])} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
