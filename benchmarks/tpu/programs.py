"""The programs that are compiled: stages of the network, all of it, and the training step.

All are of R50-FPN with PointRend in bfloat16 on a canvas of 800 x 1216, lowered from shapes alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec, SingleDeviceSharding

from benchmarks.collectives import lower_step
from benchmarks.speed.cases import box_stage, pyramid_stage
from benchmarks.speed.models import SIZES
from benchmarks.tpu.estimate import Assumed
from pointrend_jax.config import load_config
from pointrend_jax.devices.backend import forms, traced_for
from pointrend_jax.devices.placement import data_mesh
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.structures import DATA_AXIS, Array, Config, ImageBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.optimizer import module_path

_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pointrend_rcnn_r50_fpn_3x_coco.py"
_CANVAS = SIZES[800][1]
_BATCH = 8
_IMAGES_A_CHIP = 2
Lower = Callable[[Sequence[Any]], jax.stages.Lowered]


class Program(NamedTuple):
    """Something to compile.

    Attributes:
      part: of the benchmark, "stages", "prediction" or "training".
      gflop: of the network that it computes, on one device, as they were first counted, a loop's
        body once; so what a form computes in vain does not count as work. None where nothing was
        counted.
      lower: for these devices.
      assumed: of what its data decides.
    """

    part: str
    gflop: float | None
    lower: Lower
    assumed: tuple[Assumed, ...]


# Counted by the compiler for a TPU v5e, of the forms of commit 5745bdb.
_BACKBONE, _BOXES, _MASKS, _GRADIENT = 268.6, 124.4, 44.6, 2219.0
_IMAGE = _BACKBONE + _BOXES + _MASKS


def _config() -> Config:
    config = load_config(_CONFIG)
    config.update_from_flattened_dict({"model.compute_dtype": "bfloat16"})
    return config


def _images(number: int) -> ImageBatch:
    def shape(dtype: Any, *dims: int) -> Any:
        return jax.ShapeDtypeStruct((number, *dims), dtype)

    sizes = shape(jnp.int32, 2)
    return ImageBatch(shape(jnp.uint8, *_CANVAS, 3), sizes, sizes, shape(jnp.bool_))


def _lower_on_one(function: Callable[..., Any], devices: Sequence[Any], *shapes: Any) -> Any:
    one = SingleDeviceSharding(devices[0])
    placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes)
    with traced_for("tpu"):
        return jax.jit(function).lower(*placed)


def _stage(name: str, devices: Sequence[Any]) -> jax.stages.Lowered:
    """A stage of one image, of the shapes that those before it give."""
    config, batch = _config(), _images(1)
    model, variables = build_model(config), build_task(config).shapes()

    def apply(method: Callable[..., Any]) -> Callable[..., Any]:
        return partial(model.apply, method=method)

    def given_by(method: Callable[..., Any], *before: Any) -> Any:
        with traced_for("tpu"):
            return jax.eval_shape(apply(method), variables, *before, batch)

    def pyramid() -> Any:
        return given_by(pyramid_stage)

    stages: dict[str, Callable[[], tuple[Any, ...]]] = {
        "backbone and FPN": lambda: (pyramid_stage, batch),
        "RPN": lambda: (MaskRCNN.propose, pyramid(), batch),
        "box head": lambda: (box_stage, pyramid(), given_by(MaskRCNN.propose, pyramid()), batch),
        "RPN and box head": lambda: (MaskRCNN.detect, pyramid(), batch),
        "masks": lambda: (
            MaskRCNN.segment, pyramid(), given_by(MaskRCNN.detect, pyramid()), batch.padded_hw,
        ),
    }  # fmt: skip
    function, *shapes = stages[name]()
    return _lower_on_one(apply(function), devices, variables, *shapes)


def _prediction(number: int, devices: Sequence[Any]) -> jax.stages.Lowered:
    task = build_task(_config())
    return _lower_on_one(task.predict, devices, task.shapes(), _images(number))


def _training(devices: Sequence[Any]) -> jax.stages.Lowered:
    """The step on all devices, optimiser included."""
    config = _config()
    with traced_for("tpu"):
        return lower_step(
            config, build_task(config), "shard_map", canvas=_CANVAS,
            replicas=len(devices), per_replica=_IMAGES_A_CHIP, devices=devices,
        )  # fmt: skip


def _sum_of_gradients(devices: Sequence[Any]) -> jax.stages.Lowered:
    """The gradients that the step sends between all devices, and nothing else of it."""
    task = build_task(_config())
    trained = [
        jax.ShapeDtypeStruct(x.shape, x.dtype)
        for path, x in jax.tree_util.tree_leaves_with_path(task.shapes()["params"])
        if task.is_trainable(module_path(path))
    ]

    def add(arrays: list[Array]) -> list[Array]:
        # Each device has its own, as gradients are.
        own = jax.lax.axis_index(DATA_AXIS).astype(jnp.float32)
        return jax.lax.psum([own * x for x in arrays], DATA_AXIS)

    mesh, everywhere = data_mesh(list(devices)), PartitionSpec()
    added = jax.shard_map(
        add, mesh=mesh, in_specs=(everywhere,), out_specs=everywhere, check_vma=False
    )
    return jax.jit(added).lower(trained)


def _assumed(images: int, candidates: int) -> tuple[Assumed, ...]:
    """Of so many images with 100 masks each.

    candidates: of an image, that the RPN gives to NMS.
    """
    with traced_for("tpu"):
        at_a_time, block = forms().regions_at_a_time, forms().nms_block
    masks = 100 * images
    return (
        Assumed(
            ("in_chunks.<locals>.encode_and_finish",), 1, "all that are encoded together"
        ),
        Assumed(("in_chunks",), -(-masks // at_a_time), f"{masks} masks, {at_a_time} at a time"),
        Assumed(
            ("RPN.propose", "nms_sorted"), -(-candidates // block),
            f"{candidates} candidates, {block} at a time",
        ),
        Assumed(("BoxHead.detect", "nms_sorted"), 2, f"at most {2 * block} candidates"),
        # The largest of a chunk of 128 has 7.75 tiles on average where 1000 proposals of the parity
        # kit are pooled; where gradients are added tiles begin at every sixteenth row, and it has
        # 8.5.
        Assumed(("pool_by_tiles",), 8, "tiles of the largest box"),
        Assumed(("roi_align",), 9, "whole tiles of the largest box"),
    )  # fmt: skip


# 1000 or 2000 of each of p2 to p5, and the 13 x 19 x 3 anchors of p6.
_ONE, _EIGHT, _STEP = _assumed(1, 4741), _assumed(_BATCH, 4741), _assumed(_IMAGES_A_CHIP, 8741)


def _stage_program(name: str, gflop: float | None) -> tuple[str, Program]:
    return name, Program("stages", gflop, partial(_stage, name), _ONE)


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    dict(
        (
            _stage_program("backbone and FPN", _BACKBONE),
            _stage_program("RPN", None),
            _stage_program("box head", None),
            _stage_program("RPN and box head", _BOXES),
            _stage_program("masks", _MASKS),
            (
                "prediction of 1",
                Program("prediction", _IMAGE, partial(_prediction, 1), _ONE),
            ),
            (
                f"prediction of {_BATCH}",
                Program("prediction", _BATCH * _IMAGE, partial(_prediction, _BATCH), _EIGHT),
            ),
            (
                f"step of {_IMAGES_A_CHIP} images a device",
                Program("training", _GRADIENT, _training, _STEP),
            ),
            ("sum of gradients", Program("training", None, _sum_of_gradients, ())),
        )
    )
)
