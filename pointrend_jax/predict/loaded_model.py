"""What every predictor is made of: a checked model on the device, and images as its input."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import jax
import numpy as np

from pointrend_jax.data.batches.samples import make_sample
from pointrend_jax.data.batches.transforms import check_buckets
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.predict.images import ImageLike, choose_canvas, read_one
from pointrend_jax.structures import Config, EvalSample
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import (
    Predict,
    one_ahead,
    original_canvas,
)
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.trees import check_finite, check_same_tree


class LoadedModel:
    """A task with its variables on the device.

    Attributes:
      task: of `config`.
      variables: on the device.
      class_names: K names; the index is the class.
      config: the model's whole configuration, locked.
      pixels: what images must have.
    """

    def __init__(self, variables: Variables, config: Config, class_names: Sequence[str]) -> None:
        """Args: variables, as `Task.init` gives them; config, that of their model.

        Raises: ValueError if the variables, the configuration and the names do not belong together.
        """
        if len(class_names) != config.num_classes:
            raise ValueError(
                f"config.num_classes is {config.num_classes}, but there are {len(class_names)} "
                f"class names: {list(class_names)}; there must be a name for each class."
            )
        self.pixels = pixel_format(config)
        # Lists in a checkpoint's JSON.
        self._buckets = tuple((int(height), int(width)) for height, width in config.data.buckets)
        check_buckets(self._buckets)
        self.num_canvases = len(self._buckets)
        self.task = build_task(config)
        check_same_tree(variables, self.task.shapes(), "what was loaded")
        check_finite(variables, "what was loaded")
        self.class_names = tuple(class_names)
        self.config = config
        self.variables = jax.device_put(variables)

    def sample(self, image: np.ndarray) -> EvalSample:
        """An image, resized as in evaluation, on its canvas.

        It stays on the host: reading `image_hw` must not wait for what the device is doing.
        """
        return self._batch([image], self.canvas((image.shape[0], image.shape[1])), 1)

    def canvas(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the canvas of an image of that size."""
        data = self.config.data
        return choose_canvas(image_hw, data.eval_min_size, data.max_size, self._buckets)

    def blank_samples(
        self, sizes: Sequence[tuple[int, int]] | None, batch_size: int = 1
    ) -> Iterator[EvalSample]:
        """Black images, a batch for each canvas that images of `sizes` go to (None: all).

        Where something is delivered at the size of the original image, also for each of its
        canvases.
        """
        programs = {}
        for hw in self._buckets if sizes is None else sizes:
            canvas = hw if sizes is None else self.canvas(hw)
            originals = original_canvas(hw) if self.task.deliver else (1, 1)
            programs.setdefault((canvas, originals), hw)
        # One cell is enough: what an image contains changes no program.
        cell = np.zeros((1, 1, self.pixels.channels), self.pixels.dtype)
        for (canvas, _), hw in sorted(programs.items()):
            yield make_sample([cell], (0,), canvas, 1, 1, batch_size)._replace(original_hw=(hw,))

    def results(
        self, images: Iterable[ImageLike], predict: Predict, batch_size: int = 1
    ) -> Iterator[Any]:
        """What a user gets of each image, given out after the next batch went to the device.

        Raises: ValueError for an image of another type or shape, after the results of those before.
        """
        for sample, delivered in one_ahead(self._samples(images, batch_size), predict):
            yield from self.task.results(sample, delivered, self.class_names)

    def _samples(self, images: Iterable[ImageLike], batch_size: int) -> Iterator[EvalSample]:
        """Batches of images that follow one another and share a canvas; the last slots may be
        empty. An image that cannot be read raises its ValueError after a batch of those before."""
        failed: list[ValueError] = []

        def read() -> Iterator[np.ndarray]:
            try:
                for position, given in enumerate(images):
                    yield read_one(given, f"image {position}", self.pixels)
            except ValueError as error:
                failed.append(error)

        def canvas_of(image: np.ndarray) -> tuple[int, int]:
            return self.canvas((image.shape[0], image.shape[1]))

        for canvas, on_canvas in groupby(read(), canvas_of):
            while batch := list(islice(on_canvas, batch_size)):
                yield self._batch(batch, canvas, batch_size)
        for error in failed:
            raise error

    def _batch(
        self, images: Sequence[np.ndarray], canvas: tuple[int, int], batch_size: int
    ) -> EvalSample:
        data, ids = self.config.data, tuple(range(len(images)))
        return make_sample(images, ids, canvas, data.eval_min_size, data.max_size, batch_size)
