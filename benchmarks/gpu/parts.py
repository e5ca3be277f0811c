"""The parts of the benchmark: each gives figures one after another, as they are measured."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.gpu.limit import Limit, OutOfTimeError
from benchmarks.gpu.resizing import both_roads
from benchmarks.gpu.trace import require_gpu, traced
from benchmarks.speed import models
from benchmarks.speed.cases import network, stage_calls
from benchmarks.speed.measure import seconds
from benchmarks.speed.training import Steps, steps_of, training_batch
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.ops.top_k import is_counted, top_k_by_count
from pointrend_jax.structures import ImageBatch
from pointrend_jax.training.step import DEFAULT_OPTIONS, StepOptions

# By name: "ms", "fastest_ms" and "first_s" of a call, and what else a part knows.
Figures = dict[str, float | str]
_HALF = "bfloat16"


class Work(NamedTuple):
    """How much is measured.

    Attributes:
      kit: whose weights and photo are taken; None for random ones.
      side: short side of the input, of `models.SIZES`.
      images: of a batch, and of a training step; a single one is measured too.
      objects: of a training image.
      steps: of each of the two runs whose bits are compared.
      changes: of fields of the configuration.
      selections: rows, their length and how many of each are chosen, by what is chosen.
      limit: of the part that is measured.
    """

    kit: Path | None
    side: int
    instances: int
    images: int
    objects: int
    repeats: int
    steps: int
    changes: Mapping[str, Any]
    selections: Mapping[str, tuple[int, int, int]]
    limit: Limit = Limit(float("inf"))

    def batches(self) -> dict[str, int]:
        """Images of a batch by what its figures are called."""
        return {f"batch of {number}": number for number in (1, self.images)}


_TINY = MappingProxyType(
    {
        "model.backbone": "resnet18", "model.fpn_channels": 16, "model.box.fc_dim": 16,
        "model.box.samples_per_image": 16, "model.rpn.samples_per_image": 32,
        "model.rpn.pre_nms_topk_train": 60, "model.rpn.pre_nms_topk_eval": 60,
        "model.rpn.post_nms_topk_train": 20, "model.rpn.post_nms_topk_eval": 20,
        "model.mask.coarse_fc_dim": 16, "model.mask.point_fc_dim": 16,
        "model.mask.subdivision_steps": 3, "model.mask.subdivision_num_points": 196,
        "model.mask.train_num_points": 49,
    }
)  # fmt: skip
# Of 800 x 1216, of 1 and of 8 images: anchors of p2 to p5 and classes of proposals; masks of a
# chunk; what a training step of 8 images draws of anchors and, of 16 objects each, of points.
_SELECTIONS = {
    f"{name}, {rows} x {n}": (rows, n, k)
    for name, of_rows, n, k in (
        ("anchors", (1, 8), 182400, 1000), ("anchors", (1, 8), 45600, 1000),
        ("anchors", (1, 8), 11400, 1000), ("anchors", (1, 8), 2850, 1000),
        ("classes", (1, 8), 80000, 20000), ("pixels", (32,), 50176, 784),
        ("pixels", (32,), 12544, 784), ("pixels", (32,), 3136, 784),
        ("training anchors", (8,), 242991, 256), ("training points", (128,), 588, 147),
    )
    for rows in of_rows
}  # fmt: skip
# A call makes so many selections, one after another, that starting it is little of its time.
_SELECTIONS_A_CALL = 10


def whole_work(kit: Path | None) -> Work:
    """R50 on 800 x 1216, as COCO is evaluated and trained on."""
    return Work(kit, 800, 100, 8, 16, 10, 50, models.NO_CHANGES, _SELECTIONS)


def small_work() -> Work:
    """Every part, on a CPU too, to see that it runs; its figures say nothing."""
    return Work(None, 64, 6, 2, 3, 1, 2, _TINY, {"pixels, 2 x 5000": (2, 5000, 20)})


def stages(work: Work) -> Iterator[tuple[str, Figures]]:
    """Each stage of the network by itself, of one image in bfloat16."""
    _, built = _predictor(work)
    for name, call in work.limit.of(stage_calls(built, _batch(work, 1))):
        yield name, _figures(call, work.repeats)


def whole_network(work: Work) -> Iterator[tuple[str, Figures]]:
    """The network in bfloat16, from resized pixels to float masks that stay on the device."""
    _, built = _predictor(work)
    whole = network(built)
    for name, number in work.limit.of(work.batches()):
        call = partial(whole, _batch(work, number))
        found = int(call().detections.valid.sum()) / number
        figures = _figures(call, work.repeats, number)
        yield name, figures | {"instances_an_image": found}


def pixels_to_rle(work: Work) -> Iterator[tuple[str, Figures]]:
    """From decoded pixels of the original size to RLEs of that size, resizing included."""
    predictor, _ = _predictor(work)
    pixels = models.image(work.kit)

    def call(number: int) -> list[Any]:
        results = predictor.predict([pixels] * number, batch_size=number)
        return [instances.masks.rle() for instances in results]

    for name, number in work.limit.of(work.batches()):
        yield name, _figures(partial(call, number), work.repeats, number)


def resizing(work: Work) -> Iterator[tuple[str, Figures]]:
    """Decoded photos to a batch on the device, resized by the host's threads or on the device."""
    _, canvas = models.SIZES[work.side]
    sizes = ((480, 640), (1080, 1920))
    cases = {
        f"{height}x{width}, {name}": ((height, width), number)
        # The sizes are those of an input of 800 pixels, and in a small work as much smaller.
        for height, width in (tuple(side * work.side // 800 for side in hw) for hw in sizes)
        for name, number in work.batches().items()
    }
    for name, (hw, number) in work.limit.of(cases):
        yield name, dict(both_roads(models.image(None, hw), number, canvas, work.repeats))


def selection(work: Work) -> Iterator[tuple[str, Figures]]:
    """The k largest of rows by `jax.lax.top_k` and by counting, and which a GPU is given."""
    forms = {"sort": jax.lax.top_k, "count": top_k_by_count}
    for name, (rows, n, k) in work.limit.of(work.selections):
        shape = (_SELECTIONS_A_CALL, rows, n)
        # Of a few thousand values, so that many are equal.
        x = np.round(1000 * np.random.default_rng(0).normal(size=shape)).astype(np.float32)
        x, found, figures = jax.device_put(x), [], {}
        for form, select in forms.items():
            one_by_one = partial(jax.lax.map, partial(select, k=k))
            call = partial(jax.jit(one_by_one, compiler_options=compiler_options()), x)
            found.append(jax.device_get(call()))
            figures[f"{form}_ms"] = 1e3 * seconds(call, work.repeats)["median"] / len(x)
        equal = all(map(np.array_equal, *found))
        given = "count" if is_counted(n, k) else "sort"
        yield name, {**figures, "equal": "yes" if equal else "NO", "given": given}


def training(work: Work) -> Iterator[tuple[str, Figures]]:
    """A step, optimiser included, in bfloat16 and in float32 (TF32 where the device has it)."""
    for dtype, _ in work.limit.of(dict.fromkeys((_HALF, "float32"))):
        figures = _figures(_steps(work, dtype).call(), work.repeats, work.images)
        memory = jax.local_devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in memory:
            figures["peak_gib_of_this_process"] = memory["peak_bytes_in_use"] / 2**30
        yield dtype, figures


def deterministic(work: Work) -> Iterator[tuple[str, Figures]]:
    """The same in bfloat16 with `config.train.deterministic`, and whether two runs are equal.

    The digest is of the parameters after all steps: equal on another day, in another process.
    """
    steps = _steps(work, _HALF, DEFAULT_OPTIONS._replace(deterministic=True))
    yield "a step", _figures(steps.call(), work.repeats, work.images)
    # Both go on together, so that as many steps as there is time for are compared.
    runs, taken = [steps.start(), steps.start()], 0
    while taken < work.steps and not work.limit.is_over():
        # Waited for, as the time that is left would else be that of handing out work.
        runs = [jax.block_until_ready(steps.advance(state)) for state in runs]
        taken += 1
    if taken:
        first, second = (_digest(state.params) for state in runs)
        equal = "yes" if first == second else "NO"
        name = "steps twice" if taken == work.steps else "some steps twice"
        yield name, {"steps": taken, "equal": equal, "digest": first[:16]}
    if taken < work.steps:
        raise OutOfTimeError(f"{work.steps - taken} of {work.steps} steps")


def profile(work: Work) -> Iterator[tuple[str, Figures]]:
    """Kernels a call, and the share of the time without a trace that the device works."""
    # Before anything is compiled for it.
    require_gpu()
    _, built = _predictor(work)
    calls = {
        "network, 1 image": lambda: partial(network(built), _batch(work, 1)),
        f"training step, {work.images} images": lambda: _steps(work, _HALF).call(),
    }
    for name, make in work.limit.of(calls):
        call = make()
        jax.block_until_ready(call())
        device = traced(call, 3)
        figures = _figures(call, work.repeats)
        share = 100 * device.busy_ms / float(figures["ms"])
        yield name, figures | device._asdict() | {"busy_percent": share}


PARTS: Mapping[str, Callable[[Work], Iterator[tuple[str, Figures]]]] = MappingProxyType(
    {
        "stages": stages, "network": whole_network, "rle": pixels_to_rle, "resizing": resizing,
        "selection": selection, "training": training, "deterministic": deterministic,
        "profile": profile,
    }
)  # fmt: skip


def _predictor(work: Work) -> tuple[Any, models.Benchmarked]:
    changes = {"model.compute_dtype": _HALF} | dict(work.changes)
    return models.instance_predictor(work.kit, work.side, work.instances, changes)


def _batch(work: Work, number: int) -> ImageBatch:
    resized, canvas = models.SIZES[work.side]
    pixels = models.image(work.kit)
    pixels = np.asarray(jax.image.resize(pixels, (*resized, 3), "linear")).astype(np.uint8)
    return models.batch_of(pixels, canvas, number)


def _steps(work: Work, dtype: str, options: StepOptions = DEFAULT_OPTIONS) -> Steps:
    changes = {"model.compute_dtype": dtype, "train.batch_size": work.images}
    built = models.build(models.R50, work.kit, changes | dict(work.changes))
    (_, width), canvas = models.SIZES[work.side]
    batch = training_batch(work.images, canvas, (width,), work.objects)
    return steps_of(built, batch, "shard_map", options)


def _figures(call: Callable[[], Any], repeats: int, images: int = 1) -> Figures:
    times = seconds(call, repeats)
    return {
        "ms": 1e3 * times["median"],
        "fastest_ms": 1e3 * times["fastest"],
        "first_s": times["first"],
        "images_a_second": images / times["median"],
    }


def _digest(tree: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
