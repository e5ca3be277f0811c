"""Masks pasted on the device: every change that the host's paste has, and no other."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.masks.paste import probability, resample_to_window, scale_boxes_to_original
from pointrend_jax.masks.runs import decode_rle, encode_changes
from pointrend_jax.ops import mask_changes as module
from pointrend_jax.ops.mask_changes import (
    MaskChanges,
    boxes_of_original,
    changed_bits,
    corrected_quotient,
    list_changes,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")

# No multiple of a word in either direction.
CANVAS = (70, 90)
SLOTS = 4000
# What rounding may move a probability by: the two sigmoids and products differ by less.
TOLERANCE = 1e-5

_BOXES = {
    "within": [3.2, 4.1, 30.7, 25.0],
    "whole": [0, 0, 64, 41],
    "left border": [0, 5.5, 7.25, 33],
    "lower right corner": [50.5, 30.2, 64, 41],
    "less than a pixel": [10.3, 10.4, 10.9, 10.6],
    "around one centre": [20.25, 30.25, 20.75, 30.75],
    "one column": [31, 0, 32, 41],
    "one row": [0, 12, 64, 13],
    "beyond the image": [-500, -300, 900, 700],
    "outside": [70, 5, 80, 9],
    "empty": [5, 5, 5, 9],
}


@partial(jax.jit, static_argnames=("canvas_hw", "slots"))
def _changes(
    logits: jax.Array, boxes: jax.Array, image_hw: jax.Array, canvas_hw=CANVAS, slots=SLOTS
) -> MaskChanges:
    changed = changed_bits(logits, boxes, image_hw, canvas_hw=canvas_hw)
    return list_changes(changed, image_hw, slots=slots)


def _blobs(rng: np.random.Generator, number: int, side: int) -> np.ndarray:
    """Logits of parts with holes, and with noise for every third one; a single cell is inside."""
    if side == 1:
        return np.full((number, 1, 1), 3, np.float32)
    smooth = rng.normal(size=(number, side, side)).cumsum(1).cumsum(2)
    smooth -= np.median(smooth, axis=(1, 2), keepdims=True)
    smooth[::3] = 3 * rng.normal(size=smooth[::3].shape)
    return smooth.astype(np.float32)


def _masks(found: MaskChanges, image_hw: tuple[int, int]) -> np.ndarray:
    positions, ends = np.asarray(found.positions), np.asarray(found.ends)
    assert ends[-1] <= len(positions)
    assert not positions[ends[-1] :].any()
    each = np.split(positions[: ends[-1]], ends[:-1])
    assert all((np.diff(own) > 0).all() for own in each)
    return np.stack([decode_rle(rle) for rle in encode_changes(each, image_hw)])


def _probabilities(logits: np.ndarray, boxes: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """The host's, 0 for an empty box, which it does not paste."""
    canvas = np.zeros((len(boxes), *image_hw), np.float32)
    for own, mask_logits, box in zip(canvas, logits, boxes, strict=True):
        if box[2] > box[0] and box[3] > box[1]:
            window, (x0, y0) = resample_to_window(probability(mask_logits), box, image_hw)
            own[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
    return canvas


def _assert_equal_but_for_rounding(found: np.ndarray, probabilities: np.ndarray) -> None:
    apart = found != (probabilities >= 0.5)
    assert not (apart & (np.abs(probabilities - 0.5) > TOLERANCE)).any()
    assert apart.mean() < 1e-5


@pytest.mark.parametrize("image_hw", [(41, 64), (64, 41), (70, 90), (1, 90), (33, 1)], ids=str)
@pytest.mark.parametrize("side", [1, 7, 28])
def test_masks_are_those_that_the_host_pastes(side: int, image_hw: tuple[int, int]) -> None:
    boxes = np.asarray(list(_BOXES.values()), np.float32)
    logits = _blobs(np.random.default_rng(side), len(boxes), side)
    found = _masks(_changes(logits, boxes, np.asarray(image_hw, np.int32)), image_hw)
    assert found.any() or 1 in image_hw
    _assert_equal_but_for_rounding(found, _probabilities(logits, boxes, image_hw))


def test_fine_masks_of_random_boxes_are_those_that_the_host_pastes() -> None:
    # PointRend's side, so that a pixel is less than a cell, or several.
    rng, image_hw = np.random.default_rng(0), (197, 251)
    start = rng.uniform(-5, 180, (24, 2))
    boxes = np.hstack([start, start + rng.uniform(0.5, 240, (24, 2))]).astype(np.float32)
    logits = _blobs(rng, len(boxes), 224)
    changes = _changes(logits, boxes, np.asarray(image_hw, np.int32), (200, 256), 400_000)
    found = _masks(changes, image_hw)
    _assert_equal_but_for_rounding(found, _probabilities(logits, boxes, image_hw))


def test_a_mask_changes_where_its_columns_begin_and_end() -> None:
    # One full box from column 1 to 2 and row 1 to 3 of 4 rows.
    logits = np.full((1, 7, 7), 50, np.float32)
    box = np.asarray([[1, 1, 3, 4]], np.float32)
    found = _changes(logits, box, np.asarray([4, 6], np.int32))
    # A column ends with the image's last row, so row 0 of the next is where the mask stops.
    np.testing.assert_array_equal(found.positions[:5], [5, 8, 9, 12, 0])
    np.testing.assert_array_equal(found.ends, [4])


def test_a_full_image_changes_once_and_ends_with_no_change() -> None:
    logits = np.full((2, 7, 7), 50, np.float32)
    boxes = np.asarray([[0, 0, 3, 64], [2, 0, 3, 64]], np.float32)
    # Two words of 32 rows are exactly as high as the image.
    found = _changes(logits, boxes, np.asarray([64, 3], np.int32))
    np.testing.assert_array_equal(found.ends, [1, 2])
    np.testing.assert_array_equal(found.positions[:3], [0, 128, 0])


def test_masks_beyond_the_slots_are_told_by_their_end() -> None:
    boxes = np.asarray(list(_BOXES.values()), np.float32)
    logits = _blobs(np.random.default_rng(0), len(boxes), 28)
    hw = np.asarray([41, 64], np.int32)
    everything, some = _changes(logits, boxes, hw), _changes(logits, boxes, hw, slots=700)
    np.testing.assert_array_equal(some.ends, everything.ends)
    whole = np.flatnonzero(np.asarray(some.ends) <= 700)
    assert 0 < len(whole) < len(boxes) - 2
    np.testing.assert_array_equal(some.positions, everything.positions[:700])


def test_rounds_of_masks_give_what_each_gives_by_itself(
    monkeypatch: pytest.MonkeyPatch, trace_for: Callable[[str], None]
) -> None:
    boxes = np.asarray(list(_BOXES.values()), np.float32)
    logits = _blobs(np.random.default_rng(0), len(boxes), 7)
    hw = np.asarray([41, 64], np.int32)
    # As on a CPU, and those that are empty left out.
    by_itself = _changes(logits, boxes, hw)
    # Four masks a round, the last of which lacks one.
    trace_for("gpu")
    monkeypatch.setattr(module, "_PIXELS_AT_A_TIME", 4 * 90 * 96)
    in_rounds = jax.jit(partial(_changes, canvas_hw=CANVAS, slots=SLOTS))(logits, boxes, hw)
    jax.tree.map(np.testing.assert_array_equal, in_rounds, by_itself)


def test_no_masks_have_no_changes() -> None:
    found = _changes(
        np.zeros((0, 7, 7), np.float32), np.zeros((0, 4), np.float32), np.ones(2, np.int32)
    )
    assert found.ends.shape == (0,)
    assert not np.asarray(found.positions).any()


def test_boxes_are_scaled_to_the_bits_of_the_host() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(-3, 1340, (50, 4)).astype(np.float32)
    for image_hw, original_hw in (((800, 1216), (427, 640)), ((67, 1333), (7, 1201))):
        sizes = (np.asarray(hw, np.int32) for hw in (image_hw, original_hw))
        found = np.asarray(jax.jit(boxes_of_original)(boxes, *sizes))
        expected, kept = scale_boxes_to_original(boxes, image_hw, original_hw)
        np.testing.assert_array_equal(found[kept], expected)
        empty = found[~kept]
        assert ((empty[:, 2] <= empty[:, 0]) | (empty[:, 3] <= empty[:, 1])).all()


@pytest.mark.parametrize("units", [-2, -1, 0, 1, 2])
def test_a_quotient_that_is_some_units_off_is_corrected(units: int) -> None:
    rng = np.random.default_rng(0)
    # Of the sizes of pixels and boxes.
    a, b = (rng.uniform(0.01, 1500, 100_000).astype(np.float32) for _ in range(2))
    exact = a / b
    off = exact
    for _ in range(abs(units)):
        off = np.nextafter(off, np.float32(np.inf if units > 0 else -np.inf))
    np.testing.assert_array_equal(jax.jit(corrected_quotient)(off, a, b), exact)


def test_nothing_is_sorted_and_no_loop_waits_for_its_data() -> None:
    shapes = ((100, 224, 224), jnp.float32), ((100, 4), jnp.float32), ((2,), jnp.int32)
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    # Of 1536 x 1024 pixels, so that there are rounds.
    traced = jax.jit(partial(_changes, canvas_hw=(1024, 1536), slots=1000)).trace(*arguments)
    program = str(traced.jaxpr)
    assert "scan[" in program
    assert "while[" not in program
    assert "sort[" not in program
    assert "stablehlo" in traced.lower(lowering_platforms=("cuda",)).as_text()
