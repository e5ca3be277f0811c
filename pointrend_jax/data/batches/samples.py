"""Images of any sizes as one batch for prediction: resized as in evaluation, on one canvas."""

from collections.abc import Sequence

import numpy as np

from pointrend_jax.data.batches.transforms import (
    SIZE_DIVISIBILITY,
    padded_sizes,
    resize_image,
    resized_hw,
)
from pointrend_jax.structures import EvalSample, ImageBatch
from pointrend_jax.workers import at_once


def make_sample(
    images: Sequence[np.ndarray],
    ids: tuple[int, ...],
    bucket: tuple[int, int],
    min_size: int,
    max_size: int,
    batch_size: int,
) -> EvalSample:
    """Images of one bucket, resized and placed, in a batch of `batch_size` slots; all at once.

    Args:
      images: at least one, all of the same channels and type.
    """
    pixels = np.zeros((batch_size, *bucket, images[0].shape[2]), images[0].dtype)
    # A slot that only fills the batch is one black cell.
    hw = np.full((batch_size, 2), SIZE_DIVISIBILITY, np.int32)

    def place(slot: int) -> None:
        image = images[slot]
        height, width = resized_hw((image.shape[0], image.shape[1]), min_size, max_size)
        hw[slot] = height, width
        pixels[slot, :height, :width] = resize_image(image, (height, width))

    at_once(place, range(len(images)))
    batch = ImageBatch(pixels, hw, padded_sizes(hw), np.arange(batch_size) < len(images))
    return EvalSample(batch, ids, tuple((i.shape[0], i.shape[1]) for i in images))
