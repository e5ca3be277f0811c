"""A scene as a page without a model keeps it: features near outlines alone, and as float16.

Far from every outline a point is sure; there the whole mask says what it is. What this costs is
measured beside the scene itself.
"""

from functools import partial
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from pointrend_jax.layers.regions import render_windows
from pointrend_jax.ops.points import point_sample
from pointrend_jax.pointrend import PointMLP, point_features
from pointrend_jax.predict.scene import Scene
from pointrend_jax.predict.scene_parts import SceneParts, scene_parts

# A logit from which a pixel of the whole mask is sure: a probability of 0.993.
_SURE = 5.0
# Whole masks are kept in steps of this, up to 127 of them.
KNOWN_UNIT = 1 / 16
# The side of the windows that the price is measured on, and of how many objects.
_PRICE_SIDE, _MOST_PRICED = 512, 20


class PackedScene(NamedTuple):
    """What the page has of a scene.

    Attributes:
      parts: float16 maps, 0 in cells that are left out.
      kept: of each map, bool [H, W].
      known: int8 [n, M, M], logits of the whole masks in steps of `KNOWN_UNIT`.
    """

    parts: SceneParts
    kept: list[np.ndarray]
    known: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What a renderer reads, by name: explore/standalone/points.js."""
        mlp = self.parts.mlp
        found = {f"kernel{i}": np.asarray(kernel) for i, kernel in enumerate(mlp.kernels)}
        found |= {f"bias{i}": np.asarray(bias) for i, bias in enumerate(mlp.biases)}
        for i, (cells, kept) in enumerate(zip(self.parts.maps, self.kept, strict=True)):
            found[f"features{i}"] = cells[kept]
            found[f"kept{i}"] = np.packbits(kept, bitorder="little")
        return found | {"coarse": self.parts.coarse_logits, "known": self.known}

    @property
    def share(self) -> float:
        """Of the cells of all maps, those that are kept."""
        return float(sum(k.sum() for k in self.kept) / sum(k.size for k in self.kept))


class Price(NamedTuple):
    """What a packed scene differs in from the scene, on windows of whole boxes.

    Attributes:
      objects: that were compared, the best ones.
      mask: the largest symmetric difference of two masks, as a share of their union.
      probability: the mean difference of a pixel.
    """

    objects: int
    mask: float
    probability: float


def pack(scene: Scene) -> PackedScene:
    """Raises: ValueError as `scene_parts`."""
    parts, logits = scene_parts(scene), scene.instances.masks.logits
    kept = [
        _near_outlines(logits, parts.boxes / stride, cells.shape[:2])
        for cells, stride in zip(parts.maps, parts.strides, strict=True)
    ]
    halves = [
        np.where(k[..., None], m, 0).astype(np.float16)
        for m, k in zip(parts.maps, kept, strict=True)
    ]
    known = np.clip(np.rint(logits / KNOWN_UNIT), -127, 127).astype(np.int8)
    return PackedScene(parts._replace(maps=halves), kept, known)


def _near_outlines(
    logits: np.ndarray, boxes: np.ndarray, hw: tuple[int, ...]
) -> Bool[np.ndarray, "H W"]:
    """The cells that unsure pixels read, and those around them. boxes: in cells of the map."""
    near, side = np.zeros(hw, np.uint8), logits.shape[-1]
    for own, (x0, y0, x1, y1) in zip(logits, boxes, strict=True):
        row, column = np.nonzero(np.abs(own) < _SURE)
        x = np.floor(x0 + (column + 0.5) / side * (x1 - x0) - 0.5).astype(int)
        y = np.floor(y0 + (row + 0.5) / side * (y1 - y0) - 0.5).astype(int)
        for down in (0, 1):
            for right in (0, 1):
                near[np.clip(y + down, 0, hw[0] - 1), np.clip(x + right, 0, hw[1] - 1)] = 1
    return cv2.dilate(near, np.ones((3, 3), np.uint8)).astype(bool)


def price(scene: Scene, packed: PackedScene) -> Price:
    """Renders boxes of the best objects by both."""
    number, size = min(len(scene.instances), _MOST_PRICED), (_PRICE_SIDE, _PRICE_SIDE)
    masks, probabilities = [], []
    for i, box in enumerate(scene.instances.boxes[:number].tolist()):
        ours = scene.render(i, window=tuple(box), size=size)
        theirs = np.asarray(render_packed(packed, i, _PRICE_SIDE))
        differing = (ours >= 0.5) ^ (theirs >= 0.5)
        masks.append(differing.sum() / max(((ours >= 0.5) | (theirs >= 0.5)).sum(), 1))
        probabilities.append(np.abs(ours - theirs).mean())
    return Price(number, float(max(masks)), float(np.mean(probabilities)))


def render_packed(packed: PackedScene, index: int, side: int) -> jax.Array:
    """Probabilities [side, side] of the box of an object, as the page renders them."""
    parts, rows = packed.parts, slice(index, index + 1)
    return _rendered(
        (parts.maps, packed.kept, packed.known[rows], parts.mlp.kernels, parts.mlp.biases),
        parts.boxes[rows], jnp.asarray(parts.classes[rows]), parts.coarse_logits[rows],
        how=(side, tuple(parts.strides), parts.mlp.coarse_each_layer, parts.subdivision_num_points),
    )  # fmt: skip


@partial(jax.jit, static_argnames="how")
def _rendered(
    arrays: Any, boxes: jax.Array, classes: jax.Array, coarse: jax.Array, *, how: Any
) -> jax.Array:
    (maps, kept, known, kernels, biases), (side, strides, each_layer, num_points) = arrays, how
    mlp = PointMLP(kernels, biases, coarse.shape[-1], each_layer).of_class(classes)
    none, whole = jnp.zeros(1, jnp.int32), known.shape[-1]
    sure = known[..., None].astype(jnp.float32) * KNOWN_UNIT

    def predict_points(coords: jax.Array) -> jax.Array:
        fine, left_out = (
            point_features([x[None] for x in each], boxes, none, coords, strides=strides)
            for each in (
                [x.astype(jnp.float32) for x in maps],
                [1.0 - x[..., None].astype(jnp.float32) for x in kept],
            )
        )
        inner = jnp.clip(coords, 0.5 / whole, 1 - 0.5 / whole)
        predicted = mlp(fine, point_sample(coarse, coords))
        has_features = jnp.all(left_out <= 0, axis=-1, keepdims=True)
        return jnp.where(has_features, predicted, point_sample(sure, inner))

    steps = render_windows(
        predict_points, jnp.array([[0.0, 0.0, 1.0, 1.0]]), hw=(side, side), side=whole,
        coarse_side=coarse.shape[1], subdivision_num_points=num_points,
    )  # fmt: skip
    return jax.nn.sigmoid(steps[-1].logits[0, ..., 0])
