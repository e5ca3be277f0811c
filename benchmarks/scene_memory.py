r"""Memory of predicting a scene in tiles, in a process that does nothing else.

    PYTHONPATH=. python benchmarks/scene_memory.py SCENE.tif --tile 512 [--overlap 256]
        [--format overlay,png] [--checkpoint RUN]

Without a checkpoint the model has random weights: EfficientNet-Lite0 as the example of
docs/more_than_rgb.md, for the channels and the type of the scene. Prints JSON: the resident memory
(MiB) after the imports and with the model on the device, the most until the model was there and
during the prediction, which writes the files that `pointrend_jax predict` writes, and how much of
it at the end are pages of program files, which the system may drop and read again. Two processes
measure: the first compiles, the second finds the program in the compilation cache. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(scene: Path, checkpoint: Path, args: argparse.Namespace) -> dict[str, float]:
    """What one process sees. Imports here, so that the parent stays small."""
    from pointrend_jax.cli.predict import Options, predict_files
    from pointrend_jax.pixel_format import pixel_format
    from pointrend_jax.predict.formats import chosen_formats
    from pointrend_jax.predict.inputs import check_files
    from pointrend_jax.predict.load import load, model_config
    from pointrend_jax.predict.sources import find_images

    found = {"after_imports": _of_process("VmRSS")}
    options = Options(chosen_formats(args.format, "semantic"), tile=args.tile, overlap=args.overlap)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        files = check_files(
            find_images([str(scene)], output), output, formats=options.formats, task="semantic",
            pixels=pixel_format(model_config(checkpoint)), tiled=True,
        )  # fmt: skip
        predictor = load(checkpoint)
        found |= {"with_model": _of_process("VmRSS"), "most_until_then": _of_process("VmHWM")}
        # The most from now on is counted anew.
        Path("/proc/self/clear_refs").write_text("5")
        began = time.perf_counter()
        predict_files(predictor, files, output, options)
        return found | {
            "most_predicting": _of_process("VmHWM"),
            "of_libraries": _of_process("RssFile"),
            "seconds": time.perf_counter() - began,
        }


def draw_model(scene: Path, workdir: Path) -> None:
    """A checkpoint with random weights, drawn by numpy."""
    import numpy as np

    from pointrend_jax.configs import base, presets
    from pointrend_jax.data.rasters import rasterio
    from pointrend_jax.tasks.build import build_task
    from pointrend_jax.training.checkpoints import CheckpointMeta
    from pointrend_jax.training.saved_variables import save_variables
    from pointrend_jax.training.trees import flat, nested

    config = base.get_config()
    config.task, config.num_classes = "semantic", 2
    presets.use_lite(config)
    with rasterio().open(scene) as file:
        config.data.channels, config.data.dtype = file.count, file.dtypes[0]
    config.data.value_range = {"uint8": (), "uint16": (0.0, 65535.0)}.get(
        config.data.dtype, (0.0, 1.0)
    )
    rng = np.random.default_rng(0)
    drawn = {
        path: (rng.normal(0.0, 0.05, array.shape) if "params" in path else np.ones(array.shape))
        for path, array in flat(build_task(config).shapes()).items()
    }
    variables = nested({path: array.astype(np.float32) for path, array in drawn.items()})
    save_variables(workdir, variables, CheckpointMeta(config.to_dict(), ("0", "1")))


def _of_process(name: str) -> float:
    """MiB, of Linux' account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kib) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=None)
    parser.add_argument("--format", default="", help="as of pointrend_jax predict")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--role", choices=("draw", "measure"), help="of the processes it starts")
    args = parser.parse_args()
    args.format = tuple(filter(None, args.format.split(",")))
    if args.role == "draw":
        draw_model(args.scene, args.checkpoint)
        return
    if args.role == "measure":
        print(json.dumps(measure(args.scene, args.checkpoint, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint or Path(folder) / "run"
        command = [sys.executable, __file__, *sys.argv[1:], "--checkpoint", str(checkpoint)]
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

        def child(role: str) -> str:
            done = subprocess.run(
                [*command, "--role", role], check=True, stdout=subprocess.PIPE, text=True,
                env=environment,
            )  # fmt: skip
            return done.stdout

        if not args.checkpoint:
            child("draw")
        results = {
            name: json.loads(child("measure").splitlines()[-1])
            for name in ("compiling", "compiled")
        }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
