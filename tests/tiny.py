"""Models small enough for tests, and batches for them."""

import math
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pointrend_jax.configs import base, tiny
from pointrend_jax.structures import (
    IGNORE_LABEL,
    Config,
    ImageBatch,
    ObjectBatch,
    SemanticBatch,
)
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import save_variables
from pointrend_jax.training.trees import flat, nested

NUM_CLASSES = 3
GT_SLOTS = 4


def tiny_config(backbone: str = "resnet18", mask_head: str = "pointrend") -> Config:
    """Every part of the real thing, at a fraction of its size."""
    config: Config = base.get_config()
    tiny.shrink(config)
    config.num_classes = NUM_CLASSES
    config.model.backbone, config.model.mask_head = backbone, mask_head
    return config


def tiny_semantic_config(coarse_head: str = "semantic_fpn", backbone: str = "resnet18") -> Config:
    """Semantic segmentation with PointRend, at a fraction of its size."""
    config: Config = base.get_config()
    config.task, config.num_classes = "semantic", NUM_CLASSES
    config.data.crop_hw = (64, 64)
    model, semantic = config.model, config.model.semantic
    model.backbone, model.freeze_at, model.fpn_channels = backbone, 0, 16
    semantic.coarse_head, semantic.conv_dim, semantic.aspp_dim = coarse_head, 32, 16
    if coarse_head != "semantic_fpn":
        model.output_stride, semantic.norm = 16, "batch_norm"
        semantic.aspp_dilations, semantic.low_level_dim = (1, 2, 3), 8
        semantic.point_features = ("res2",)
        semantic.subdivision_steps = 4 if coarse_head == "deeplabv3" else 2
    semantic.point_fc_dim = 16
    semantic.train_num_points, semantic.subdivision_num_points = 32, 200
    config.train.batch_size = 2
    return config


def quick_semantic_config() -> Config:
    """Label maps by the parts of `tests.quick_parts`: what is quickest to trace and compile."""
    config = tiny_semantic_config(backbone="patches")
    config.model.freeze_at, config.model.semantic.coarse_head = 2, "levels"
    config.model.semantic.point_features = ("res2",)
    return config


def tiny_variables(task: Task) -> Variables:
    """Random variables that can be trained, drawn by numpy: nothing is compiled for them.

    Without pretrained statistics, frozen batch norm does not bring pixels of up to 255 to the scale
    that the layers expect, so the first kernel does.
    """
    return drawn_variables(
        task.shapes(), {"stem/conv/kernel": 1 / 200, "res2_conv/kernel": 1 / 200}
    )


def drawn_variables(shapes: Variables, scales: dict[str, float]) -> Variables:
    """Random variables of these shapes, times the scale of the end that their path has."""
    drawn = {path: _drawn(path, tuple(x.shape)) for path, x in flat(shapes).items()}
    for path, array in drawn.items():
        array *= np.float32(math.prod(by for end, by in scales.items() if path.endswith(end)))
    return {"buffers": {}} | on_device(nested(drawn))


def save_start(config: Config, folder: Path) -> None:
    """Writes a checkpoint of `tiny_variables` for runs of `config` to start from."""
    names = tuple(f"class {i}" for i in range(config.num_classes))
    variables = tiny_variables(build_task(config))
    save_variables(folder, variables, CheckpointMeta(config.to_dict(), names))


# Layers that are initialised near zero, and the deviation of their kernels.
_SMALL = {"objectness": 0.01, "deltas": 0.01, "classifier": 0.01, "predictor": 0.001}


def _drawn(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array as large as its layer initialises it, of numbers that only its path decides."""
    module, leaf = path.split("/")[-2:]
    if leaf in ("bias", "mean"):
        return np.zeros(shape, np.float32)
    if leaf in ("scale", "var"):
        return np.ones(shape, np.float32)
    normal = np.random.default_rng(zlib.crc32(path.encode())).standard_normal(shape, np.float32)
    if leaf != "kernel":
        return normal
    inputs, outputs = math.prod(shape[:-1]), math.prod((*shape[:-2], shape[-1]))
    deviation = math.sqrt(2 / outputs) if "backbone" in path else math.sqrt(1 / inputs)
    return np.float32(_SMALL.get(module, deviation)) * normal


def object_batch(
    batch_size: int = 2,
    seed: int = 0,
    canvas: tuple[int, int] = (64, 64),
    slots: int = GT_SLOTS,
) -> ObjectBatch:
    """Rectangles on noise, 64 x 64 at most, in the corner of `canvas`; the last slot is padding."""
    rng = np.random.default_rng(seed)
    height, width = canvas
    images = np.zeros((batch_size, height, width, 3), np.uint8)
    masks = np.zeros((batch_size, slots, height, width), bool)
    boxes = np.zeros((batch_size, slots, 4), np.float32)
    classes = np.zeros((batch_size, slots), np.int32)
    valid = np.zeros((batch_size, slots), bool)
    for b in range(batch_size):
        images[b, :64, :64] = rng.integers(0, 120, (64, 64, 3))
        for g in range(slots - 1):
            x0, y0 = rng.integers(0, 34, 2)
            w, h = rng.integers(14, 30, 2)
            masks[b, g, y0 : y0 + h, x0 : x0 + w] = True
            boxes[b, g] = (x0, y0, x0 + w, y0 + h)
            classes[b, g], valid[b, g] = g % NUM_CLASSES, True
            images[b, y0 : y0 + h, x0 : x0 + w, g % 3] = 230
    return ObjectBatch(
        images=images,
        image_hw=np.full((batch_size, 2), 64, np.int32),
        padded_hw=np.full((batch_size, 2), 64, np.int32),
        image_index=np.arange(batch_size, dtype=np.int32),
        boxes=boxes,
        classes=classes,
        mask_bits=np.packbits(masks, axis=-1, bitorder="little"),
        valid=valid,
    )


def semantic_batch(
    batch_size: int = 2, seed: int = 0, canvas: tuple[int, int] = (64, 64)
) -> SemanticBatch:
    """Rectangles of other classes on class 0, 64 x 64 at most, in the corner of `canvas`."""
    objects = object_batch(batch_size, seed, canvas)
    masks = np.unpackbits(objects.mask_bits, axis=-1, bitorder="little").astype(bool)
    labels = np.full(objects.images.shape[:3], IGNORE_LABEL, np.uint8)
    labels[:, :64, :64] = 0
    for g in range(GT_SLOTS - 1):
        labels[masks[:, g]] = g % NUM_CLASSES
    # A stripe without ground truth.
    labels[:, 30:33] = IGNORE_LABEL
    return SemanticBatch(
        images=objects.images,
        image_hw=objects.image_hw,
        padded_hw=objects.padded_hw,
        image_index=objects.image_index,
        labels=labels,
    )


def images_of(batch: ObjectBatch | SemanticBatch) -> ImageBatch:
    """The same images, for prediction."""
    everything = np.ones(len(batch.images), bool)
    return ImageBatch(batch.images, batch.image_hw, batch.padded_hw, everything)


def on_device(tree: Any) -> Any:
    # `jnp.asarray` would compile a program for each shape.
    return jax.device_put(tree)
