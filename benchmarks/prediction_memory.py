r"""Peak memory of predicting one image, in a process that does nothing else.

    PYTHONPATH=. python benchmarks/prediction_memory.py --checkpoint DIR --image FILE

DIR is a run's or a converted checkpoint. Prints JSON: the resident memory (MiB) before the model is
loaded, with the model on the device, at the peak of a first call (which compiles) and, in a second
process that finds the program in the compilation cache, of a call alone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(checkpoint: Path, image: Path, cache: Path) -> dict[str, float]:
    """What one process sees. Imports here, so that the parent stays small."""
    import jax

    from pointrend_jax.data.images import read_image
    from pointrend_jax.predict.instances import Predictor
    from pointrend_jax.predict.load import load

    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    pixels = read_image(image)
    start = _resident()
    predictor = load(checkpoint)
    assert isinstance(predictor, Predictor), "a checkpoint of instances is needed"
    loaded = _resident()
    began = time.perf_counter()
    instances = predictor.predict(pixels)
    seconds = time.perf_counter() - began
    rles = instances.masks.rle()
    return {
        "before_model": start,
        "with_model": loaded,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": seconds,
        "instances": len(rles),
    }


def _resident() -> float:
    """MiB now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="used by the processes that measure")
    args = parser.parse_args()
    if args.cache:
        print(json.dumps(measure(args.checkpoint, args.image, args.cache)))
        return
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--checkpoint", str(args.checkpoint)]
        command += ["--image", str(args.image), "--cache", cache]
        results = {}
        for name in ("compiling", "compiled"):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[name] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
