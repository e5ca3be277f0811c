"""A trained semantic model as a function of images: numpy RGB in, a class for every pixel out."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.predict.explainable import check_explains
from pointrend_jax.predict.exportable import Exportable
from pointrend_jax.predict.images import ImageLike, read_images, read_one
from pointrend_jax.predict.loaded_model import LoadedModel
from pointrend_jax.predict.scene import LabelScene, see
from pointrend_jax.predict.tiles import LabelSink, PixelSource, Tiling, predict_tiles
from pointrend_jax.results.label_maps import ExplainedLabels, ExplainedLabelStep, PredictedLabels
from pointrend_jax.structures import Array, Config, ImageBatch
from pointrend_jax.tasks.predict_batches import on_one_device, original_sizes
from pointrend_jax.tasks.semantic import class_probabilities
from pointrend_jax.tasks.task import Task, Variables, kept


class SemanticPredictor(Exportable):
    """A model with its variables on the device: images in, `PredictedLabels` out.

    Every image is resized as in evaluation (`data.eval_min_size`, `data.max_size`) and placed on
    one of a few canvases (`data.buckets`), which changes no result; the labels come back at its own
    size. The network is compiled once for a canvas, the small step to the image's size once for
    every 64 pixels of its sides.

    Attributes:
      class_names: K names; the index is the class.
      config: the model's whole configuration, locked.
      pixel_format: what images must have; `pixel_format.shown(image)` is one as people see it.

    Example:
      predictor = pointrend_jax.load("runs/camvid")
      prediction = predictor("photo.jpg")  # or uint8 [H, W, 3], RGB; the same as .predict
      prediction.labels  # uint8 [H, W]
      prediction.mask("road")  # bool [H, W]
      predictor.probabilities(image)  # float32 [H, W, K]
      labels = predictor.predict_tiles(huge, tile=1024)  # any size, in the memory of a tile
    """

    def __init__(self, variables: Variables, config: Config, class_names: Sequence[str]) -> None:
        """Most programs call `load`; this is for variables that are in memory already.

        Args:
          variables: as `Task.init` gives them. config: the configuration of their model.
        Raises: ValueError if the variables, the configuration and the names do not belong together.
        """
        if config.task != "semantic":
            raise ValueError(
                "this is a model of instances (config.task 'instance'); make a Predictor of it, or "
                "use pointrend_jax.load, which makes the right one."
            )
        self._model = model = LoadedModel(variables, config, class_names)
        self.class_names, self.config = model.class_names, model.config
        self.pixel_format = model.pixels
        compiled = partial(jax.jit, compiler_options=compiler_options())
        self._logits = compiled(model.task.predict)
        self._predict = on_one_device(model.task, model.variables, model.num_canvases)
        self._probabilities = compiled(class_probabilities, static_argnums=3)
        self._explain = compiled(_explained_by(model.task))
        self._tile = compiled(_tile_labels(model.task))

    @overload
    def predict(self, images: ImageLike) -> PredictedLabels: ...

    @overload
    def predict(self, images: Sequence[ImageLike]) -> list[PredictedLabels]: ...

    def predict(
        self, images: ImageLike | Sequence[ImageLike]
    ) -> PredictedLabels | list[PredictedLabels]:
        """The labels of one image, or of each image of a sequence, in order.

        Images are predicted one by one, so what stands beside an image never changes its result.

        Args:
          images: one image or a sequence of images of any sizes. An image is a uint8 [H, W, 3]
            array in RGB order, of numpy or jax (of a model of other pixels [H, W, C] of these); a
            Pillow image; a path; or an https address.
        Raises: ValueError, before anything is predicted, if an image is of another type or shape.
        """
        if isinstance(images, str) or not isinstance(images, Sequence):
            return next(self.stream([read_one(images, "the image", self._model.pixels)]))
        return list(self.stream(read_images(images, self._model.pixels)))

    __call__ = predict

    def stream(self, images: Iterable[ImageLike]) -> Iterator[PredictedLabels]:
        """`predict` for images that come one after another: files, a video, a whole data set.

        An image is given to the device before the result of the one before is handed out, and a
        thread takes up to two more: whoever stops early waits for the image that is being made.
        Raises: ValueError for an image, after the results of all before it.
        """
        return self._model.results(images, self._predict)

    def warmup(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """Compiles ahead, so that no prediction waits for it.

        Args:
          sizes: (height, width) of the images that will come, in pixels; None compiles every canvas
            of `data.buckets`, for images of its size.
        Raises: ValueError if a side is less than 1.
        """
        for sample in self._model.blank_samples(sizes):
            jax.block_until_ready(self._predict(sample))

    def probabilities(self, image: ImageLike) -> Float32[np.ndarray, "H W K"]:
        """Softmax over the classes for each pixel of the original image; 4 K bytes a pixel.

        Raises: ValueError if the image is of another type or shape.
        """
        pixels = read_one(image, "the image", self._model.pixels)
        sample = self._model.sample(pixels)
        sizes, canvas = original_sizes(sample)
        predictions = self._logits(self._model.variables, sample.batch)
        probabilities = self._probabilities(predictions.logits, sample.batch, sizes, canvas)
        return np.asarray(probabilities)[0, : pixels.shape[0], : pixels.shape[1]]

    def scene(self, image: ImageLike) -> LabelScene:
        """An image to zoom into: its label map, any window of which is rendered at any size.

        Its network is a program of its own, compiled once for a canvas. A scene keeps the logits
        and maps of its image on the device.

        Raises: ValueError if the image is of another type or shape.
        """
        pixels = read_one(image, "the image", self._model.pixels)
        labels, seen = see(self._model, pixels)
        return LabelScene(self._model, seen, pixels, labels)

    def explain(self, image: ImageLike) -> ExplainedLabels:
        """How the label map arises: the coarse one and every rendering step.

        Raises: ValueError if the model has no rendering steps.
        """
        check_explains(self.config)
        batch = self._model.sample(read_one(image, "the image", self._model.pixels)).batch
        coarse, steps = jax.device_get(self._explain(self._model.variables, batch))
        return ExplainedLabels(
            _inside(coarse, batch), [_explained_step(step, batch) for step in steps]
        )

    def predict_tiles(
        self,
        image: PixelSource,
        *,
        tile: int | tuple[int, int] = 1024,
        overlap: int = 256,
        out: LabelSink | None = None,
        progress: bool = False,
    ) -> LabelSink:
        """The labels of an image of any size, tile by tile, in the memory of one tile.

        The image is not resized: the model sees it as it is. Every pixel's label comes from the
        tile in which it lies farthest from the border. So the result is that of the whole image
        wherever what the model sees around a pixel ends within half the overlap. Some parts see the
        image as a whole, and then the tile instead: group norm (the default of SemanticFPN) and the
        image pooling of DeepLabV3. Each tile gets the N points of a whole image.

        Args:
          image: uint8 [H, W, 3] in RGB order (of a model of other pixels [H, W, C] of these): an
            array, or anything with `shape` and `dtype` that gives `image[y0:y1, x0:x1]`: np.memmap,
            tifffile.memmap, zarr, `NpyImage`, `RasterImage`.
          tile: side or (height, width) in pixels, multiples of 32.
          overlap: of neighbouring tiles in pixels, a multiple of 32, at most half a tile.
          out: where the labels go, uint8 [H, W], by `out[y0:y1, x0:x1] = labels`; None for a new
            array.
          progress: whether a bar tells how far it is.
        Returns: `out`.
        Raises: ValueError for an image or an `out` of another type or shape, or impossible tiles;
          TypeError for a tile whose sides are no integers.
        """
        height, width = tile if isinstance(tile, tuple) else (tile, tile)
        tile_hw = operator.index(height), operator.index(width)
        variables = self._model.variables
        return predict_tiles(
            lambda batch: self._tile(variables, batch),
            image,
            Tiling.checked(tile_hw, overlap),
            out,
            pixels=self._model.pixels,
            progress=progress,
        )


def _best(logits: Array) -> Array:
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


@kept
def _tile_labels(task: Task) -> Callable[[Variables, ImageBatch], Array]:
    def labels(variables: Variables, batch: ImageBatch) -> Array:
        return _best(task.predict(variables, batch).logits)

    return labels


@kept
def _explained_by(task: Task) -> Callable[[Variables, ImageBatch], Any]:
    """Coarse labels and steps, with labels in place of logits: those are K times as large."""

    def explain(variables: Variables, batch: ImageBatch) -> Any:
        steps: list[RenderStep] = task.explain(variables, batch)
        coarse = task.predict(variables, batch).coarse_logits
        return _best(coarse), [(_best(s.logits), s.uncertainty, s.point_coords) for s in steps]

    return explain


def _explained_step(step: tuple[np.ndarray, ...], batch: ImageBatch) -> ExplainedLabelStep:
    labels, uncertainty, point_coords = step
    canvas_hw, image_hw = np.array(batch.images.shape[1:3]), batch.image_hw[0]
    coords = point_coords[0] * (canvas_hw / image_hw)[::-1]
    # Beyond the image, in what its last cells are padded with, points may be chosen too.
    coords = coords[(coords < 1.0).all(axis=1)].astype(np.float32)
    return ExplainedLabelStep(_inside(labels, batch), _inside(uncertainty, batch), coords)


def _inside(maps: np.ndarray, batch: ImageBatch) -> np.ndarray:
    """The part of the first map that shows the image."""
    stride = batch.images.shape[1] // maps.shape[1]
    height, width = (-(-int(side) // stride) for side in batch.image_hw[0])
    return maps[0, :height, :width]
