"""What the page shows of a scene: a description, windows, rendering steps, and files to save.

Scenes of instances and of label maps have the same methods, so that the server need not tell them
apart. Maps travel as plain bytes, row by row.
"""

import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from pointrend_jax.explore.outlines import path_data, svg_file
from pointrend_jax.pixel_format import PHOTO, pixel_format
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.scene import LabelScene, Scene, Window
from pointrend_jax.structures import IGNORE_LABEL, Config
from pointrend_jax.visualize import overlay_labels, overlay_masks, palette
from pointrend_jax.visualize.drawing import color_of

# Sides of windows, few so that little is compiled: the first picture's, and the refined ones'.
FIRST_SIDE, REFINED_SIDES = 128, (512, 1024)
# px of the image; corners this close to the line of the others are left out.
_TOLERANCE = 0.1
_PHOTO_SIDE, _PHOTO_QUALITY = 4096, 90


class Saved(NamedTuple):
    """A file for the user."""

    content: bytes
    media_type: str
    name: str


@runtime_checkable
class Shown(Protocol):
    """A scene, for the page."""

    image: np.ndarray

    def description(self) -> dict[str, Any]:
        """Fit for JSON: sizes, classes with colours, objects."""
        ...

    def map(self, kind: str) -> bytes:
        """The whole label map, "rendered" or "coarse"; ValueError for instances."""
        ...

    def window(self, index: int, window: Window, side: int) -> bytes:
        """side * side bytes: probabilities of 0..255 of an object, or labels."""
        ...

    def steps(self, index: int, window: Window, side: int) -> list[dict[str, Any]]:
        """Of each step of `window`: its sides, points, and uncertainty as 0..255, 255 the most."""
        ...

    def save(self, kind: str, chosen: Sequence[int]) -> Saved:
        """A file of a kind with the chosen of the description's objects, in its colours.

        Raises: ValueError, listing them, for a kind that there is not; IndexError for an object.
        """
        ...


class ShownInstances:
    """A scene of instances."""

    def __init__(self, scene: Scene, category_ids: Sequence[int], class_names: Sequence[str]):
        self.image, self._scene = scene.image, scene
        self._names = tuple(class_names)
        self._ids = tuple(category_ids) or tuple(range(len(class_names)))
        found = scene.instances
        outlines = (m.polygons(tolerance=_TOLERANCE) for m in (found.masks, found.coarse_masks))
        rows = zip(
            found.classes.tolist(), found.class_names, found.scores.tolist(),
            found.boxes.tolist(), *outlines, strict=True,
        )  # fmt: skip
        self._objects: list[dict[str, Any]] = [
            {"class": label, "class_name": name, "score": score, "box": box, "color": color_of(i)}
            | {"rendered": path_data(rendered), "coarse": path_data(coarse)}
            for i, (label, name, score, box, rendered, coarse) in enumerate(rows)
        ]

    def description(self) -> dict[str, Any]:
        height, width = self.image.shape[:2]
        side = self._scene.instances.masks.logits.shape[-1]
        return {
            "kind": "instances", "height": height, "width": width, "mask_side": side,
            "objects": self._objects, "files": ["png", "svg", "json"],
        }  # fmt: skip

    def map(self, kind: str) -> bytes:
        raise ValueError(f"a scene of instances has no label map, {kind!r} or other.")

    def window(self, index: int, window: Window, side: int) -> bytes:
        probs = self._scene.render(index, window=window, size=(side, side))
        return _bytes_of(probs)

    def steps(self, index: int, window: Window, side: int) -> list[dict[str, Any]]:
        steps = self._scene.explain(index, window=window, size=(side, side))
        return [_step(s.uncertainty, s.point_coords) for s in steps]

    def save(self, kind: str, chosen: Sequence[int]) -> Saved:
        found, objects = self._scene.instances[list(chosen)], [self._objects[i] for i in chosen]
        if kind == "png":
            # Not `found.plot`, which colours some objects otherwise than among all of them.
            picture = overlay_masks(
                self.image, found.boxes, found.masks.rle(), found.class_names, found.scores,
                colors=[item["color"] for item in objects],
            )  # fmt: skip
            return _png(picture, "masks.png")
        if kind == "svg":
            return Saved(svg_file(found.image_hw, objects), "image/svg+xml", "masks.svg")
        if kind == "json":
            height, width = found.image_hw
            records = found.to_coco(image_id=1, category_ids=self._ids)
            coco = {
                "info": {"description": "predictions of pointrend_jax"},
                "licenses": [],
                "categories": [
                    {"id": i, "name": name, "supercategory": ""}
                    for i, name in zip(self._ids, self._names, strict=True)
                ],
                "images": [{"id": 1, "file_name": "photo", "height": height, "width": width}],
                "annotations": [{"id": i} | record for i, record in enumerate(records, 1)],
            }
            return Saved(json.dumps(coco).encode(), "application/json", "instances.json")
        raise ValueError(f"masks are saved as png, svg or json (COCO), not as {kind!r}.")


