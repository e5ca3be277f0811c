"""Images of any sizes as one batch for prediction: resized as in evaluation, on one canvas."""

from collections.abc import Sequence

import numpy as np

from pointrend_jax.data.batches.transforms import (
    SIZE_DIVISIBILITY,
    padded_sizes,
    place_image,
    resize_image,
    resized_hw,
)
from pointrend_jax.structures import EvalSample, ImageBatch


def make_sample(
    images: Sequence[np.ndarray],
    ids: tuple[int, ...],
    bucket: tuple[int, int],
    min_size: int,
    max_size: int,
    batch_size: int,
) -> EvalSample:
    """Images of one bucket, resized and placed, in a batch of `batch_size` slots.

    Args:
      images: at least one, all of the same channels and type.
    """
    pixels = np.zeros((batch_size, *bucket, images[0].shape[2]), images[0].dtype)
    # A slot that only fills the batch is one black cell.
    hw = np.full((batch_size, 2), SIZE_DIVISIBILITY, np.int32)
    for slot, image in enumerate(images):
        hw[slot] = resized_hw((image.shape[0], image.shape[1]), min_size, max_size)
        pixels[slot] = place_image(
            resize_image(image, (int(hw[slot, 0]), int(hw[slot, 1]))), bucket
        )
    batch = ImageBatch(pixels, hw, padded_sizes(hw), np.arange(batch_size) < len(images))
    return EvalSample(batch, ids, tuple((i.shape[0], i.shape[1]) for i in images))
