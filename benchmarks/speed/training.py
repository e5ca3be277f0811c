"""A training step of Mask R-CNN with PointRend, and the gradients of its losses."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util as tree

from benchmarks.speed import models
from benchmarks.speed.measure import flops, peak_mib, product_rate, seconds
from pointrend_jax.models.mask_rcnn import InstanceNoise, MaskRCNN
from pointrend_jax.ops.chunks import slot_numbers
from pointrend_jax.structures import ObjectBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.step import (
    DEFAULT_OPTIONS,
    StepOptions,
    TrainState,
    initial_state,
)


def step(kit: Path | None, *, images: int = 2, repeats: int = 4) -> dict[str, Any]:
    """A training step, optimiser included, of images of 320x484 and 320x394."""
    built = models.build(models.R50, kit, {"train.batch_size": images})
    batch = training_batch(images)
    whole = seconds(steps_of(built, batch).call(), repeats)
    peak = peak_mib()
    samples = _mask_samples(built, batch)
    losses = {
        "all": None,
        "RPN": ("loss_rpn_cls", "loss_rpn_loc"),
        "coarse mask": ("loss_mask",),
        "coarse mask and points": ("loss_mask", "loss_mask_point"),
    }
    parts = {name: _gradient_seconds(built, batch, of, repeats) for name, of in losses.items()}
    return {
        "weights": built.weights,
        "seconds": whole,
        "mask_samples": samples,
        "gflop": _gflop(built, batch, max(samples)),
        "gradients": parts,
        "peak_mib": peak,
        "product_gflops": product_rate(),
    }


class Steps(NamedTuple):
    """A compiled step on one batch, optimiser included.

    start: the state before the first step. advance: that after one more; frees what it is given.
    """

    start: Callable[[], TrainState]
    advance: Callable[[TrainState], TrainState]

    def call(self) -> Callable[[], TrainState]:
        """The next step each time."""
        state = self.start()

        def run() -> TrainState:
            nonlocal state
            state = self.advance(state)
            return state

        return run


def steps_of(
    built: models.Benchmarked,
    batch: ObjectBatch,
    strategy: str = "pmap",
    options: StepOptions = DEFAULT_OPTIONS,
) -> Steps:
    params = built.variables["params"]
    optimizer, _ = build_optimizer(built.config, params, built.task.is_trainable)
    replicas = build_replicas(strategy, built.task, optimizer, options)
    key = replicas.replicate(jax.random.key(0))
    placed = replicas.place(batch)

    def start() -> TrainState:
        state: TrainState = replicas.replicate(initial_state(built.variables, optimizer, options))
        return state

    return Steps(start, lambda state: replicas.step(state, placed, key)[0])


def _mask_samples(built: models.Benchmarked, batch: ObjectBatch) -> list[int]:
    """Foreground samples of each image; the mask head's work follows the most of them."""

    def foreground(model: MaskRCNN, batch: ObjectBatch, noise: InstanceNoise) -> jax.Array:
        pyramid = model.pyramid(batch.images, batch.image_hw, batch.padded_hw)
        proposals = model.rpn.propose(
            model.rpn(pyramid, batch.padded_hw), batch.image_hw, **model.proposals_train._asdict()
        )
        samples = model.box_head.sample(proposals, batch, noise.roi_priority)
        return jnp.sum(samples.foreground, axis=1)

    keys = jax.random.split(jax.random.key(0), len(batch.valid))
    noise = built.model.apply({}, keys, batch, method=MaskRCNN.draw_noise)
    counts = jax.jit(partial(built.model.apply, method=foreground))(built.variables, batch, noise)
    return counts.tolist()


def _gradient(
    task: Task, built: models.Benchmarked, batch: ObjectBatch, names: tuple[str, ...] | None
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The gradient of the losses `names`, and so of the layers they need, and its arguments."""

    def loss(trained: Any, others: Any, batch: ObjectBatch) -> jax.Array:
        params = tree.unflatten_dict(trained | others["params"])
        variables = {"params": params, "buffers": others["buffers"]}
        terms, _ = task.loss(variables, batch, jax.random.key(0))
        chosen = [term for name, term in terms.items() if names is None or name in names]
        return jnp.sum(jnp.stack([t.total / jnp.maximum(t.denominator, 1) for t in chosen]))

    flat = tree.flatten_dict(built.variables["params"])
    trained = {path: x for path, x in flat.items() if task.is_trainable(path)}
    kept = {path: x for path, x in flat.items() if path not in trained}
    others = {"params": kept, "buffers": built.variables["buffers"]}
    return jax.grad(loss), (trained, others, jax.device_put(batch))


def _gradient_seconds(
    built: models.Benchmarked, batch: ObjectBatch, names: tuple[str, ...] | None, repeats: int
) -> float:
    gradient, arguments = _gradient(built.task, built, batch, names)
    compiled = jax.jit(gradient)
    return seconds(lambda: compiled(*arguments), repeats)["median"]


def _gflop(built: models.Benchmarked, batch: ObjectBatch, most_samples: int) -> float:
    """Billions of operations of the gradient, with the slots that this many samples have.

    The compiler counts the largest of several branches, so the model gets no more.
    """
    config = built.config.copy_and_resolve_references()
    box = config.model.box
    slots = int(box.samples_per_image * box.positive_fraction)
    fitting = min(number for number in slot_numbers(slots) if number >= most_samples)
    box.positive_fraction = fitting / box.samples_per_image
    gradient, arguments = _gradient(build_task(config), built, batch, None)
    return flops(gradient, *arguments) / 1e9


def training_batch(
    images: int,
    canvas: tuple[int, int] = (320, 512),
    widths: Sequence[int] = (484, 394),
    objects: int = 8,
) -> ObjectBatch:
    """Rectangles on noise; the images have `widths` in turn."""
    rng = np.random.default_rng(0)
    height = canvas[0]
    widths = [widths[i % len(widths)] for i in range(images)]
    largest = min(128, height // 2)
    masks = np.zeros((images, objects, *canvas), bool)
    boxes = np.zeros((images, objects, 4), np.float32)
    pixels = rng.integers(0, 255, (images, *canvas, 3)).astype(np.uint8)
    for b, image_width in enumerate(widths):
        pixels[b, :, image_width:] = 0
        for g in range(objects):
            x0 = rng.integers(0, image_width - largest - 2)
            y0 = rng.integers(0, height - largest - 2)
            w, h = rng.integers(3 * largest // 16, largest, 2)
            masks[b, g, y0 : y0 + h, x0 : x0 + w] = True
            boxes[b, g] = (x0, y0, x0 + w, y0 + h)
    return ObjectBatch(
        images=pixels,
        image_hw=np.array([(height, w) for w in widths], np.int32),
        padded_hw=np.array([(height, -(-w // 32) * 32) for w in widths], np.int32),
        image_index=np.arange(images, dtype=np.int32),
        boxes=boxes,
        classes=rng.integers(0, 80, (images, objects)).astype(np.int32),
        mask_bits=np.packbits(masks, axis=-1, bitorder="little"),
        valid=np.ones((images, objects), bool),
    )
