"""An image that one zooms into: its features stay on the device, and any window is rendered anew.

A mask in the frame of its box, or a label map, ends at its own resolution. A scene asks the point
head instead, in a window of the image at any size, with points that scale with the window.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from pointrend_jax.console import waiting_for
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.devices.compilations import Compilations
from pointrend_jax.layers.regions import Regions
from pointrend_jax.masks.paste import probability
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.predict.loaded_model import LoadedModel
from pointrend_jax.results.instances import ExplainedStep, PredictedInstances
from pointrend_jax.results.label_maps import ExplainedLabelStep, PredictedLabels
from pointrend_jax.structures import Array, EvalSample
from pointrend_jax.tasks.predict_batches import delivers, original_sizes, originals_in_words
from pointrend_jax.tasks.task import Task, Variables, kept

# xyxy in pixels of the original image, continuous; height and width of what is rendered of it.
Window = tuple[float, float, float, float]
Size = tuple[int, int]

# Sides are rendered in whole multiples of this, and cut, so that they can be halved so often.
_SUBDIVISIONS = 3
_MULTIPLE = 2**_SUBDIVISIONS
# Pixels of a window, so that its maps and points fit a small device.
MAX_WINDOW_PIXELS = 2**22
# Pixels of the image; farther out, float32 knows no halves of them.
_FARTHEST = 2**23


class Scene:
    """An image, its features and its objects.

    Attributes:
      image: [H, W, C], as the model takes it: uint8 RGB, or `pixel_format` of the predictor.
      instances: what the predictor finds on it.

    Example:
      scene = predictor.scene("photo.jpg")
      x0, y0, x1, y1 = scene.instances.boxes[0]
      whole = scene.render(0, window=(x0, y0, x1, y1), size=(1024, 1024)) >= 0.5
      detail = scene.render(0, window=(120, 80, 184, 144), size=(512, 512))  # 8x
    """

    def __init__(
        self, model: LoadedModel, seen: "Seen", image: np.ndarray, instances: PredictedInstances
    ) -> None:
        """`Predictor.scene` makes one."""
        self.image, self.instances = image, instances
        self._model, self._seen = model, seen

    def render(self, index: int, *, window: Window, size: Size) -> Float32[np.ndarray, "h w"]:
        """The probability that a pixel of the window belongs to the instance; 0 outside its box.

        Compiled once for a size (in multiples of 8 pixels) and a canvas of the network's input,
        never for a window. The box of the instance at the size M x M of its mask gives
        `instances.masks` itself.

        Args:
          index: of `instances`.
          window: (x0, y0, x1, y1) in pixels of the image; may reach beyond it.
          size: (height, width) of the result in pixels, of whatever scale.
        Raises: ValueError for a window without area, a size below 1 or above 2**22 pixels, or a
          model that renders nothing; IndexError if there is no such instance.
        """
        return self.explain(index, window=window, size=size)[-1].mask_probs

    def explain(self, index: int, *, window: Window, size: Size) -> list[ExplainedStep]:
        """The steps of `render`, whose arguments it takes, in the frame of the window.

        The first is the regular grid. Where the size is no multiple of 8, the last row and column
        of a step's cells may reach beyond the window.
        """
        found, row = self.instances, range(len(self.instances))[index]
        return self._steps(found.boxes[row], int(found.classes[row]), window, size)

    def warmup(self, sizes: Sequence[Size]) -> None:
        """Compiles ahead for windows of those sizes. Raises: ValueError as `render`."""
        height, width = self.image.shape[:2]
        whole = np.asarray([0, 0, width, height], np.float32)
        for size in sizes:
            self._steps(whole, 0, (0, 0, width, height), size)

    def _steps(
        self, box: np.ndarray, label: int, window: Window, size: Size
    ) -> list[ExplainedStep]:
        _check_window(window, size)
        hw, whole = _rendered(window, size)
        none = jnp.zeros(1, jnp.int32)
        regions = Regions(
            boxes=jnp.asarray(box * to_input(self, self._seen), jnp.float32)[None],
            image_index=none,
            classes=jnp.full(1, label, jnp.int32),
            gt_index=none,
            valid=jnp.ones(1, bool),
        )
        in_box = (whole - np.tile(box[:2], 2)) / np.tile(box[2:] - box[:2], 2)
        steps = _render(self._model, self._seen.maps, regions, in_box, hw)
        return [_explained_step(step, whole, box, size, hw) for step in steps]


class LabelScene:
    """An image, its features and its label map.

    Attributes:
      image: [H, W, C], as the model takes it: uint8 RGB, or `pixel_format` of the predictor.
      labels: what the predictor gives of it.

    Example:
      scene = predictor.scene("street.jpg")
      detail = scene.render(window=(120, 80, 184, 144), size=(512, 512))  # uint8 [512, 512]
    """

    def __init__(
        self, model: LoadedModel, seen: "Seen", image: np.ndarray, labels: PredictedLabels
    ) -> None:
        """`SemanticPredictor.scene` makes one."""
        self.image, self.labels = image, labels
        self._model, self._seen = model, seen

    def render(self, *, window: Window, size: Size) -> UInt8[np.ndarray, "h w"]:
        """The best class of each pixel of the window.

        Goes on from the whole map where a pixel of the window is smaller than one of the network's
        input, by up to three subdivisions; a larger one is the whole map resized. Compiled once for
        a size (in multiples of 8 pixels), a number of subdivisions and a canvas, never for a
        window.

        Args and errors: as of `Scene.render`.
        """
        return self.explain(window=window, size=size)[-1].labels

    def explain(self, *, window: Window, size: Size) -> list[ExplainedLabelStep]:
        """The steps of `render`, whose arguments it takes, in the frame of the window.

        The first is the whole map, sampled, and chooses no points.
        """
        _check_window(window, size)
        hw, whole = _rendered(window, size)
        seen = self._seen
        in_input = whole * to_input(self, seen)
        cell = max((in_input[2] - in_input[0]) / hw[1], (in_input[3] - in_input[1]) / hw[0])
        subdivisions = int(np.clip(math.ceil(-math.log2(cell)), 0, _SUBDIVISIONS))
        of = seen.predictions, seen.sample.batch
        explained = []
        for step in _render(self._model, seen.maps, of, in_input, (hw, subdivisions)):
            labels = np.argmax(step.logits[0], axis=-1).astype(np.uint8)
            inside = _inside_size(size, hw, labels.shape)
            coords = _points(step, size, hw)
            explained.append(
                ExplainedLabelStep(labels[inside], step.uncertainty[0][inside], coords)
            )
        return explained

    def warmup(self, sizes: Sequence[Size]) -> None:
        """Compiles ahead for windows of those sizes, at every zoom. Raises: as `render`."""
        scale = to_input(self, self._seen)[0]
        for height, width in sizes:
            for subdivisions in range(_SUBDIVISIONS + 1):
                # A little larger than where the next subdivision begins.
                pixel = 1.01 / scale / 2**subdivisions
                self.render(window=(0, 0, width * pixel, height * pixel), size=(height, width))


class Seen(NamedTuple):
    """What is kept of an image: the network's input, what it gave, and the maps of its points."""

    sample: EvalSample
    predictions: Any
    maps: dict[str, Array]


