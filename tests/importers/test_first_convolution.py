"""The first convolution of photos as one of other channels answers grey as it did."""

import numpy as np
import pytest

from pointrend_jax.importers.first_convolution import inflate, inflate_first
from pointrend_jax.importers.layouts import CONV, VECTOR
from pointrend_jax.importers.take_tensors import Rule
from pointrend_jax.pixel_format import PixelFormat

_PATH = "params/backbone/stem/conv/kernel"


def _format(channels: int, rgb: tuple[int, ...]) -> PixelFormat:
    return PixelFormat(channels, "uint8", (0.0, 255.0), rgb)


def _kernel() -> np.ndarray:
    """[red, green, blue; height, width, out]."""
    return np.random.default_rng(0).standard_normal((3, 7, 7, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "rgb"), [(1, ()), (2, ()), (4, (2, 1, 0)), (13, (3, 2, 1)), (5, ())]
)
def test_channels_that_show_the_same_have_the_response_of_grey(
    channels: int, rgb: tuple[int, ...]
) -> None:
    kernel = _kernel()
    inflated = inflate(kernel, _format(channels, rgb))
    assert inflated.shape == (channels, 7, 7, 8)
    # The response to an image whose channels are equal is the sum over them. float32.
    np.testing.assert_allclose(inflated.sum(axis=0), kernel.sum(axis=0), atol=2e-6)


def test_colours_keep_their_kernels_and_others_have_the_mean() -> None:
    kernel = _kernel()
    inflated = inflate(kernel, _format(4, (2, 1, 0)))
    for colour, place in enumerate((2, 1, 0)):
        np.testing.assert_allclose(inflated[place], kernel[colour] * 0.75, rtol=1e-6)
    np.testing.assert_allclose(inflated[3], kernel.mean(axis=0) * 0.75, rtol=1e-5)
    # Three channels in another order are only put into it.
    np.testing.assert_array_equal(inflate(kernel, _format(3, (2, 1, 0))), kernel[::-1])


@pytest.mark.parametrize("bgr", [False, True])
def test_kernels_are_found_in_files_and_in_checkpoints(bgr: bool) -> None:
    pixels, kernel = _format(4, (0, 1, 2)), _kernel()
    stored = kernel[::-1] if bgr else kernel
    theirs = {"stem.conv1.weight": stored.transpose(3, 0, 1, 2), "fc": np.ones(3)}
    found, words = inflate_first(theirs, {_PATH: Rule("stem.conv1.weight", CONV)}, pixels, bgr=bgr)
    assert "4 channels: channels (0, 1, 2) have its kernels and 1 have their mean" in words
    expected = inflate(kernel, pixels)
    np.testing.assert_array_equal(found["stem.conv1.weight"], expected.transpose(3, 0, 1, 2))
    assert found["fc"] is theirs["fc"]
    ours = {_PATH: stored.transpose(1, 2, 0, 3)}
    found, _ = inflate_first(ours, {_PATH: Rule(_PATH, VECTOR)}, pixels, bgr=bgr)
    np.testing.assert_array_equal(found[_PATH], expected.transpose(1, 2, 0, 3))


def test_a_convolution_of_the_models_channels_stays() -> None:
    tensors = {_PATH: np.ones((7, 7, 4, 8), np.float32)}
    rules = {_PATH: Rule(_PATH, VECTOR)}
    assert inflate_first(tensors, rules, _format(4, ()), bgr=False) == (tensors, "")
    assert inflate_first({}, rules, _format(4, ()), bgr=False) == ({}, "")
