"""Batches for prediction: each image in its slot, whatever thread resizes it."""

import threading

import numpy as np
import pytest

from pointrend_jax.data.batches import samples
from pointrend_jax.data.batches.samples import make_sample
from pointrend_jax.workers import WORKERS

_BUCKET = (64, 96)


def _images(number: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 120, (number, 2))
    return [rng.integers(0, 255, (h, max(w, h), 3), np.uint8) for h, w in sizes]


def test_a_batch_has_the_bits_of_images_that_are_resized_alone() -> None:
    images = _images(2 * WORKERS + 1)
    together = make_sample(images, tuple(range(len(images))), _BUCKET, 60, 90, len(images) + 1)
    for slot, image in enumerate(images):
        # Of a single image no other thread resizes.
        alone = make_sample([image], (slot,), _BUCKET, 60, 90, 1)
        np.testing.assert_array_equal(together.batch.images[slot], alone.batch.images[0])
        np.testing.assert_array_equal(together.batch.image_hw[slot], alone.batch.image_hw[0])
        assert together.original_hw[slot] == image.shape[:2]
    assert not together.batch.images[-1].any()
    assert together.batch.valid.tolist() == [True] * len(images) + [False]


@pytest.mark.skipif(WORKERS == 1, reason="there is one thread")
def test_two_images_are_resized_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, resize = threading.Barrier(2, timeout=60), samples.resize_image

    def meet(image: np.ndarray, new_hw: tuple[int, int]) -> np.ndarray:
        both.wait()
        return resize(image, new_hw)

    monkeypatch.setattr(samples, "resize_image", meet)
    assert make_sample(_images(2), (0, 1), _BUCKET, 60, 90, 2).batch.valid.all()
