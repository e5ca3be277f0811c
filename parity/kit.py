"""A parity kit's models as ours: configuration, seeded weights, regions and pyramids."""

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from parity import recipe
from parity.compare import Absent, Golden
from pointrend_jax.config import load_config
from pointrend_jax.data.batches.transforms import choose_bucket
from pointrend_jax.importers.detectron2 import detectron2_rules
from pointrend_jax.importers.detectron2_names import canonical_names
from pointrend_jax.importers.take_tensors import take_tensors
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.regions import Regions
from pointrend_jax.models.build import build_model
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.structures import Config, ImageBatch
from pointrend_jax.tasks.instance import instance_task
from pointrend_jax.tasks.semantic import semantic_task
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.trees import array_shapes, nested

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

# Folder of a kit's models/ to our configuration.
INSTANCE_MODELS = {
    "implicit_pointrend_R_50_FPN_coco": "implicit_pointrend_r50_fpn_1x_coco",
    "mask_rcnn_R_50_FPN_coco": "mask_rcnn_r50_fpn_3x_coco",
    "pointrend_rcnn_R_101_FPN_coco": "pointrend_rcnn_r101_fpn_3x_coco",
    "pointrend_rcnn_R_50_FPN_cityscapes": "pointrend_rcnn_r50_fpn_1x_cityscapes",
    "pointrend_rcnn_R_50_FPN_coco": "pointrend_rcnn_r50_fpn_3x_coco",
    "pointrend_rcnn_X_101_32x8d_FPN_coco": "pointrend_rcnn_x101_32x8d_fpn_3x_coco",
}


SEMANTIC_MODELS = {
    "deeplab_v3_R_103_cityscapes": "deeplab_v3_r103_cityscapes",
    "deeplab_v3_plus_R_103_cityscapes": "deeplab_v3_plus_r103_cityscapes",
    "pointrend_semantic_R_101_FPN_cityscapes": "pointrend_semantic_r101_fpn_cityscapes",
}
MODELS = INSTANCE_MODELS | SEMANTIC_MODELS
# The DeepLabs of a kit were built for smaller crops, which set the window of ASPP's pooling, and
# without dropout; their facts.json has what the configuration says.
_DEEPLAB_CHANGES = {"data.crop_hw": (256, 512), "model.semantic.aspp_dropout": 0.0}


class KitModel(NamedTuple):
    """name, folder: of the kit. tag: seed of the kit's numbers. model: MaskRCNN or
    SemanticSegmentor."""

    name: str
    folder: Path
    tag: str
    config: Config
    model: Any
    task: Task
    variables: Variables


def published_config(name: str) -> Config:
    """Our configuration of a kit's model, as a user trains it."""
    return load_config(CONFIGS / f"{MODELS[name]}.py")


def load_model(folder: Path, overrides: dict[str, Any] | None = None) -> KitModel:
    """Our model of a kit's folder with the kit's weights, imported as any Detectron2 file is."""
    manifest = json.loads((folder / "manifest.json").read_text())
    config = published_config(folder.name)
    changes = _DEEPLAB_CHANGES if folder.name.startswith("deeplab") else {}
    config.update_from_flattened_dict(changes | (overrides or {}))
    if config.task == "semantic":
        model = build_semantic_model(config)
        task = semantic_task(model)
    else:
        model = build_model(config)
        task = instance_task(model)
    shapes = array_shapes(task.shapes())
    tensors = canonical_names(recipe.parameters(manifest)).tensors
    arrays, _ = take_tensors(tensors, detectron2_rules(shapes), shapes)
    variables = jax.device_put(nested(arrays))
    return KitModel(folder.name, folder, manifest["tag"], config, model, task, variables)


def load_golden(path: Path) -> Golden:
    with np.load(path, allow_pickle=False) as file:
        return Golden(file.items())


