"""The cases: functions of keyword arguments to a JSON-ready record, each in its own process."""

import os
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.compilations import counted_compilations
from benchmarks.speed import heads, models, operations, training
from benchmarks.speed.measure import flops, peak_mib, product_rate, seconds
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.layers.regions import Regions
from pointrend_jax.models.mask_rcnn import MaskRCNN, regions_of
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.structures import Detections, ImageBatch, Proposals

Record = dict[str, Any]


def predict(kit: Path | None, *, side: int, instances: int, repeats: int = 5) -> Record:
    """One image, from pixels to RLE at its own size, and the network's stages by themselves."""
    predictor, built = models.instance_predictor(kit, side, instances)
    pixels = models.image(kit)

    def call() -> list[Any]:
        return predictor.predict(pixels).masks.rle()

    whole = seconds(call, repeats)
    peak = peak_mib()
    return {
        "weights": built.weights,
        "found": len(call()),
        "seconds": whole,
        "peak_mib": peak,
        **_stages(predictor, built, pixels, side, repeats),
        "product_gflops": product_rate(),
    }


def _stages(
    predictor: Predictor, built: models.Benchmarked, pixels: np.ndarray, side: int, repeats: int
) -> Record:
    # The same resized pixels for every stage.
    height, width = models.SIZES[side][0]
    resized = np.asarray(jax.image.resize(pixels, (height, width, 3), "linear")).astype(np.uint8)
    batch = models.batch_of(resized, models.SIZES[side][1])
    stages = stage_calls(built, batch)
    pyramid = stages["backbone and FPN"]()
    times = {name: seconds(call, repeats) for name, call in stages.items() if name != "box head"}
    times["paste to RLE"] = seconds(predictor.predict(pixels).masks.rle, repeats)
    detector, whole = _method(built, _detect), network(built)
    times["detector alone"] = seconds(lambda: detector(batch), repeats)
    times["network"] = seconds(lambda: whole(batch), repeats)
    detections = stages["RPN and box head"]()
    detector_flops = flops(partial(built.model.apply, method=_detect), built.variables, batch)
    return {
        "stages": {name: each["median"] for name, each in times.items()},
        "gflop": (detector_flops + _mask_flops(built, pyramid, detections, batch)) / 1e9,
    }


def stage_calls(built: models.Benchmarked, batch: ImageBatch) -> dict[str, Callable[[], Any]]:
    """The network's stages by themselves, each on the results of those before it."""
    run = partial(_method, built)
    pyramid_of, propose, find, detect, segment = (
        run(m) for m in (
            pyramid_stage, MaskRCNN.propose, box_stage, MaskRCNN.detect, MaskRCNN.segment
        )
    )  # fmt: skip
    pyramid = cache(lambda: pyramid_of(batch))
    proposals = cache(lambda: propose(pyramid(), batch))
    detections = cache(lambda: detect(pyramid(), batch))
    return {
        "backbone and FPN": lambda: pyramid_of(batch),
        "RPN": lambda: propose(pyramid(), batch),
        "box head": lambda: find(pyramid(), proposals(), batch),
        "RPN and box head": lambda: detect(pyramid(), batch),
        "masks": lambda: segment(pyramid(), detections(), batch.padded_hw),
    }


def pyramid_stage(model: MaskRCNN, batch: ImageBatch) -> dict[str, Any]:
    """Backbone and FPN."""
    return model.pyramid(batch.images, batch.image_hw, batch.padded_hw)


def box_stage(model: MaskRCNN, pyramid: Any, proposals: Proposals, batch: ImageBatch) -> Detections:
    """The box head, of proposals that are there already."""
    outputs = model.box_head(pyramid, proposals.boxes, batch.padded_hw)
    return model.box_head.detect(outputs, proposals, batch.image_hw)


def _detect(model: MaskRCNN, batch: ImageBatch) -> Detections:
    return model.detect(pyramid_stage(model, batch), batch)


def _mask_flops(
    built: models.Benchmarked, pyramid: Any, detections: Detections, batch: ImageBatch
) -> float:
    """Operations of all masks at once, as the compiler counts a loop's body but once."""
    slots, found = detections.valid.size, int(detections.valid.sum())
    if not found:
        return 0.0

    def masks(model: MaskRCNN, pyramid: Any, regions: Regions) -> Any:
        return heads.predict(model.mask_head, pyramid, regions, batch.padded_hw, slots)

    regions = jax.tree.map(lambda x: x[:found], regions_of(detections))
    return flops(partial(built.model.apply, method=masks), built.variables, pyramid, regions)