def see(model: LoadedModel, image: np.ndarray) -> tuple[Any, Seen]:
    """What a user gets of an image, and what its scene keeps."""
    programs, sample = _programs(model.task), model.sample(image)
    sizes, canvas = original_sizes(sample)
    deliver = programs.deliver if delivers(model.task, sizes) else None
    originals = originals_in_words(deliver, canvas)
    with programs.compilations.of(sample.batch, model.num_canvases, originals):
        predictions, maps = programs.predict(model.variables, sample.batch)
        delivered = predictions
        if deliver is not None:
            delivered = deliver(predictions, sample.batch, sizes, canvas)
    result = next(model.task.results(sample, delivered, model.class_names))
    # Instances are rendered from their boxes; label maps go on from their logits.
    kept_of_it = predictions if model.config.task == "semantic" else None
    return result, Seen(sample, kept_of_it, maps)


class _Programs(NamedTuple):
    predict: Callable[[Variables, Any], Any]
    deliver: Callable[..., Any] | None
    render: Callable[..., list[RenderStep]]
    # What the first was compiled for, and the sizes and shapes of the last.
    compilations: Compilations
    sizes: set[Any]


@kept
def _programs(task: Task) -> _Programs:
    compiled = partial(jax.jit, compiler_options=compiler_options())
    deliver = task.deliver and compiled(task.deliver, static_argnums=3)
    render = compiled(task.render, static_argnums=4)
    return _Programs(
        compiled(task.predict_scene), deliver, render, Compilations("the scene"), set()
    )


