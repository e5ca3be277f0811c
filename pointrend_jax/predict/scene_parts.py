"""What the windows of a scene are rendered from, as plain arrays: for a renderer elsewhere."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.regions import Regions
from pointrend_jax.pointrend import PointMLP
from pointrend_jax.predict.scene import Scene, to_input
from pointrend_jax.tasks.task import Task, kept


class SceneParts(NamedTuple):
    """All that `Scene.render` reads, of n instances. All but the point head is numpy's.

    Attributes:
      maps: of fine-grained features, float32 [H, W, C] each.
      strides: of each map, in pixels of the network's input.
      boxes: float32 [n, 4], xyxy in pixels of the network's input.
      classes: int [n].
      coarse_logits: float32 [n, h, h, K].
      mlp: the point head.
      side: M, of whole masks.
      subdivision_num_points: of whole masks.
    """

    maps: list[np.ndarray]
    strides: list[int]
    boxes: np.ndarray
    classes: np.ndarray
    coarse_logits: np.ndarray
    mlp: PointMLP
    side: int
    subdivision_num_points: int


def scene_parts(scene: Scene) -> SceneParts:
    """Raises ValueError for a scene without instances, or of another mask head than PointRend's."""
    model, seen, found = scene._model, scene._seen, scene.instances
    head, mask = model.config.model.mask_head, model.config.model.mask
    if head != "pointrend":
        raise ValueError(
            "only the masks of model.mask_head='pointrend' are made of features, a coarse mask and "
            f"one point head for all; this model has {head!r}."
        )
    if not len(found):
        raise ValueError("nothing is found on the image; take another one, or a lower threshold.")
    none = jnp.zeros(len(found), jnp.int32)
    boxes = np.asarray(found.boxes * to_input(scene, seen), np.float32)
    regions = Regions(
        jnp.asarray(boxes), none, jnp.asarray(found.classes, jnp.int32), none,
        jnp.ones(len(found), bool),
    )  # fmt: skip
    coarse_logits = np.asarray(_encode(model.task)(model.variables, seen.maps, regions))
    layers = model.variables["params"]["mask_head"]["point_head"]
    names = [*(f"fc{i + 1}" for i in range(mask.point_num_fcs)), "predictor"]
    kernels, biases = ([layers[name][part] for name in names] for part in ("kernel", "bias"))
    levels = tuple(mask.point_features)
    return SceneParts(
        maps=[np.asarray(seen.maps[level][0], np.float32) for level in levels],
        strides=[STRIDES[level] for level in levels],
        boxes=boxes,
        classes=found.classes,
        coarse_logits=coarse_logits,
        mlp=PointMLP(kernels, biases, coarse_logits.shape[-1], mask.coarse_each_layer),
        side=found.masks.logits.shape[-1],
        subdivision_num_points=mask.subdivision_num_points,
    )


@kept
def _encode(task: Task) -> Callable[..., Any]:
    assert task.encode_regions is not None, "a scene of instances has a task of instances"
    return jax.jit(task.encode_regions, compiler_options=compiler_options())
