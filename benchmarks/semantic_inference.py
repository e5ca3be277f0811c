r"""Time and peak memory of a semantic model on one large image, in a process of its own.

    PYTHONPATH=. python benchmarks/semantic_inference.py --hw 1024 2048 \
        --config configs/pointrend_semantic_r101_fpn_cityscapes.py
    PYTHONPATH=. python benchmarks/semantic_inference.py --hw 16384 16384 --tile 1024 \
        --checkpoint runs/camvid

With --config the weights are random: time and memory do not depend on them. The image is noise over
a few large shapes. With --tile it is a .npy file, read and written in tiles. Prints JSON: resident
memory (MiB) before the model, with the model, and at the peak; seconds of the first call (which
compiles) and the median of the others. A second process finds the programs in the compilation cache
and shows the peak without compiling.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

# Rows written at a time.
_STRIP = 256


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """What one process sees. Imports here, so that the parent stays small."""
    import jax

    from pointrend_jax.predict.labels import SemanticPredictor

    jax.config.update("jax_compilation_cache_dir", str(args.cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    start = _resident()
    predictor = _load(args)
    assert isinstance(predictor, SemanticPredictor), "a semantic model is needed"
    loaded = _resident()
    seconds = []
    for _ in range(args.calls):
        began = time.perf_counter()
        _predict(predictor, args)
        seconds.append(time.perf_counter() - began)
        print(f"{seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    return {
        "before_model": start,
        "with_model": loaded,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "first_seconds": seconds[0],
        "median_seconds": statistics.median(seconds[1:] or seconds),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
    }


def _load(args: argparse.Namespace) -> Any:
    from pointrend_jax.config import load_config
    from pointrend_jax.predict.labels import SemanticPredictor
    from pointrend_jax.predict.load import load
    from pointrend_jax.tasks.build import build_task

    if args.checkpoint:
        return load(args.checkpoint)
    config = load_config(args.config)
    names = [str(i) for i in range(config.num_classes)]
    return SemanticPredictor(build_task(config).init(0), config, names)


def _predict(predictor: Any, args: argparse.Namespace) -> None:
    from pointrend_jax.predict.npy_file import NpyImage, NpyLabels

    if not args.tile:
        labels = predictor.predict(np.load(args.image)).labels
        assert labels.shape == tuple(args.hw)
        return
    image = NpyImage(args.image)
    with NpyLabels(args.image.with_name("labels.npy"), tuple(args.hw)) as labels:
        predictor.predict_tiles(
            image, tile=args.tile, overlap=args.overlap, out=labels, progress=True
        )


def _resident() -> float:
    """MiB now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def write_image(path: Path, hw: tuple[int, int]) -> None:
    """Strip by strip, so that the writer stays small too."""
    height, width = hw
    rng, columns = np.random.default_rng(0), np.arange(width)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (height, width, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, height, _STRIP):
            rows = np.arange(first, min(first + _STRIP, height))[:, None]
            shapes = ((rows // 500 + columns[None] // 700) % 3 * 70)[..., None]
            noise = rng.integers(0, 60, (len(rows), width, 3))
            file.write((shapes + noise).astype(np.uint8).tobytes())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--config", type=Path)
    model.add_argument("--checkpoint", type=Path)
    parser.add_argument("--hw", type=int, nargs=2, required=True, help="height and width in pixels")
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--overlap", type=int, default=256)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    if args.image:
        print(json.dumps(measure(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        image, cache = Path(folder) / "image.npy", Path(folder) / "cache"
        write_image(image, (args.hw[0], args.hw[1]))
        command = [sys.executable, __file__, *sys.argv[1:], "--image", image, "--cache", cache]
        results = {}
        for name in ("compiling", "compiled before"):
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[name] = json.loads(output.stdout)
            if args.tile:
                break
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
