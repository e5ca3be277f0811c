"""Whether a training step fits, asked before anything is read or compiled.

What a step needs at least can be counted while it is traced: the state, a gradient of every
parameter, and what the gradient asks of the forward pass. XLA's own count is a few percent above it
(docs/precision.md). A run that is far beyond the memory of its device would be compiled for minutes
only to end in RESOURCE_EXHAUSTED.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.console import tell
from pointrend_jax.data.batches.transforms import training_canvases
from pointrend_jax.devices.memory import memory_of_device
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.structures import (
    DATA_AXIS,
    Config,
    CropBatch,
    ObjectBatch,
    SemanticBatch,
)
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.step import StepOptions, initial_state

# A step is refused beyond the first and remarked upon beyond the second, parts of the memory:
# the count is no bound to the byte.
_REFUSED, _TIGHT = 1.15, 0.85
# Bytes a pixel that no network here comes near (they keep 2 to 8 kB). Counting takes some seconds.
_GENEROUS = 2**14
# Images, and objects of each, that are counted: slots of objects take little.
_COUNTED, _OBJECTS = 2, 8
# Labelled points of an object, where a step takes all.
_POINTS = 10


class StepMemory(NamedTuple):
    """Bytes that a training step needs on a device, at least.

    Attributes:
      state: parameters, optimizer, average and gradients; the same for any batch.
      image: for each image that is worked on at once.
    """

    state: int
    image: int

    def most_images(self, limit: int) -> int:
        """How many images at once fit comfortably into `limit` bytes."""
        return max(int((_TIGHT * limit - self.state) // self.image), 0)


def step_memory(config: Config) -> StepMemory:
    """Counts for the largest canvas of `config`; nothing is computed."""
    task = build_task(config)
    shapes = task.shapes()
    optimizer, _ = build_optimizer(config, shapes["params"], task.is_trainable)
    options = StepOptions(average_decay=config.train.average_decay)
    state = jax.eval_shape(lambda v: initial_state(v, optimizer, options), shapes)
    batch = batch_shapes(config)
    kept = kept_for_gradient(task, shapes, batch) + _bytes(batch)
    return StepMemory(_bytes(state) + _bytes(shapes["params"]), kept // len(batch.images))


def check_step_memory(config: Config) -> None:
    """Says so if a step will hardly fit the memory of a device.

    Raises: ValueError, with sizes that would fit, if it cannot.
    """
    limit = memory_of_device()
    if limit is None:
        return
    images = max(config.train.batch_size // jax.device_count(), 1)
    at_once = max(images // config.train.accumulate_steps, 1)
    if fits_by_far(config, at_once, limit):
        return
    memory = step_memory(config)
    needed = memory.state + at_once * memory.image
    what = (
        f"a training step needs about {_gib(needed)} of memory on a device ({_gib(memory.state)} "
        f"and {_gib(memory.image)} for each of {at_once} images of {_times(canvas_hw(config))}), "
        f"and this one ({jax.devices()[0].device_kind}) has {_gib(limit)}"
    )
    if needed > _REFUSED * limit:
        raise ValueError(f"{what}; {_advice(memory, limit, images, config)}.")
    if needed > _TIGHT * limit:
        tell(f"{what}: it may not fit; {_advice(memory, limit, images, config)}")


def fits_by_far(config: Config, images: int, limit: int) -> bool:
    """Whether so many images at once need not even be counted: half of the memory would do."""
    return images * math.prod(canvas_hw(config)) * _GENEROUS < limit / 2


def canvas_hw(config: Config) -> tuple[int, int]:
    """The largest canvas that a training of `config` has."""
    if config.task == "semantic":
        height, width = config.data.crop_hw
        return int(height), int(width)
    height, width = max(training_canvases(config.data.buckets), key=math.prod)
    return int(height), int(width)


def kept_for_gradient(task: Task, variables: Variables, batch: Any) -> int:
    """Bytes that the gradient wants of the forward pass, parameters and buffers aside."""

    def forward(params: Any, buffers: Any, batch: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            terms, _ = task.loss({"params": params, "buffers": buffers}, batch, jax.random.key(0))
            return sum((term.total for term in terms.values()), jnp.zeros(()))

        return jax.vjp(loss, params)[1]

    # One replica: statistics of a batch are averaged over that axis.
    replica = jax.vmap(forward, in_axes=(None, None, 0), axis_name=DATA_AXIS)
    part = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), batch)
    backward = jax.eval_shape(replica, variables["params"], variables["buffers"], part)
    return _bytes(backward) - _bytes(variables)


def batch_shapes(config: Config) -> ObjectBatch | SemanticBatch | CropBatch:
    """A training batch on the largest canvas, as shapes and types."""
    height, width = canvas_hw(config)
    pixels = pixel_format(config)

    def of(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct((_COUNTED, *shape), dtype)

    common: dict[str, Any] = {
        "images": of(pixels.dtype, height, width, pixels.channels),
        "image_hw": of(jnp.int32, 2),
        "padded_hw": of(jnp.int32, 2),
        "image_index": of(jnp.int32),
    }
    if config.task == "semantic":
        return SemanticBatch(**common, labels=of(jnp.uint8, height, width))
    if config.task == "refine":
        mask = of(jnp.uint8, height, width)
        return CropBatch(**common, given=mask, truth=mask)
    points = config.data.supervision == "points"
    num_points = config.data.points_per_step or _POINTS
    return ObjectBatch(
        **common,
        boxes=of(jnp.float32, _OBJECTS, 4),
        classes=of(jnp.int32, _OBJECTS),
        mask_bits=None if points else of(jnp.uint8, _OBJECTS, height, width // 8),
        valid=of(jnp.bool_, _OBJECTS),
        point_coords=of(jnp.float32, _OBJECTS, num_points, 2) if points else None,
        point_labels=of(jnp.int32, _OBJECTS, num_points) if points else None,
    )


def _advice(memory: StepMemory, limit: int, images: int, config: Config) -> str:
    """What would fit, in the order in which it costs least."""
    texts, fitting = [], memory.most_images(limit)
    room = _TIGHT * limit - memory.state
    if fitting >= 1:
        parts = next(n for n in range(1, images + 1) if images % n == 0 and images // n <= fitting)
        texts.append(
            f"set config.train.accumulate_steps={parts}, or config.train.batch_size="
            f"{fitting * jax.device_count()}"
        )
    elif room > 0:
        share = math.sqrt(room / memory.image)
        sides = tuple(max(int(side * share) // 32 * 32, 32) for side in canvas_hw(config))
        fields = {"semantic": "crop_hw", "refine": "buckets"}.get(
            config.task, "buckets, train_min_sizes, max_size"
        )
        texts.append(f"one image of {_times(sides)} would fit (config.data.{fields})")
    remat = "config.train.remat=True needs less"
    if config.task != "refine":
        remat = "config.model.compute_dtype='bfloat16' and config.train.remat=True need less"
    texts.append(remat)
    return "; ".join(texts)


def _bytes(tree: Any) -> int:
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in leaves)


def _times(hw: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in hw)


def _gib(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"
