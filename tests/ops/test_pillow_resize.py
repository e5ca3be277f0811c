"""Resizing on the device: every grey level that Pillow gives, for any size on the canvas."""

import math
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointrend_jax.data.batches.transforms import resize_image, resized_hw
from pointrend_jax.ops.pillow_resize import MAX_SIDE, most_taps, resize_as_pillow

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# Of the original and of what becomes of it; no multiple of anything.
LARGEST, CANVAS = (43, 31), (27, 35)
_resize = jax.jit(partial(resize_as_pillow, canvas_hw=CANVAS, taps=2 * max(LARGEST)))


def _assert_equals_pillow(inside: tuple[int, int], output: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Noise beyond the image, which must not come in; black and white, which must not wrap around.
    canvas = rng.integers(0, 256, (*LARGEST, 3), np.uint8)
    image = canvas[: inside[0], : inside[1]]
    if seed % 2:
        image[:] = np.where(image > 127, 255, 0)
    expected = np.zeros((*CANVAS, 3), np.uint8)
    expected[: output[0], : output[1]] = resize_image(np.ascontiguousarray(image), output)
    found = _resize(canvas, np.asarray(inside, np.int32), np.asarray(output, np.int32))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("inside", "output"),
    [
        ((20, 25), (20, 25)),
        ((20, 25), (27, 35)),
        ((43, 31), (21, 15)),
        ((43, 31), (7, 5)),
        ((43, 10), (20, 5)),
        ((43, 10), (20, 20)),
        ((10, 31), (20, 5)),
        ((15, 31), (15, 9)),
        ((1, 31), (1, 20)),
        ((43, 1), (20, 1)),
        ((1, 1), (27, 35)),
        ((43, 31), (1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_image_is_resized_as_pillow_does(
    inside: tuple[int, int], output: tuple[int, int], seed: int
) -> None:
    _assert_equals_pillow(inside, output, seed)


def _sides(most_hw: tuple[int, int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(*(st.integers(1, most) for most in most_hw))


@given(_sides(LARGEST), _sides(CANVAS), st.integers(0, 2**16))
@settings(max_examples=100)
def test_any_size_becomes_any_other_as_pillow_does_it(
    inside: tuple[int, int], output: tuple[int, int], seed: int
) -> None:
    _assert_equals_pillow(inside, output, seed)


@given(_sides((400, 600)), st.integers(1, 200), st.integers(1, 200))
def test_no_size_needs_more_pixels_for_one_than_its_largest(
    image_hw: tuple[int, int], min_size: int, more: int
) -> None:
    taps = most_taps((400, 600), min_size=min_size, max_size=min_size + more)
    output = resized_hw(image_hw, min_size, min_size + more)
    needed = max(math.ceil(2 * a / b) for a, b in zip(image_hw, output, strict=True))
    assert needed <= taps


def test_a_side_whose_products_are_no_int32_is_refused() -> None:
    one = np.ones(2, np.int32)
    pixels = jax.ShapeDtypeStruct((MAX_SIDE + 1, 1, 3), np.uint8)
    resize = partial(resize_as_pillow, canvas_hw=(32, 32), taps=2)
    with pytest.raises(ValueError, match=r"up to 16384 pixels a side, got \(16385, 1\)"):
        jax.eval_shape(resize, pixels, one, one)
