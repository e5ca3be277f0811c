"""How long a file of weights takes to become arrays of ours: read, named, checked, transposed.

    PYTHONPATH=. python benchmarks/import_weights.py --weights FILE --config CONFIG

Prints the seconds of one import in this fresh process, with the sha256 of the file included.
"""

import argparse
import sys
import time
from pathlib import Path

from pointrend_jax.config import load_config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.weights import import_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--config", type=Path, required=True)
    args = parser.parse_args()
    config = load_config(args.config)
    start = time.perf_counter()
    weights = import_file(args.weights, config, build_task(config))
    seconds = time.perf_counter() - start
    torch = "with" if "torch" in sys.modules else "without"
    print(f"{len(weights.arrays)} arrays in {seconds:.1f} s, {torch} torch in the process")


if __name__ == "__main__":
    main()