def read_pixels(
    kit: Path, image_id: int, hw: tuple[int, int], crc32: int, *, bgr: bool = True
) -> np.ndarray:
    """RGB uint8 [H, W, 3] of a kit's input.

    One image can lie there in one size twice, resized and cropped: the checksum decides.

    Args:
      bgr: the checksum is that of a model's input that takes BGR.
    Raises: Absent if it is not there, ValueError if what is there is another.
    """
    stem = f"{image_id}_{hw[0]}x{hw[1]}"
    if not any((kit / "inputs").glob(f"{stem}_*.npz")):
        raise Absent(f"inputs/{stem}_*.npz")
    for order in ("BGR", "RGB"):
        path = kit / "inputs" / f"{stem}_{order}.npz"
        if path.is_file():
            pixels = load_golden(path)["pixels"]
            rgb = pixels[..., ::-1] if order == "BGR" else pixels
            if zlib.crc32((rgb[..., ::-1] if bgr else rgb).tobytes()) == crc32:
                return rgb
    raise ValueError(
        f"no file {stem}_*.npz in {kit / 'inputs'} is the image that the numbers were made from."
    )


class KitInput(NamedTuple):
    """The image of an infer_*.npz: pixels, RGB uint8 [H, W, 3]; padded_hw, what the network saw."""

    pixels: np.ndarray
    padded_hw: tuple[int, int]


def read_input(kit: Path, model: KitModel, golden: Golden) -> KitInput:
    hw, padded_hw = ((int(h), int(w)) for h, w in (golden["input/hw"], golden["input/padded_hw"]))
    image_id, crc32 = int(golden["input/image_id"]), int(golden["input/crc32"])
    return KitInput(read_pixels(kit, image_id, hw, crc32, bgr=model.model.bgr), padded_hw)


def production_canvas(model: KitModel, source: KitInput) -> tuple[int, int]:
    """The bucket of the configuration that the image goes to."""
    hw = (source.pixels.shape[0], source.pixels.shape[1])
    buckets = tuple((int(h), int(w)) for h, w in model.config.data.buckets)
    bucket = choose_bucket(hw, buckets)
    if bucket is None:
        raise ValueError(f"an image of {hw} fits no bucket of {model.name}, which has {buckets}.")
    return bucket


def on_canvas(
    images: list[np.ndarray], canvas: tuple[int, int], padded_hw: tuple[int, int]
) -> ImageBatch:
    """Images on one canvas, that see padding up to `padded_hw`."""
    pixels = np.zeros((len(images), *canvas, 3), np.uint8)
    for slot, image in zip(pixels, images, strict=True):
        slot[: image.shape[0], : image.shape[1]] = image
    batch = ImageBatch(
        images=pixels,
        image_hw=np.asarray([image.shape[:2] for image in images], np.int32),
        padded_hw=np.asarray([padded_hw] * len(images), np.int32),
        valid=np.ones(len(images), bool),
    )
    return jax.device_put(batch)


def seeded_pyramid(
    tag: str, golden: Golden, channels: int, levels: tuple[str, ...] = tuple(STRIDES)
) -> dict[str, jax.Array]:
    """The feature maps of heads.npz; it has one scale for all levels, or one for each."""
    height, width = (int(n) for n in golden["features/hw"])
    scales = np.broadcast_to(golden["features/scale"], len(levels))
    pyramid = {}
    for level, scale in zip(levels, scales, strict=True):
        shape = (1, channels, -(-height // STRIDES[level]), -(-width // STRIDES[level]))
        features = recipe.normal(tag, f"features/{level}", shape, scale=float(scale))
        pyramid[level] = np.moveaxis(features, 1, -1)
    return jax.device_put(pyramid)


def regions_at(boxes: np.ndarray, classes: np.ndarray) -> Regions:
    """Regions of the first image."""
    number = len(boxes)
    zeros = jax.device_put(np.zeros(number, np.int32))
    return Regions(
        boxes=jax.device_put(np.asarray(boxes, np.float32)),
        image_index=zeros,
        classes=jax.device_put(np.asarray(classes, np.int32)),
        gt_index=zeros,
        valid=jax.device_put(np.ones(number, bool)),
    )
