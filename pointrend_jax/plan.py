"""From a folder of images to an experiment: classes, weights, sizes, batch and schedule, each with
the reason why it was chosen."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pointrend_jax.config import load_config
from pointrend_jax.configs import base, presets
from pointrend_jax.data.sources.known import LABEL_SETS, OBJECT_SETS
from pointrend_jax.data.sources.label_set import SemanticSet
from pointrend_jax.data.sources.layouts import find_layout
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.data.splits import split_finder
from pointrend_jax.devices.memory import memory_of_device
from pointrend_jax.importers.published import MODELS, unknown_model
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.memory import fits_by_far, step_memory
from pointrend_jax.training.trees import array_shapes

_CELL = 32
_AnySet = FoundObjects | SemanticSet


class _Machine(NamedTuple):
    """What a kind of device trains in reasonable time.

    Attributes:
      side: pixels of the shorter edge of an image, at most.
      batches: images a device, the first that fits is taken.
      epochs: passes over the images.
      steps: at least and at most.
    """

    side: int
    batches: tuple[int, ...]
    epochs: int
    steps: tuple[int, int]


_CPU = _Machine(side=256, batches=(4, 2, 1), epochs=12, steps=(300, 2000))
_ACCELERATOR = _Machine(side=800, batches=(16, 8, 4, 2, 1), epochs=36, steps=(1000, 90_000))


class Choice(NamedTuple):
    """A field of the config, its value, and why it has it."""

    field: str
    value: Any
    why: str = ""


class Plan(NamedTuple):
    """An experiment.

    Attributes:
      found: what the folder holds, in words.
      task: "instance", "semantic" or "refine".
      published: the config that it is over: that of the model that it starts from, or "refine";
        "" for a small model with ImageNet's weights.
      choices: in the order of the config file.
    """

    found: str
    task: str
    published: str
    choices: tuple[Choice, ...]


def plan_for(folder: Path, published: str = "") -> Plan:
    """What to train on the images of `folder`. No image is opened.

    Args:
      published: the name of a published model, which is fine-tuned; "" for EfficientNet-Lite0 with
        narrow heads, pretrained on ImageNet.
    Raises: ValueError if the folder is no data set that can be read, or there is no such model for
      what it holds.
    """
    layout = find_layout(folder)
    config = _base(layout.task, published)
    fields = {"dir": str(folder)} | dict(layout.fields)
    for name, value in fields.items():
        config.data[name] = value
    found, evaluation = _splits(config)
    sizes = _sizes(found)
    names = (found if isinstance(found, SemanticSet) else found.dataset).class_names
    held_out = config.data.held_out
    classes = f"{len(names)} class{'es' if len(names) > 1 else ''}"
    told = f"{layout.what}; {len(sizes)} images to train on, {classes}"
    choices = [
        *(Choice(f"data.{name}", value) for name, value in fields.items() if name != "held_out"),
        Choice("num_classes", len(names), ", ".join(names[:12]) + (" ..." if names[12:] else "")),
    ]
    if held_out:
        why = f"there is no evaluation set: {held_out:.0%} of the images are held out for it"
        choices.append(Choice("data.held_out", held_out, why))
    if published:
        choices += _start_choices(config, published, len(names))
    machine = _CPU if jax.default_backend() == "cpu" else _ACCELERATOR
    choices += _size_choices(layout.task, sizes, _sizes(evaluation), machine)
    _apply(config, choices)
    choices += _schedule_choices(config, len(sizes), machine)
    return Plan(told, layout.task, published, tuple(choices))


def refiner_plan(folder: Path) -> Plan:
    """A refiner for the masks of `folder`, as configs/refine.py has it. No image is opened.

    Raises: ValueError if the folder is no data set that can be read, or has no objects.
    """
    layout = find_layout(folder)
    if layout.task != "instance":
        raise ValueError(
            f"{folder} holds label maps ({layout.what}); a refiner learns from masks of objects."
        )
    fields = {"dir": str(folder)} | dict(layout.fields)
    why = {"held_out": "there is no evaluation set: so many of the images are held out for it"}
    choices = [Choice(f"data.{name}", value, why.get(name, "")) for name, value in fields.items()]
    return Plan(layout.what, "refine", "refine", tuple(choices))


def _base(task: str, published: str) -> Config:
    if not published:
        config: Config = base.get_config()
        config.task = task
        presets.use_lite(config)
        return config
    if published not in MODELS:
        raise ValueError(f"--weights {published}: {unknown_model(published)}")
    config = load_config(published).copy_and_resolve_references().unlock()
    if config.task != task:
        kinds = {"instance": "finds instances", "semantic": "gives label maps"}
        raise ValueError(
            f"--weights {published} {kinds[config.task]}, but of the images in --data there are "
            f"{'objects' if task == 'instance' else 'label maps'}; choose another model."
        )
    return config


def _start_choices(config: Config, published: str, num_classes: int) -> list[Choice]:
    """The weights, and the modules that start anew: those whose shape the classes decide."""
    other, shapes = config.copy_and_resolve_references(), []
    for number in (num_classes, num_classes + 1):
        other.num_classes = number
        shapes.append(array_shapes(build_task(other).shapes()))
    reset = [
        path.removeprefix("params/").rpartition("/")[0]
        for path, shape in shapes[0].items()
        if shapes[1][path] != shape
    ]
    why = "what has to do with the classes begins anew"
    return [
        Choice("init.weights", published, f"published by Detectron2: {MODELS[published].result}"),
        Choice("init.reset", tuple(dict.fromkeys(reset)), why),
    ]


def _apply(config: Config, choices: Iterable[Choice]) -> None:
    for choice in choices:
        config.update_from_flattened_dict({choice.field: choice.value})


def _splits(config: Config) -> tuple[_AnySet, _AnySet]:
    """What is trained on, and what is evaluated."""
    if config.task == "semantic":
        find = split_finder(config, LABEL_SETS)
        return find("train"), find("eval")
    find = split_finder(config, OBJECT_SETS)
    return find("train"), find("eval")


def _sizes(found: _AnySet) -> list[tuple[int, int]]:
    images = found.images if isinstance(found, SemanticSet) else found.dataset.images
    return [(image.height, image.width) for image in images]


def _size_choices(
    task: str,
    sizes: Sequence[tuple[int, int]],
    of_evaluation: Sequence[tuple[int, int]],
    machine: _Machine,
) -> list[Choice]:
    """Images at their own size or at the largest that the machine trains in reasonable time.

    Args:
      sizes: (height, width) of the images that are trained on; of_evaluation, of the others.
    """
    short, long = np.sort(np.asarray(sizes), axis=1).T
    own = int(np.median(short))
    side = max(min(own, machine.side) // _CELL * _CELL, 4 * _CELL)
    # Longer images than nearly all are made smaller; no canvas has to hold them.
    ratio = min(float(np.percentile(long / short, 95)), 2.0)
    longest = math.ceil(side * ratio / _CELL) * _CELL
    # A single tall image needs a canvas, of whichever set it is.
    wide = any(w >= h for h, w in (*sizes, *of_evaluation))
    tall = any(h > w for h, w in (*sizes, *of_evaluation))
    canvases = (((side, longest), wide), ((longest, side), tall))
    # Square images make the two one.
    buckets = tuple(dict.fromkeys(canvas for canvas, needed in canvases if needed))
    why = f"the shorter edge of half of the images is {own} or more"
    if own > machine.side:
        why += f", and a {jax.default_backend()} trains {side} in reasonable time"
    if task == "semantic":
        crop = tuple(int(edge * 0.75) // _CELL * _CELL for edge in (side, longest))
        return [
            Choice("data.eval_min_size", side, why),
            Choice("data.max_size", longest),
            Choice("data.train_min_sizes", tuple(int(side * f) for f in (0.75, 1.0, 1.25))),
            Choice("data.buckets", buckets, "one program is compiled for each"),
            Choice("data.crop_hw", crop),
            Choice("data.crop_max_category_area", 0.75),
            Choice("data.color_augmentation", True),
        ]
    return [
        Choice("data.eval_min_size", side, why),
        Choice("data.max_size", longest),
        Choice("data.train_min_sizes", tuple(int(side * f) for f in (0.75, 0.875, 1.0))),
        Choice("data.buckets", buckets, "one program is compiled for each"),
    ]


def _schedule_choices(config: Config, number: int, machine: _Machine) -> list[Choice]:
    devices, limit = jax.device_count(), memory_of_device()
    batch, why = machine.batches[0], "images a step"
    if limit is not None and not fits_by_far(config, batch, limit):
        fitting = step_memory(config).most_images(limit)
        batch = next((size for size in machine.batches if size <= fitting), machine.batches[-1])
        why = f"images a step; about {fitting} fit the {limit / 2**30:.0f} GiB of a device"
    batch = max(min(batch, number // devices), 1) * devices
    steps = min(max(machine.epochs * number // batch, machine.steps[0]), machine.steps[1])
    # Detectron2's rule for its models; narrow ones on few images bear twice as much.
    rate = (0.00125 if config.init.weights in MODELS else 0.0025) * batch
    schedule: Mapping[str, Any] = {"train.milestones": (steps * 3 // 4, steps * 11 // 12)}
    if config.task == "semantic":
        schedule = {"train.schedule": "poly"}
    return [
        Choice("train.batch_size", batch, why),
        Choice(
            "train.steps", steps, f"each image is seen about {steps * batch / number:.0f} times"
        ),
        Choice("train.learning_rate", min(rate, 0.02)),
        Choice("train.warmup_steps", min(steps // 6, 1000)),
        *(Choice(field, value) for field, value in schedule.items()),
        Choice("train.clip_gradient_norm", 10.0),
        Choice("train.eval_every", 0, "evaluated at the end only"),
        Choice("train.checkpoint_every", max(steps // 5, 50)),
        Choice("eval.batch_size", 2 * devices),
    ]