class ShownLabels:
    """A scene of a label map, whose objects are the classes that occur."""

    def __init__(self, scene: LabelScene):
        self.image, self._scene = scene.image, scene
        labels = scene.labels
        self._colors = palette(labels.class_names).tolist()
        shares = labels.shares()
        classes = [labels.class_names.index(name) for name in shares]
        self._objects: list[dict[str, Any]] = [
            {"class": label, "class_name": name, "score": share, "color": self._colors[label]}
            for label, (name, share) in zip(classes, shares.items(), strict=True)
        ]

    def description(self) -> dict[str, Any]:
        labels = self._scene.labels
        height, width = labels.image_hw
        return {
            "kind": "labels", "height": height, "width": width, "colors": self._colors,
            "class_names": list(labels.class_names), "objects": self._objects, "files": ["png"],
        }  # fmt: skip

    def map(self, kind: str) -> bytes:
        labels = self._scene.labels
        return (labels.coarse_labels if kind == "coarse" else labels.labels).tobytes()

    def window(self, index: int, window: Window, side: int) -> bytes:
        del index
        return self._scene.render(window=window, size=(side, side)).tobytes()

    def steps(self, index: int, window: Window, side: int) -> list[dict[str, Any]]:
        del index
        steps = self._scene.explain(window=window, size=(side, side))
        return [_step(s.uncertainty, s.point_coords) for s in steps]

    def save(self, kind: str, chosen: Sequence[int]) -> Saved:
        if kind != "png":
            raise ValueError(f"a label map is saved as png, not as {kind!r}.")
        found, classes = self._scene.labels, [self._objects[i]["class"] for i in chosen]
        labels = np.where(np.isin(found.labels, classes), found.labels, np.uint8(IGNORE_LABEL))
        return _png(overlay_labels(self.image, labels, found.class_names), "labels.png")


def check_photos_alone(config: Config) -> None:
    """Raises ValueError for a model of other images than photos."""
    if pixel_format(config) != PHOTO:
        raise ValueError(
            f"the page shows photos, uint8 in RGB; this model takes a {pixel_format(config)} "
            "(config.data). `pointrend_jax predict` draws those."
        )


def shown(predictor: Predictor | SemanticPredictor, image: np.ndarray) -> Shown:
    """Predicts an image for the page."""
    if isinstance(predictor, SemanticPredictor):
        return ShownLabels(predictor.scene(image))
    return ShownInstances(predictor.scene(image), predictor.category_ids, predictor.class_names)


def photo(image: np.ndarray) -> Saved:
    """The photo as browsers show it, upright; a very large one smaller."""
    picture = Image.fromarray(image)
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    return _encoded(picture, "JPEG", "photo.jpg", quality=_PHOTO_QUALITY)


def warm_up(predictor: Predictor | SemanticPredictor, image_hw: tuple[int, int]) -> None:
    """Compiles what images of that size and their windows need."""
    scene = predictor.scene(np.zeros((*image_hw, 3), np.uint8))
    # Of label maps the whole one is the first picture, and each size has a program for a zoom.
    sides = REFINED_SIDES if isinstance(scene, LabelScene) else (FIRST_SIDE, *REFINED_SIDES)
    scene.warmup([(side, side) for side in sides])


def _step(uncertainty: np.ndarray, point_coords: np.ndarray) -> dict[str, Any]:
    """Bright where uncertain, in shares of the largest; those of logits are squashed."""
    unit = min(max(-float(uncertainty.min()) / 4, 1e-6), 2.0)
    levels = _bytes_of(np.exp(np.minimum(uncertainty, 0) / unit))
    height, width = uncertainty.shape
    points = np.round(point_coords, 5).tolist()
    return {"height": height, "width": width, "points": points, "uncertainty": levels.hex()}


def _bytes_of(shares: np.ndarray) -> bytes:
    return np.rint(255 * shares).astype(np.uint8).tobytes()


def _png(pixels: np.ndarray, name: str) -> Saved:
    return _encoded(Image.fromarray(pixels), "PNG", name)


def _encoded(picture: Image.Image, file_format: str, name: str, **how: Any) -> Saved:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **how)
    return Saved(buffer.getvalue(), f"image/{file_format.lower()}", name)
