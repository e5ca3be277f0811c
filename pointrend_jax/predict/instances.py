"""A trained model as a function of images: numpy RGB in, instances of the original image out."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.layers.regions import Regions
from pointrend_jax.masks.paste import probability
from pointrend_jax.predict.explainable import check_explains
from pointrend_jax.predict.exportable import Exportable
from pointrend_jax.predict.images import ImageLike, read_images, read_one
from pointrend_jax.predict.loaded_model import LoadedModel
from pointrend_jax.predict.scene import Scene, see
from pointrend_jax.results.instances import (
    ExplainedInstance,
    ExplainedStep,
    PredictedInstances,
)
from pointrend_jax.structures import Config, EvalSample
from pointrend_jax.tasks.predict_batches import on_one_device
from pointrend_jax.tasks.task import Variables


class Predictor(Exportable):
    """A model with its variables on the device: images in, `PredictedInstances` out.

    Every image is resized as in evaluation (`data.eval_min_size`, `data.max_size`) and placed on
    one of a few canvases (`data.buckets`), which changes no result. The network is compiled once
    for a canvas when the first image of it comes, or ahead by `warmup()`, never for an image's
    size; a GPU also pastes masks, which is compiled for canvases of the original images, two sides
    an octave. An image too long for every bucket goes to a canvas with a short side of
    `eval_min_size` and a long side that doubles until it fits, `max_size` at most, so there are few
    of those too.

    Attributes:
      class_names: K names; the index is the class.
      category_ids: the data set's own id of each class; empty where none is known, as of
        checkpoints that older versions wrote.
      config: the model's whole configuration, locked.
      pixel_format: what images must have; `pixel_format.shown(image)` is one as people see it.

    Example:
      predictor = pointrend_jax.load("runs/people")
      instances = predictor("photo.jpg")  # or uint8 [H, W, 3], RGB; the same as predictor.predict
      instances = instances[instances.scores > 0.7]
      for box, name in zip(instances.boxes, instances.class_names):
          print(name, box)  # xyxy in pixels of the image
      pixels = instances.masks.boolean()  # bool [n, H, W]
      records = instances.masks.rle()  # n COCO RLEs
      fine = instances.masks.probabilities((4 * H, 4 * W))  # float32 [n, 4 H, 4 W], any size
    """

    def __init__(
        self,
        variables: Variables,
        config: Config,
        class_names: Sequence[str],
        category_ids: Sequence[int] = (),
    ) -> None:
        """Most programs call `load`; this is for variables that are in memory already.

        Args:
          variables: as `Task.init` gives them. config: the configuration of their model.
        Raises: ValueError if the variables, the configuration and the names do not belong together.
        """
        if config.task != "instance":
            raise ValueError(
                "this is a model of label maps (config.task 'semantic'); make a SemanticPredictor "
                "of it, or use pointrend_jax.load, which makes the right one."
            )
        self._model = model = LoadedModel(variables, config, class_names)
        self.class_names, self.config = model.class_names, model.config
        self.pixel_format = model.pixels
        self.category_ids = tuple(category_ids)
        given = len(self.category_ids), len(set(self.category_ids))
        if self.category_ids and given != (len(self.class_names),) * 2:
            raise ValueError(
                f"there must be a category id for each of the {len(self.class_names)} classes, "
                f"each another one, got {list(self.category_ids)}."
            )
        self._predict = on_one_device(model.task, model.variables, model.num_canvases)
        self._explain = jax.jit(model.task.explain, compiler_options=compiler_options())

    @overload
    def predict(
        self,
        images: ImageLike,
        *,
        score_threshold: float = 0.0,
        max_instances: int | None = None,
        batch_size: int = 1,
    ) -> PredictedInstances: ...

    @overload
    def predict(
        self,
        images: Sequence[ImageLike],
        *,
        score_threshold: float = 0.0,
        max_instances: int | None = None,
        batch_size: int = 1,
    ) -> list[PredictedInstances]: ...

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        score_threshold: float = 0.0,
        max_instances: int | None = None,
        batch_size: int = 1,
    ) -> PredictedInstances | list[PredictedInstances]:
        """The instances of one image, or of each image of a sequence, in order.

        For more images than fit in memory there is `stream`.

        Args:
          images: one image or a sequence of images of any sizes. An image is a uint8 [H, W, 3]
            array in RGB order, of numpy or jax (of a model of other pixels [H, W, C] of these); a
            Pillow image; a path; or an https address.
          score_threshold: leaves out what scores lower. The model has a threshold of its own,
            `model.box.score_threshold`, below which nothing is found.
          max_instances: the most instances an image, the best ones; None for all that the model
            gives (`model.box.detections_per_image`).
          batch_size: of a sequence, images of one canvas that go through the network at once, for
            accelerators; a CPU gains nothing. What stands beside an image changes its result by
            rounding only, and at 1, the default, not at all.

        Returns: one result for one image; a list for a sequence. Masks are not drawn yet.
        Raises: ValueError, before anything is predicted, if an image is of another type or shape or
          an option is out of range; it says which and what to do.
        """
        if isinstance(images, str) or not isinstance(images, Sequence):
            image = read_one(images, "the image", self._model.pixels)
            _check_batch_size(batch_size)
            return next(
                self.stream([image], score_threshold=score_threshold, max_instances=max_instances)
            )
        read = read_images(images, self._model.pixels)
        # Images of a canvas one after another, so that they share batches.
        canvases = [self._model.canvas((x.shape[0], x.shape[1])) for x in read]
        order = sorted(range(len(read)), key=lambda i: canvases[i] if batch_size > 1 else (0, 0))
        results = self.stream(
            (read[i] for i in order),
            score_threshold=score_threshold,
            max_instances=max_instances,
            batch_size=batch_size,
        )
        by_position = dict(zip(order, results, strict=True))
        return [by_position[i] for i in range(len(read))]

    __call__ = predict

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        score_threshold: float = 0.0,
        max_instances: int | None = None,
        batch_size: int = 1,
    ) -> Iterator[PredictedInstances]:
        """`predict` for images that come one after another: files, a video, a whole data set.

        A batch is given to the device before the results of the one before are handed out, and a
        thread takes the images and makes up to two more batches of them: it reads and resizes while
        the device works and the caller draws or saves. A batch ends early where the next image
        needs another canvas. Whoever stops early waits for the image that is being taken.

        Raises: ValueError as `predict`; for an image, after the results of all before it.
        """
        check_choice(score_threshold, max_instances)
        _check_batch_size(batch_size)
        results = self._model.results(images, self._predict, batch_size)
        return (_best(instances, score_threshold, max_instances) for instances in results)

    def warmup(
        self, sizes: Sequence[tuple[int, int]] | None = None, *, batch_size: int = 1
    ) -> None:
        """Compiles ahead, so that no prediction waits for it; returns when the device is ready.

        Args:
          sizes: (height, width) of the images that will come, in pixels; None compiles every canvas
            of `data.buckets`, for images of its size.
          batch_size: as it will be given to `predict`.
        Raises: ValueError if a side or `batch_size` is less than 1.
        """
        _check_batch_size(batch_size)
        for sample in self._model.blank_samples(sizes, batch_size):
            jax.block_until_ready(self._predict(sample))

    def scene(
        self,
        image: ImageLike,
        *,
        score_threshold: float = 0.0,
        max_instances: int | None = None,
    ) -> Scene:
        """An image to zoom into: its instances, any window of which is rendered at any size.

        Its network is a program of its own, compiled once for a canvas. A scene keeps the maps of
        its image on the device.

        Args and errors: as of `predict`.
        """
        check_choice(score_threshold, max_instances)
        pixels = read_one(image, "the image", self._model.pixels)
        instances, seen = see(self._model, pixels)
        return Scene(self._model, seen, pixels, _best(instances, score_threshold, max_instances))

    def explain(
        self, image: ImageLike, boxes: np.ndarray, classes: np.ndarray
    ) -> list[ExplainedInstance]:
        """How the mask of each box is rendered.

        Args:
          boxes: [n, 4] xyxy in pixels of the image, such as predicted ones. classes: [n].
        Raises: ValueError if the model has no rendering steps.
        """
        check_explains(self.config)
        pixels = read_one(image, "the image", self._model.pixels)
        sample = self._model.sample(pixels)
        scale = np.asarray(sample.batch.image_hw[0] / np.array(pixels.shape[:2]), np.float32)
        boxes = np.asarray(boxes, np.float32) * scale[[1, 0, 1, 0]]
        return [
            self._explain_one(sample, box, int(label))
            for box, label in zip(boxes, classes, strict=True)
        ]

    def _explain_one(self, sample: EvalSample, box: np.ndarray, label: int) -> ExplainedInstance:
        regions = Regions(
            boxes=jnp.asarray(box)[None],
            image_index=jnp.zeros(1, jnp.int32),
            classes=jnp.full(1, label, jnp.int32),
            gt_index=jnp.zeros(1, jnp.int32),
            valid=jnp.ones(1, bool),
        )
        masks, steps = jax.device_get(self._explain(self._model.variables, sample.batch, regions))
        return ExplainedInstance(
            coarse_probs=probability(masks.coarse[0]),
            steps=[
                ExplainedStep(probability(s.logits[0, ..., 0]), s.uncertainty[0], s.point_coords[0])
                for s in steps
            ],
        )


def _best(
    instances: PredictedInstances, score_threshold: float, max_instances: int | None
) -> PredictedInstances:
    """The first instances, which are the best ones."""
    number = int(np.count_nonzero(instances.scores >= score_threshold))
    number = number if max_instances is None else min(number, max_instances)
    # Indices copy, so that the masks of the others are not kept in memory.
    return instances if number == len(instances) else instances[np.arange(number)]


def check_choice(score_threshold: float, max_instances: int | None = None) -> None:
    """Raises ValueError for what `Predictor.predict` does not take."""
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must be in [0, 1], got {score_threshold}.")
    if max_instances is not None and max_instances < 1:
        raise ValueError(f"max_instances must be at least 1, or None for all, got {max_instances}.")


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
