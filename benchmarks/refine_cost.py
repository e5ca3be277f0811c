"""What refining costs: the encoder and the rest of a mask apart, and 300 masks on a large photo.

    PYTHONPATH=. python benchmarks/refine_cost.py --checkpoint RUN

Times are medians of a batch of eight crops that are compiled already, a mask's share of it. Memory
is the resident peak while the masks of a 12-megapixel photo of noise are refined, less what was
resident before, with the photo loaded and the program compiled.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pointrend_jax.cli.errors import with_clear_errors
from pointrend_jax.data.batches.crops import given_batch
from pointrend_jax.masks.polygons import Segmentation
from pointrend_jax.models.refiner import Refiner, build_refiner
from pointrend_jax.predict.load import load_refiner
from pointrend_jax.predict.refiner import MaskRefiner
from pointrend_jax.storage import as_path
from pointrend_jax.training.saved_variables import load_variables

_BATCH, _REPEATS = 8, 7
_HW, _MASKS = (3000, 4000), 300


def seconds_a_mask(run: Callable[[], Any]) -> float:
    """The median of a few repeats, divided by the masks of a batch."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) / _BATCH


def times(checkpoint: str, refiner: MaskRefiner) -> dict[str, float]:
    """Milliseconds a mask of the encoder, of encoder and points, and of the host's part."""
    variables, _, _ = load_variables(as_path(checkpoint))
    model = build_refiner(refiner.config)
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    y, x = np.mgrid[:480, :640]
    mask = ((x - 320) / 150) ** 2 + ((y - 240) / 100) ** 2 <= 1
    crops = [refiner.crop(photo, mask, "the mask")] * _BATCH
    batch = given_batch(crops, int(refiner.config.data.buckets[0][0]), _BATCH)
    encode = jax.jit(lambda v, b: model.apply(v, b, method=Refiner.encode))
    predict = jax.jit(lambda v, b: model.apply(v, b, method=Refiner.predict))
    start = time.perf_counter()
    for _ in range(_BATCH):
        refiner.crop(photo, mask, "the mask")
    cutting = (time.perf_counter() - start) / _BATCH
    whole = seconds_a_mask(lambda: list(refiner.refine_crops(crops)))
    seconds = {
        "encoder": seconds_a_mask(lambda: encode(variables, batch)),
        "encoder and points": seconds_a_mask(lambda: predict(variables, batch)),
        "all, from photo and mask to mask": whole + cutting,
    }
    return {name: 1000 * value for name, value in seconds.items()}


def memory(refiner: MaskRefiner) -> float:
    """MiB beyond the photo of 300 masks, polygons of 20 corners, of 60 to 1000 pixels."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (*_HW, 3), np.uint8)
    masks: list[Segmentation] = []
    for _ in range(_MASKS):
        radius = rng.uniform(30, 500)
        centre = rng.uniform([radius, radius], [_HW[1] - radius, _HW[0] - radius])
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        masks.append([corners.ravel().tolist()])
    refiner(photo, masks[:1])
    # Linux counts the peak anew from here on.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    refined = refiner(photo, masks)
    assert len(refined) == _MASKS
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    args = parser.parse_args()
    refiner = load_refiner(args.checkpoint)
    for name, value in times(args.checkpoint, refiner).items():
        print(f"{name}: {value:.1f} ms a mask", flush=True)
    height, width = _HW
    print(f"{_MASKS} masks on {width}x{height}: {memory(refiner):.0f} MiB beyond the photo")


if __name__ == "__main__":
    with_clear_errors(main)
