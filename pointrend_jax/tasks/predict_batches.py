"""Predictions of batches: on one device or on all, one ahead of whoever reads them, and a thread
that makes batches ahead of the device.

Everything that predicts goes this way, be it for a user or for a score.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.sharding import PartitionSpec

from pointrend_jax.devices.backend import compiler_options, host_is_free
from pointrend_jax.devices.compilations import Compilations
from pointrend_jax.devices.placement import data_mesh, replicated, split
from pointrend_jax.structures import DATA_AXIS, EvalSample
from pointrend_jax.tasks.task import Task, Variables, kept
from pointrend_jax.workers import ahead, held_back

# Batches that a thread makes before the device can take them: one would do if all took as long.
MADE_AHEAD = 2
# In pixels. Canvases of original images have this side times 1, 1.5, 2, 3, 4, 6, 8, ...
_SMALLEST_SIDE = 64

# Takes a sample and gives what `Task.results` takes, perhaps still on its way from the device.
Predict = Callable[[EvalSample], Any]


def on_one_device(task: Task, variables: Variables, num_canvases: int) -> Predict:
    """Prediction on the device of `variables`; compiled once a canvas of the network's input.

    Args:
      num_canvases: that images may come on, to say how far compiling is.
    """
    network, deliver, compilations = _programs(task)

    def predict(sample: EvalSample) -> Any:
        sizes, canvas = original_sizes(sample)
        own = deliver if delivers(task, sizes) else None
        with compilations.of(sample.batch, num_canvases, originals_in_words(own, canvas)):
            predictions = network(variables, sample.batch)
            if own is not None:
                predictions = own(predictions, sample.batch, sizes, canvas)
        return predictions

    return predict


def on_local_devices(task: Task, variables: Variables, num_canvases: int) -> Predict:
    """Prediction on all devices of this process, an equal part of the batch on each."""
    network, deliver, compilations = _local_programs(task)
    variables = replicated(variables)

    def predict(sample: EvalSample) -> Any:
        sizes, canvas = original_sizes(sample)
        own = deliver if delivers(task, sizes) else None
        batch, sizes = split((sample.batch, sizes))
        with compilations.of(batch, num_canvases, originals_in_words(own, canvas)):
            predictions = network(variables, batch)
            if own is not None:
                predictions = own(predictions, batch, sizes, canvas)
        return predictions

    return predict


def on_parts(function: Callable[..., Any], *, num_whole: int = 0) -> Callable[..., Any]:
    """`function` on every device of this process, of an equal part of each batch.

    Without the other processes: predictions have nothing to do with each other.

    Args:
      num_whole: of the first arguments, such as variables, which every device has as they are.
    """

    def mapped(*arguments: Any) -> Any:
        split_axis = PartitionSpec(DATA_AXIS)
        others = len(arguments) - num_whole
        on_devices = jax.shard_map(
            function, mesh=data_mesh(jax.local_devices()), out_specs=split_axis, check_vma=False,
            in_specs=(*num_whole * [PartitionSpec()], *others * [split_axis]),
        )  # fmt: skip
        return on_devices(*arguments)

    return mapped


def program_bytes(task: Task, variables: Variables, sample: EvalSample) -> int | None:
    """What the larger program of `on_one_device` takes: arguments, results and what is between.

    None where the backend does not tell. What has been compiled is not compiled again.
    """
    network, deliver, _ = _programs(task)
    sizes, canvas = original_sizes(sample)
    programs = [network.lower(variables, sample.batch)]
    if deliver is not None and delivers(task, sizes):
        predictions = jax.eval_shape(network, variables, sample.batch)
        programs.append(deliver.lower(predictions, sample.batch, sizes, canvas))
    found = [program.compile().memory_analysis() for program in programs]
    if None in found:
        return None
    return max(
        x.argument_size_in_bytes + x.output_size_in_bytes + x.temp_size_in_bytes for x in found
    )


_Sample = TypeVar("_Sample")


def one_ahead(
    samples: Iterable[_Sample], predict: Callable[[_Sample], Any]
) -> Iterator[tuple[_Sample, Any]]:
    """The predictions of samples, each after the next sample has been given to the device.

    `predict` returns at once; the device works on a batch while the caller has the one before and a
    thread makes those that follow. A ValueError of the samples is raised after the predictions of
    those before. A caller who stops early waits for the sample that is being made.
    """
    # Closed in any case: a thread and its batches do not wait until an error is forgotten.
    with closing(made_ahead(samples)) as made:
        yield from held_back(((sample, predict(sample)) for sample in made), 1)


def made_ahead(samples: Iterable[_Sample]) -> Generator[_Sample]:
    """The samples, which a thread makes ahead of the device; what it does `at_once` is done by all
    cores, if they are free."""
    return ahead(samples, MADE_AHEAD, alone=not host_is_free())


def original_sizes(sample: EvalSample) -> tuple[np.ndarray, tuple[int, int]]:
    """(height, width) of every slot's original image, int32 [B, 2], and a canvas that holds them.

    Sides of canvases are two an octave, so that a data set of many sizes compiles few programs.
    """
    sizes = np.ones((len(sample.batch.valid), 2), np.int32)
    # A batch without an image has no size to take.
    sizes[np.flatnonzero(sample.batch.valid)] = np.reshape(sample.original_hw, (-1, 2))
    height, width = (int(side) for side in sizes.max(axis=0))
    return sizes, original_canvas((height, width))


def delivers(task: Task, sizes: np.ndarray) -> bool:
    """Whether `Task.deliver` is for originals of these sizes [B, 2], which are worth the pixels
    that hold any of them."""
    return task.deliver is not None and int(np.prod(sizes.max(axis=0))) <= task.most_delivered


def original_canvas(image_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the smallest canvas that holds an original image of that size."""
    height, width = image_hw
    return _canvas_side(height), _canvas_side(width)


def _canvas_side(pixels: int) -> int:
    octave = _SMALLEST_SIDE
    while 2 * octave < pixels:
        octave *= 2
    return next(side for side in (octave, 3 * octave // 2, 2 * octave) if side >= pixels)


def originals_in_words(deliver: Any, canvas: tuple[int, int]) -> str:
    """What else a prediction is compiled for, in words."""
    return "" if deliver is None else f"originals of up to {canvas[0]}x{canvas[1]}"


# The network, what is delivered of its predictions, and what both were compiled for so far.
_Programs = tuple[Any, Any | None, Compilations]


@kept
def _programs(task: Task) -> _Programs:
    compiled = partial(jax.jit, compiler_options=compiler_options())
    deliver = task.deliver and compiled(task.deliver, static_argnums=3)
    return compiled(task.predict), deliver, Compilations("the prediction")


@kept
def _local_programs(task: Task) -> _Programs:
    compiled = partial(jax.jit, compiler_options=compiler_options())

    def deliver(predictions: Any, batch: Any, sizes: Any, canvas: tuple[int, int]) -> Any:
        def of_device(*parts: Any) -> Any:
            return cast(Any, task.deliver)(*parts, canvas)

        return on_parts(of_device)(predictions, batch, sizes)

    return (
        compiled(on_parts(task.predict, num_whole=1)),
        task.deliver and compiled(deliver, static_argnums=3),
        Compilations("the prediction"),
    )
