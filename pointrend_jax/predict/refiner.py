"""A trained refiner as a function: a photo and masks of it in, sharper masks out.

Every mask is seen in a crop around it, so a large photo costs what its objects cost, in time and
in memory; masks wait as they came, and as run lengths when they are done.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np

from pointrend_jax.data.batches.crops import CLASS_NAMES, Crop, crop_shape, make_crop
from pointrend_jax.predict.given_masks import MaskLike, Waiting, drawn, read_masks
from pointrend_jax.predict.images import ImageLike, read_one
from pointrend_jax.results.refined import (
    RefinedCrop,
    RefinedMask,
    RefinedMasks,
    refined_mask,
)
from pointrend_jax.structures import Config, EvalSample
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import on_one_device, one_ahead
from pointrend_jax.tasks.refine import crop_sample
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.trees import check_finite, check_same_tree

# Crops that go through the network at once; what stands beside a mask never changes its result.
_BATCH = 8


class MaskRefiner:
    """A model with its variables on the device: a photo and its masks in, `RefinedMasks` out.

    Attributes:
      config: the model's whole configuration, locked.

    Example:
      refiner = pointrend_jax.load_refiner("runs/refiner")
      refined = refiner("photo.jpg", masks)
      refined.boolean(), refined.rle(), refined.changed_share
      refined[0].polygons(), refined[0].left_alone
    """

    def __init__(self, variables: Variables, config: Config) -> None:
        """Most programs call `load_refiner`; this is for variables that are in memory already.

        Raises: ValueError if the variables and the configuration do not belong together.
        """
        self.config, self._task = config, build_task(config)
        check_same_tree(variables, self._task.shapes(), "what was loaded")
        check_finite(variables, "what was loaded")
        self._shape = crop_shape(config)
        self._predict = on_one_device(self._task, jax.device_put(variables), 1)

    def refine(self, image: ImageLike, masks: MaskLike) -> RefinedMasks:
        """The masks, each changed where the photo says something else.

        Args:
          image: a uint8 [H, W, 3] array in RGB order, a Pillow image, a path or an address.
          masks: of the image, a sequence with an entry for each: an array [H, W] (booleans,
            numbers with 0 for no object, or probabilities), a COCO RLE, a list of polygons, or the
            path of an image of numbered objects. An array [n, H, W] or one such path will do too.
        Raises: ValueError that names what is wrong with the image or a mask, or for a mask without
          a pixel in the image.
        """
        pixels = read_one(image, "the image")
        hw = (pixels.shape[0], pixels.shape[1])
        return RefinedMasks(self.stream(pixels, read_masks(masks, hw)))

    __call__ = refine

    def stream(self, pixels: np.ndarray, masks: Sequence[Waiting]) -> Iterator[RefinedMask]:
        """The refined masks one by one.

        Args: pixels, uint8 [H, W, 3]. masks, of `given_masks.read_masks`.
        Raises: ValueError for a mask without a pixel in the image, when it is its turn.
        """
        hw = (pixels.shape[0], pixels.shape[1])
        crops = (self.crop(pixels, drawn(m, hw), f"mask {i}") for i, m in enumerate(masks))
        for refined in self.refine_crops(crops):
            yield refined_mask(refined, hw)

    def crop(self, pixels: np.ndarray, mask: np.ndarray, which: str) -> Crop:
        """An object as the network sees it.

        Args: pixels, uint8 [H, W, 3]. mask, bool [H, W]. which, what an error calls it.
        Raises: ValueError for a mask without a pixel in the image.
        """
        if not mask.any():
            raise ValueError(f"{which} has no pixel in the image; leave it out.")
        return make_crop(pixels, mask, self._shape)

    def refine_crops(self, crops: Iterable[Crop]) -> Iterator[RefinedCrop]:
        """The masks of crops of any photos, in pixels of their windows."""
        for sample, predicted in one_ahead(self._samples(crops), self._predict):
            results: Any = self._task.results
            yield from results(sample, predicted, CLASS_NAMES)

    def _samples(self, crops: Iterable[Crop]) -> Iterator[EvalSample]:
        waiting = iter(crops)
        while part := list(islice(waiting, _BATCH)):
            yield crop_sample(range(len(part)), part, self._shape.canvas, _BATCH)


NONE_PUBLISHED = (
    "no refiner is published; train one on any set with masks: pointrend_jax train --config refine "
    "--data FOLDER --workdir runs/refiner (docs/refine.md)"
)
