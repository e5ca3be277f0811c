"""Published models with seeded weights, and images for them.

With a parity kit its weights are taken, so that the work is that of the Detectron2 figures beside
it. Without one they are random, and spread so that as many instances are found.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from parity.kit import MODELS, load_model
from pointrend_jax.config import load_config
from pointrend_jax.data.images import read_image
from pointrend_jax.models.build import build_model
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.structures import Config, ImageBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task, Variables

_ROOT = Path(__file__).resolve().parents[2]
R50 = "pointrend_rcnn_R_50_FPN_coco"
SEMANTIC_R101 = "pointrend_semantic_R_101_FPN_cityscapes"
# The kit's image, of 423 x 640.
_IMAGE = "000000229358.jpg"
_IMAGE_HW = (423, 640)
# Short side to the input that the image becomes, and its exact canvas.
SIZES = {
    64: ((64, 97), (64, 128)),
    320: ((320, 484), (320, 512)),
    800: ((800, 1210), (800, 1216)),
}


NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


class Benchmarked(NamedTuple):
    """A model with everything that a case may want of it."""

    config: Config
    model: Any
    task: Task
    variables: Variables
    weights: str


def build(name: str, kit: Path | None, overrides: dict[str, Any]) -> Benchmarked:
    """A model by the name of its folder in a kit, with fields of its configuration changed."""
    if kit is not None:
        of_kit = load_model(kit / "models" / name, overrides)
        return Benchmarked(of_kit.config, of_kit.model, of_kit.task, of_kit.variables, "parity kit")
    config = load_config(_ROOT / "configs" / f"{MODELS[name]}.py")
    config.update_from_flattened_dict(overrides)
    semantic = config.task == "semantic"
    model = build_semantic_model(config) if semantic else build_model(config)
    task = build_task(config)
    return Benchmarked(config, model, task, _spread(task.init(0)), "random")


def _spread(variables: Variables) -> Variables:
    """Pixels at the scale that layers expect, and predictors that are sure of something."""
    params = variables["params"]
    stem = params["backbone"]["stem"]["conv"]
    stem["kernel"] = stem["kernel"] / 200
    for head, layer, by in (
        ("rpn", "objectness", 30), ("rpn", "deltas", 10), ("box_head", "classifier", 100),
    ):  # fmt: skip
        if head in params:
            params[head][layer]["kernel"] = params[head][layer]["kernel"] * by
    return variables


def instance_predictor(
    kit: Path | None, side: int, instances: int, changes: Mapping[str, Any] = NO_CHANGES
) -> tuple[Predictor, Benchmarked]:
    """A predictor that finds `instances` in `image` at its exact canvas of short side `side`.

    changes: of other fields of the configuration.
    """
    overrides = {
        "data.eval_min_size": side,
        "data.max_size": 1333,
        "data.buckets": (SIZES[side][1],),
        "model.box.detections_per_image": max(instances, 1),
    }
    if instances == 0:
        # No score is that high.
        overrides["model.box.score_threshold"] = 0.99999
    built = build(R50, kit, overrides | dict(changes))
    names = [str(label) for label in range(built.config.num_classes)]
    return Predictor(built.variables, built.config, names), built


def semantic_predictor(
    kit: Path | None, hw: tuple[int, int]
) -> tuple[SemanticPredictor, Benchmarked]:
    overrides = {"data.eval_min_size": hw[0], "data.max_size": hw[1], "data.buckets": (hw,)}
    built = build(SEMANTIC_R101, kit, overrides)
    names = [str(label) for label in range(built.config.num_classes)]
    return SemanticPredictor(built.variables, built.config, names), built


def image(kit: Path | None, hw: tuple[int, int] = _IMAGE_HW) -> np.ndarray:
    """A photo of the kit, or shapes on noise, uint8 RGB [H, W, 3]."""
    if kit is not None and hw == _IMAGE_HW:
        return read_image(kit / "images" / _IMAGE)
    rows, columns = np.arange(hw[0])[:, None], np.arange(hw[1])[None]
    shapes = ((rows // 70 + columns // 90) % 3 * 70)[..., None]
    noise = np.random.default_rng(0).integers(0, 60, (*hw, 3))
    return (shapes + noise).astype(np.uint8)


def batch_of(pixels: np.ndarray, canvas: tuple[int, int], number: int = 1) -> ImageBatch:
    """Copies of one resized image on their exact canvas."""
    height, width = pixels.shape[:2]
    images = np.zeros((number, *canvas, 3), np.uint8)
    images[:, :height, :width] = pixels
    return ImageBatch(
        images=jnp.asarray(images),
        image_hw=jnp.asarray([(height, width)] * number, jnp.int32),
        padded_hw=jnp.asarray([canvas] * number, jnp.int32),
        valid=jnp.ones(number, bool),
    )