def _render(
    model: LoadedModel, maps: dict[str, Array], of: Any, window: np.ndarray, size: Any
) -> list[Any]:
    """`Task.render`, as `RenderStep`s of numpy; says what is compiled."""
    programs = _programs(model.task)
    key = size, tuple(x.shape for x in jax.tree.leaves(maps))
    (height, width), *detail = (size,) if isinstance(size[0], int) else size
    how = f", subdivisions: {detail[0]}" if detail else ""
    windows = jnp.asarray(window, jnp.float32)[None]
    with (
        nullcontext()
        if key in programs.sizes
        else waiting_for(f"compiling the rendering of windows on {height}x{width} pixels{how}")
    ):
        steps = jax.device_get(programs.render(model.variables, maps, of, windows, size))
    programs.sizes.add(key)
    return steps


def _check_window(window: Window, size: Size) -> None:
    x0, y0, x1, y1 = window
    if not (np.abs(window).max() <= _FARTHEST and x1 > x0 and y1 > y0):
        raise ValueError(
            "window must be (x0, y0, x1, y1) in pixels of the image, of positive width and height "
            f"and within {_FARTHEST} pixels, got {tuple(window)}."
        )
    if min(size) < 1 or math.prod(size) > MAX_WINDOW_PIXELS:
        raise ValueError(
            f"size must be a height and a width of at least 1 pixel, of {MAX_WINDOW_PIXELS} pixels "
            f"in all at most, got {tuple(size)}; render larger ones in several windows."
        )


def _rendered(window: Window, size: Size) -> tuple[Size, np.ndarray]:
    """The size that is rendered, and the window that belongs to it, with the same pixels."""
    hw = -(-size[0] // _MULTIPLE) * _MULTIPLE, -(-size[1] // _MULTIPLE) * _MULTIPLE
    x0, y0, x1, y1 = (float(v) for v in window)
    whole = x0, y0, x0 + (x1 - x0) * hw[1] / size[1], y0 + (y1 - y0) * hw[0] / size[0]
    return hw, np.asarray(whole)


def to_input(scene: Scene | LabelScene, seen: Seen) -> np.ndarray:
    """What brings xyxy of the image to pixels of the network's input."""
    return np.asarray(seen.sample.batch.image_hw[0] / np.array(scene.image.shape[:2]))[[1, 0, 1, 0]]


def _explained_step(
    step: Any, whole: np.ndarray, box: np.ndarray, size: Size, hw: Size
) -> ExplainedStep:
    probs = probability(step.logits[0, ..., 0])
    probs[~_inside_box(whole, box, probs.shape)] = 0.0
    inside = _inside_size(size, hw, probs.shape)
    return ExplainedStep(probs[inside], step.uncertainty[0][inside], _points(step, size, hw))


def _inside_box(
    window: np.ndarray, box: np.ndarray, hw: tuple[int, ...]
) -> Bool[np.ndarray, "h w"]:
    """Whether the centres of the pixels of a window lie in the box."""
    x, y = (
        window[axis] + (np.arange(side) + 0.5) / side * (window[2 + axis] - window[axis])
        for axis, side in ((0, hw[1]), (1, hw[0]))
    )
    return ((y >= box[1]) & (y <= box[3]))[:, None] & ((x >= box[0]) & (x <= box[2]))[None]


def _inside_size(size: Size, hw: Size, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The cells of a step of that shape that the window has, of those that are rendered."""
    height, width = (-(-a * n // b) for a, b, n in zip(size, hw, shape, strict=True))
    return slice(height), slice(width)


def _points(step: Any, size: Size, hw: Size) -> Float32[np.ndarray, "P 2"]:
    """A step's points in [0, 1] of the window."""
    coords = step.point_coords[0] * (hw[1] / size[1], hw[0] / size[0])
    return coords[(coords < 1.0).all(axis=1)].astype(np.float32)
