"""Maps that stay on the device: which of them come to the host, when, and what they are then."""

import gc
import pickle
from typing import Any

import numpy as np
import pytest

from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.results import late_rows
from pointrend_jax.results.late_rows import LateRows
from pointrend_jax.results.masks import PredictedMasks

HW = (20, 30)


class _Device:
    """An array [B, D, M, M] that counts how often numpy asks for it."""

    def __init__(self) -> None:
        values = np.random.default_rng(0).normal(size=(2, 5, 7, 7)).cumsum(2).cumsum(3)
        self.values, self.shape, self.asked = values.astype(np.float32), values.shape, 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.asked += 1
        return self.values


def _boxes(number: int) -> np.ndarray:
    return np.tile(np.asarray([[2, 3, 25, 18]], np.float32), (number, 1))


def test_chosen_rows_are_those_of_the_array_wherever_they_are() -> None:
    device = _Device()
    rows = LateRows(device, 1, np.asarray([4, 0, 2]))
    chosen: Any = rows[np.asarray([2, 0])]
    reverse: Any = rows[::-1]
    assert (rows.shape, chosen.shape, device.asked) == ((3, 7, 7), (2, 7, 7), 0)
    np.testing.assert_array_equal(rows.host(), device.values[1, [4, 0, 2]])
    np.testing.assert_array_equal(chosen.host(), device.values[1, [2, 4]])
    np.testing.assert_array_equal(reverse.host(), device.values[1, [2, 0, 4]])
    np.testing.assert_array_equal(rows[1:], device.values[1, [0, 2]])


def test_rows_are_brought_once_and_the_array_is_let_go() -> None:
    device = _Device()
    rows = LateRows(device, 0, np.asarray([1]))
    assert rows.is_on_device
    first = rows.host()
    assert rows.host() is first
    assert device.asked == 1
    assert not rows.is_on_device


def test_the_oldest_of_many_results_come_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of two batches: each has two images of five maps of 7 x 7, however many of them are wanted.
    monkeypatch.setattr(late_rows, "_MOST_BYTES", 2 * 2 * 5 * 7 * 7 * 4)
    devices = [_Device() for _ in range(4)]
    held = [LateRows(device, i % 2, np.asarray([i])) for i, device in enumerate(devices)]
    assert [rows.is_on_device for rows in held] == [False, False, True, True]
    np.testing.assert_array_equal(held[1].host(), devices[1].values[1, [1]])
    # Results that nobody holds any more are no reason to bring others.
    del held[2:]
    gc.collect()
    more = [LateRows(_Device(), 0, np.asarray([i])) for i in range(2)]
    assert all(rows.is_on_device for rows in more)


def test_all_rows_of_an_array_count_once_and_come_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late_rows, "_MOST_BYTES", 2 * 5 * 7 * 7 * 4)
    device = _Device()
    held = [LateRows(device, i % 2, np.asarray([i % 5])) for i in range(40)]
    assert all(rows.is_on_device for rows in held)
    newer = LateRows(_Device(), 0, np.asarray([0]))
    assert newer.is_on_device
    assert not any(rows.is_on_device for rows in held)


def test_unpickled_masks_are_arrays_of_numpy() -> None:
    masks = PredictedMasks(LateRows(_Device(), 0, np.asarray([1, 3])), _boxes(2), HW)
    again = pickle.loads(pickle.dumps(masks))
    assert again.rle() == masks.rle()
    np.testing.assert_array_equal(again.logits, masks.logits)


def _with_changes() -> tuple[_Device, PredictedMasks, list[np.ndarray]]:
    """Three masks, the first two of which are known by their changes: not those of the logits."""
    device = _Device()
    drawn = [np.zeros(HW, bool) for _ in range(2)]
    drawn[0][3:9, 4:7] = True
    drawn[1][:, 0] = True
    changes = [np.flatnonzero(np.diff(mask.ravel("F"), prepend=False)) for mask in drawn]
    rows = LateRows(device, 1, np.asarray([0, 1, 2]))
    return device, PredictedMasks(rows, _boxes(3), HW, [*changes, None]), drawn


def test_masks_that_the_device_pasted_need_no_logits() -> None:
    device, masks, drawn = _with_changes()
    known = masks[[1, 0]]
    assert repr(masks) == "PredictedMasks(n=3, side=7, image_hw=(20, 30))"
    assert known.rle() == [encode_mask(drawn[1]), encode_mask(drawn[0])]
    np.testing.assert_array_equal(known.boolean(), drawn[::-1])
    np.testing.assert_array_equal(masks.boolean(0), drawn[0])
    assert device.asked == 0


def test_masks_without_room_on_the_device_are_pasted_by_the_host() -> None:
    device, masks, drawn = _with_changes()
    plain = PredictedMasks(device.values[1, :3], _boxes(3), HW)
    assert masks.rle() == [*(encode_mask(mask) for mask in drawn), plain.rle()[2]]
    np.testing.assert_array_equal(masks.boolean(2), plain.boolean(2))


def test_probabilities_and_polygons_are_those_of_the_logits() -> None:
    device, masks, _ = _with_changes()
    plain = PredictedMasks(device.values[1, :3], _boxes(3), HW)
    np.testing.assert_array_equal(masks.probabilities(), plain.probabilities())
    for ours, theirs in zip(masks.polygons(), plain.polygons(), strict=True):
        for own, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(own, expected)
