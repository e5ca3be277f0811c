"""A parity kit's models as ours: configuration, seeded weights, regions and pyramids."""

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.flags import load_config
from pointrend_jax.importers.detectron2 import detectron2_rules
from pointrend_jax.importers.take_tensors import take_tensors
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.regions import Regions
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.structures import Config, ImageBatch
from pointrend_jax.tasks.instance import instance_task
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.checkpoints import array_shapes, nested
from tests.parity import recipe

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# Folder of a kit's models/ to our configuration.
INSTANCE_MODELS = {
    "implicit_pointrend_R_50_FPN_coco": "implicit_pointrend_r50_fpn_1x_coco",
    "mask_rcnn_R_50_FPN_coco": "mask_rcnn_r50_fpn_3x_coco",
    "pointrend_rcnn_R_101_FPN_coco": "pointrend_rcnn_r101_fpn_3x_coco",
    "pointrend_rcnn_R_50_FPN_cityscapes": "pointrend_rcnn_r50_fpn_1x_cityscapes",
    "pointrend_rcnn_R_50_FPN_coco": "pointrend_rcnn_r50_fpn_3x_coco",
    "pointrend_rcnn_X_101_32x8d_FPN_coco": "pointrend_rcnn_x101_32x8d_fpn_3x_coco",
}


class KitModel(NamedTuple):
    """name, folder: of the kit. tag: seed of the kit's numbers."""

    name: str
    folder: Path
    tag: str
    config: Config
    model: MaskRCNN
    variables: Variables


def load_model(folder: Path, overrides: dict[str, Any] | None = None) -> KitModel:
    """Our model of a kit's folder with the kit's weights, imported as any Detectron2 file is."""
    manifest = json.loads((folder / "manifest.json").read_text())
    config = load_config(CONFIGS / f"{INSTANCE_MODELS[folder.name]}.py")
    config.update_from_flattened_dict(overrides or {})
    model = build_model(config)
    shapes = array_shapes(instance_task(model).shapes())
    arrays, _ = take_tensors(recipe.parameters(manifest), detectron2_rules(shapes), shapes)
    variables = jax.tree.map(jnp.asarray, nested(arrays))
    return KitModel(folder.name, folder, manifest["tag"], config, model, variables)


def load_golden(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file.items())


def read_pixels(kit: Path, image_id: int, hw: tuple[int, int], crc32: int) -> np.ndarray:
    """RGB uint8 [H, W, 3] of a kit's input. Raises: ValueError if it is not the one meant."""
    path = kit / "inputs" / f"{image_id}_{hw[0]}x{hw[1]}_BGR.npz"
    pixels = load_golden(path)["pixels"]
    if zlib.crc32(pixels.tobytes()) != crc32:
        raise ValueError(f"{path} is not the image that the numbers were made from.")
    return pixels[..., ::-1]


def on_canvas(
    images: list[np.ndarray], canvas: tuple[int, int], padded_hw: tuple[int, int]
) -> ImageBatch:
    """Images on one canvas, that see padding up to `padded_hw`."""
    pixels = np.zeros((len(images), *canvas, 3), np.uint8)
    for slot, image in zip(pixels, images, strict=True):
        slot[: image.shape[0], : image.shape[1]] = image
    return ImageBatch(
        images=jnp.asarray(pixels),
        image_hw=jnp.asarray([image.shape[:2] for image in images], jnp.int32),
        padded_hw=jnp.asarray([padded_hw] * len(images), jnp.int32),
        valid=jnp.ones(len(images), bool),
    )


def seeded_pyramid(tag: str, golden: dict[str, np.ndarray], channels: int) -> dict[str, jax.Array]:
    """The feature maps of heads.npz."""
    height, width = (int(n) for n in golden["features/hw"])
    pyramid = {}
    for (level, stride), scale in zip(STRIDES.items(), golden["features/scale"], strict=True):
        shape = (1, channels, -(-height // stride), -(-width // stride))
        features = recipe.normal(tag, f"features/{level}", shape, scale=float(scale))
        pyramid[level] = jnp.moveaxis(jnp.asarray(features), 1, -1)
    return pyramid


def regions_at(boxes: np.ndarray, classes: np.ndarray) -> Regions:
    """Regions of the first image."""
    number = len(boxes)
    return Regions(
        boxes=jnp.asarray(boxes, jnp.float32),
        image_index=jnp.zeros(number, jnp.int32),
        classes=jnp.asarray(classes, jnp.int32),
        gt_index=jnp.zeros(number, jnp.int32),
        valid=jnp.ones(number, bool),
    )
