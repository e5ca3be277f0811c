"""Run-length masks: round trips, overlaps, and malformed text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.masks.rle import coco_mask, encode_mask, encode_polygons, rle_iou
from pointrend_jax.masks.runs import decode_rle, decode_runs, encode_changes, encode_runs
from tests.shared import shared_path


@given(seed=st.integers(0, 10_000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_runs_and_masks_give_back_each_other(seed: int, height: int, width: int):
    rng = np.random.default_rng(seed)
    mask = np.repeat(rng.random((height, width)) < rng.random(), rng.integers(1, 60), axis=0)
    rle = encode_mask(mask)
    np.testing.assert_array_equal(decode_rle(rle), mask)
    runs = decode_runs(rle["counts"])
    assert sum(runs) == mask.size
    assert encode_runs(runs, mask.shape) == rle


def _changes(mask: np.ndarray) -> np.ndarray:
    """Where the mask differs from the pixel before, column by column."""
    return np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False))


@given(
    seed=st.integers(0, 10_000),
    number=st.integers(1, 6),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
)
def test_masks_of_an_image_are_written_as_pycocotools_writes_each(
    seed: int, number: int, height: int, width: int
):
    rng = np.random.default_rng(seed)
    # From noise to large parts, by the length of what is repeated; some are empty, some full.
    noise = rng.random((number, height, width)) < rng.choice([0, 0.1, 0.5, 1], (number, 1, 1))
    masks = np.repeat(noise, rng.integers(1, 60), axis=1)
    expected = [encode_mask(mask) for mask in masks]
    assert encode_changes([_changes(mask) for mask in masks], masks.shape[1:]) == expected


def test_the_first_and_the_last_pixel_begin_and_end_a_run():
    # Columns (1, 0) and (0, 1): a run of no zeros, one of 1, two of 0, one of 1.
    mask = np.asarray([[True, False], [False, True]])
    assert encode_changes([np.asarray([0, 1, 3])], (2, 2)) == [encode_mask(mask)]
    empty, full = np.asarray([], np.int64), np.asarray([0])
    expected = [encode_mask(np.full((2, 2), bit)) for bit in (False, True)]
    assert encode_changes([empty, full], (2, 2)) == expected
    assert [rle["counts"] for rle in expected] == ["4", "04"]
    assert encode_changes([], (2, 2)) == []


# Each side of every number at which a character more is needed, as a run and as a difference.
_LONG_RUNS = [
    [run, 1, step, run, 1]
    for power in (4, 9, 14, 19, 24)
    for run in (2**power - 1, 2**power, 2**power + 1)
    for step in (run + 2**power - 1, 2 * run, run + 2**power + 1)
]


@pytest.mark.parametrize("runs", _LONG_RUNS, ids=str)
def test_long_runs_are_written_as_pycocotools_writes_them(runs: list[int]):
    # Forth and back, so that differences are of either sign.
    runs = [*runs, *runs[::-1], 0, 3, *runs] * 4
    size = [sum(runs), 1]
    text = coco_mask.frPyObjects({"size": size, "counts": runs}, *size)["counts"].decode()
    assert encode_runs(runs, (size[0], 1)) == {"size": size, "counts": text}
    assert decode_runs(text) == runs
    changes = np.cumsum(runs)[:-1]
    assert encode_changes([changes, changes[:3]], (size[0], 1))[0]["counts"] == text


@pytest.mark.parametrize("counts", ["~", "é", "0P", "0O", "\n"])
def test_malformed_counts_are_refused(counts: str):
    with pytest.raises(ValueError, match="RLE counts"):
        decode_runs(counts)


def test_polygons_are_united():
    left, right = [0, 0, 4, 0, 4, 4, 0, 4], [2, 0, 6, 0, 6, 4, 2, 4]
    expected = np.zeros((5, 8), np.bool_)
    expected[:4, :6] = True
    np.testing.assert_array_equal(decode_rle(encode_polygons([left, right], (5, 8))), expected)


def test_overlap_with_a_crowd_is_over_the_detection():
    detection, crowd = np.zeros((2, 4, 4), np.bool_)
    detection[:2, :2] = True
    crowd[:, :1] = True
    rles = [encode_mask(detection)], [encode_mask(crowd)]
    np.testing.assert_allclose(rle_iou(*rles, [0]), [[2 / 6]])
    np.testing.assert_allclose(rle_iou(*rles, [1]), [[2 / 4]])
    assert rle_iou([], rles[1], [0]).shape == (0, 1)


def test_overlaps_equal_the_reference():
    kit = np.load(shared_path("parity/ops/rle_iou.npz"))
    size = kit["hw"].tolist()
    detections, truths = (
        [{"size": size, "counts": counts} for counts in kit[key].tolist()] for key in ("dt", "gt")
    )
    np.testing.assert_allclose(rle_iou(detections, truths, [0] * 3), kit["iou"], rtol=1e-12)
    np.testing.assert_allclose(rle_iou(detections, truths, [1] * 3), kit["iou_crowd"], rtol=1e-12)
