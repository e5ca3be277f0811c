"""A scene as a page without a model keeps it: features near outlines alone, and as float16.

Far from every outline a point is sure; there the whole mask says what it is. What this costs is
measured beside the scene itself.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from pointrend_jax.devices.backend import compiler_options
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
    """Raises: ValueError as `scene_parts`, and for features that float16 does not hold."""
    parts, logits = scene_parts(scene), scene.instances.masks.logits
    kept = [
        _near_outlines(logits, parts.boxes / stride, cells.shape[:2])
        for cells, stride in zip(parts.maps, parts.strides, strict=True)
    ]
    halves = [_halves(m, k) for m, k in zip(parts.maps, kept, strict=True)]
    known = np.clip(np.rint(logits / KNOWN_UNIT), -127, 127).astype(np.int8)
    return PackedScene(parts._replace(maps=halves), kept, known)


def _halves(cells: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The features of a map [H, W, C] that are kept, as float16; the others are 0."""
    values = np.where(kept[..., None], cells, 0)
    largest = np.abs(values).max()
    if not largest <= np.finfo(np.float16).max:
        raise ValueError(
            f"the page keeps features as float16, up to 65504, and this model's reach {largest:.3g}"
            ". Let the page have its server, which has them in full: leave --static out."
        )
    return values.astype(np.float16)


def _near_outlines(
    logits: np.ndarray, boxes: np.ndarray, hw: tuple[int, ...]
) -> Bool[np.ndarray, "H W"]:
    """The cells that points around unsure pixels read, and those beside them.

    A pixel's value reaches to the centres of its neighbours; so far around it points are unsure.
    Args: boxes, in cells of the map.
    """
    corners, side = np.zeros((hw[0] + 1, hw[1] + 1), np.int64), logits.shape[-1]
    for own, (x0, y0, x1, y1) in zip(logits, boxes.tolist(), strict=True):
        row, column = np.nonzero(_unsure(own))
        left, right = _read(column, side, (x0, x1), hw[1])
        top, bottom = _read(row, side, (y0, y1), hw[0])
        # Sums of these from the upper left count the rectangles that hold a cell.
        for y, x, sign in (
            (top, left, 1),
            (top, right, -1),
            (bottom, left, -1),
            (bottom, right, 1),
        ):
            np.add.at(corners, (y, x), sign)
    near = corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    return cv2.dilate(near.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)


def _unsure(logits: Float[np.ndarray, "M M"]) -> Bool[np.ndarray, "M M"]:
    """Pixels of a mask that are not sure, or on the other side of the outline than a neighbour."""
    unsure, inside = np.abs(logits) < _SURE, logits >= 0
    down, right = inside[1:] != inside[:-1], inside[:, 1:] != inside[:, :-1]
    for part, crossed in (
        (unsure[1:], down), (unsure[:-1], down), (unsure[:, 1:], right), (unsure[:, :-1], right),
    ):  # fmt: skip
        part |= crossed
    return unsure


def _read(
    pixels: np.ndarray, side: int, ends: tuple[float, float], cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first cell that is read around each of the pixels of an axis, and the one after the last.

    Args: side, pixels of the box. ends, of the box in cells. cells, of the map.
    """
    low, high = (
        ends[0] + np.clip((pixels + 0.5 + reach) / side, 0, 1) * (ends[1] - ends[0]) - 0.5
        for reach in (-1, 1)
    )
    first = np.clip(np.floor(low), 0, cells - 1).astype(int)
    return first, np.clip(np.floor(high) + 2, 1, cells).astype(int)


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
    return _renderer()(
        (parts.maps, packed.kept, packed.known[rows], parts.mlp.kernels, parts.mlp.biases),
        parts.boxes[rows], jnp.asarray(parts.classes[rows]), parts.coarse_logits[rows],
        how=(side, tuple(parts.strides), parts.mlp.coarse_each_layer, parts.subdivision_num_points),
    )  # fmt: skip


@cache
def _renderer() -> Callable[..., jax.Array]:
    return jax.jit(_rendered, static_argnames="how", compiler_options=compiler_options())


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
