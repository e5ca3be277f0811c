"""How many training images a second a host reads, decodes, augments and packs, and where it goes.

    PYTHONPATH=. python benchmarks/pipeline.py --config configs/coco_mini.py --data-dir DIR \
        --threads 1 2 4 --images 60

DIR is a COCO-format folder as the config describes it. Sizes, flips and canvases are those of
Detectron2's recipe (shorter edge 640 to 800, longer at most 1333). First each stage alone in one
thread, then the whole pipeline as training uses it. Prints tables, and JSON with --output.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.config import load_config
from pointrend_jax.configs import base
from pointrend_jax.data.batches.object_slots import slots_for
from pointrend_jax.data.batches.objects import read_record, slot_sizes
from pointrend_jax.data.batches.train_plan import Augmentation, PlannedImage, TrainPlan
from pointrend_jax.data.batches.transforms import (
    pack_masks,
    place_image,
    resize_image,
    transform_objects,
)
from pointrend_jax.data.build_objects import build_datasets
from pointrend_jax.data.images import decode_image
from pointrend_jax.data.records.objects import PreparedSet, prepare_objects
from pointrend_jax.data.sources.known import OBJECT_SETS
from pointrend_jax.data.splits import split_finder
from pointrend_jax.structures import Config

_STAGES = ("read record", "decode", "resize", "objects to masks", "pack")


def stage_seconds(prepared: PreparedSet, plan: TrainPlan, number: int) -> dict[str, list[float]]:
    """Seconds of processor time of each stage for each of the first `number` images of `plan`."""
    seconds: dict[str, list[float]] = {name: [] for name in _STAGES}

    def timed(stage: str, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        # The processor time of this thread, so that other work on the machine does not count.
        start = time.thread_time()
        result = work(*arguments, **options)
        seconds[stage].append(time.thread_time() - start)
        return result

    sizes = slot_sizes(prepared, plan)
    for planned, bucket in _images(plan, number):
        content = timed("read record", prepared.source.__getitem__, planned.record)
        image = timed("decode", decode_image, content["image"], "")
        _, objects = read_record(prepared, planned.record)
        hw = planned.image_hw
        _, _, masks = timed(
            "objects to masks",
            transform_objects,
            objects,
            image.shape[:2],
            hw,
            flip=planned.flip,
        )
        resized = timed("resize", resize_image, image, hw)
        timed("pack", _pack, resized, masks, slots_for(len(masks), sizes), bucket)
    return seconds


def _pack(image: np.ndarray, masks: Any, slots: int, bucket: tuple[int, int]) -> None:
    place_image(image, bucket)
    pack_masks(masks, slots, bucket)


def _images(plan: TrainPlan, number: int) -> Iterator[tuple[PlannedImage, tuple[int, int]]]:
    for i in range(number):
        batch = plan[i // plan.batch_size]
        yield batch.images[i % plan.batch_size], batch.bucket


def images_per_second(config: Config, threads: int, number: int) -> float:
    """The rate of the whole pipeline, after its buffers are full."""
    with config.unlocked():
        config.data.num_threads = threads
    batches = build_datasets(config).train_batches(0, 1)
    size = config.train.batch_size
    for _ in range(2 * threads + 1):
        next(batches)
    start = time.perf_counter()
    for _ in range(-(-number // size)):
        next(batches)
    return -(-number // size) * size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    config: Config = load_config(args.config)
    recipe: Config = base.get_config()
    with config.unlocked():
        config.data.dir, config.train.batch_size = args.data_dir, args.batch_size
        for field in ("train_min_sizes", "max_size", "buckets", "flip_probability"):
            config.data[field] = recipe.data[field]
    data = config.data
    cache = Path(data.cache_dir) if data.cache_dir else Path("runs/pipeline")
    prepared = prepare_objects(split_finder(config, OBJECT_SETS)("train"), cache)
    with config.unlocked():
        config.data.cache_dir = str(cache)
    used = [i for i, image in enumerate(prepared.images) if image.labels]
    plan = TrainPlan(
        [(prepared.images[i].height, prepared.images[i].width) for i in used],
        used,
        Augmentation(
            tuple(data.train_min_sizes), data.max_size, data.flip_probability, tuple(data.buckets)
        ),
        batch_size=args.batch_size,
        seed=config.seed,
    )
    stages = stage_seconds(prepared, plan, args.images)
    means = {name: 1000 * float(np.mean(values)) for name, values in stages.items()}
    print("| stage, one thread | CPU ms an image, mean | p90 |\n|---|---|---|")
    for name, values in stages.items():
        print(f"| {name} | {means[name]:.1f} | {1000 * np.percentile(values, 90):.1f} |")
    total = sum(means.values())
    print(f"| all | {total:.1f} ({1000 / total:.1f} images/s) | |\n")
    print("| threads | images/s |\n|---|---|")
    rates = {}
    for threads in args.threads:
        rates[threads] = images_per_second(config, threads, args.images)
        print(f"| {threads} | {rates[threads]:.1f} |", flush=True)
    if args.output:
        content = {"stages_ms": means, "images_per_second": rates, "cpus": os.cpu_count()}
        args.output.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