def _method(built: models.Benchmarked, method: Callable[..., Any]) -> Callable[..., Any]:
    # Weights as arguments: as constants they would be compiled into the program.
    apply = partial(built.model.apply, method=method)
    compiled = jax.jit(apply, compiler_options=compiler_options())
    return partial(compiled, built.variables)


def network(built: models.Benchmarked) -> Callable[..., Any]:
    """The network, compiled as for a user, as a function of a batch."""
    compiled = jax.jit(built.task.predict, compiler_options=compiler_options())
    return partial(compiled, built.variables)


def images_a_call(kit: Path | None, *, number: int, side: int, repeats: int = 3) -> Record:
    """The network alone on several equal images at once, 100 instances each."""
    _, built = models.instance_predictor(kit, side, 100)
    height, width = models.SIZES[side][0]
    batch = models.batch_of(models.image(kit, (height, width)), models.SIZES[side][1], number)
    whole = network(built)
    times = seconds(lambda: whole(batch), repeats)
    return {
        "seconds": times,
        "images_a_second": number / times["median"],
        "found": int(whole(batch).detections.valid.sum()) / number,
        "peak_mib": peak_mib(),
    }


def semantic(kit: Path | None, *, height: int, width: int, repeats: int = 3) -> Record:
    """One image to its label map."""
    predictor, built = models.semantic_predictor(kit, (height, width))
    pixels = models.image(kit, (height, width))
    whole = seconds(lambda: predictor.predict(pixels).labels, repeats)
    peak = peak_mib()
    batch = models.batch_of(pixels, (height, width))
    return {
        "weights": built.weights,
        "seconds": whole,
        "peak_mib": peak,
        "gflop": flops(built.task.predict, built.variables, batch) / 1e9,
        "product_gflops": product_rate(),
    }


def first_result(kit: Path | None, *, cache: str, began: float) -> Record:
    """From the start of the process to the first RLEs. began: `time.time()` before it."""
    jax.config.update("jax_compilation_cache_dir", cache)
    predictor, _ = models.instance_predictor(kit, 320, 20)
    pixels = models.image(kit)
    loaded = time.time()
    found = len(predictor.predict(pixels).masks.rle())
    return {
        "imports_and_weights": loaded - began,
        "first_image": time.time() - loaded,
        "seconds": time.time() - began,
        "found": found,
    }


def compilations(kit: Path | None, *, images: int = 100) -> Record:
    """Programs compiled for images of random sizes, by a small model with several buckets."""
    del kit
    buckets = ((128, 192), (192, 128), (128, 256), (256, 128), (256, 256))
    built = models.build(
        models.R50,
        None,
        {
            "model.backbone": "resnet18",
            "model.fpn_channels": 32,
            "model.box.fc_dim": 64,
            "model.box.detections_per_image": 10,
            "data.eval_min_size": 128,
            "data.max_size": 256,
            "data.buckets": buckets,
        },
    )
    names = [str(label) for label in range(built.config.num_classes)]
    predictor = Predictor(built.variables, built.config, names)
    rng = np.random.default_rng(0)
    sizes = {(int(h), int(w)) for h, w in rng.integers(60, 900, (images, 2))}
    with counted_compilations() as programs:
        for hw in sizes:
            predictor.predict(models.image(None, hw)).masks.rle()
    networks = [name for name in programs if "predict" in name]
    return {
        "images": len(sizes),
        "buckets": len(buckets),
        "networks": len(networks),
        "all_programs": len(programs),
        "programs": sorted(set(programs)),
    }


CASES: dict[str, Callable[..., Record]] = {
    "predict": predict,
    "images_a_call": images_a_call,
    "semantic": semantic,
    "train": training.step,
    "first_result": first_result,
    "compilations": compilations,
    "heads": heads.compare,
    "curve": heads.curve,
    "operations": operations.compare,
}


def run(name: str, kit: Path | None, threads: int, arguments: dict[str, Any]) -> Record:
    """A case on that many cores. jax must not have started."""
    if threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if name != "first_result" and not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(tempfile.gettempdir()) / "pointrend_jax_bench"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    return CASES[name](kit, **arguments)
