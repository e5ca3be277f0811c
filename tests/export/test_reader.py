"""The reader of an export: which program an image goes to, and what becomes of its results."""

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.data.batches.transforms import choose_bucket, resized_hw
from pointrend_jax.export import reader
from pointrend_jax.export.artefact import canvases_in_order
from pointrend_jax.export.program import Canvases
from pointrend_jax.export.reader import Exported, mask_of, run_lengths
from pointrend_jax.ops.mask_changes import changed_bits, list_changes
from tests.shared import REPOSITORY

BUCKETS = ((64, 96), (96, 64), (96, 96))


def test_the_reader_of_the_document_is_the_one_that_the_gate_runs() -> None:
    text = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"```python\n{Path(reader.__file__).read_text(encoding='utf-8')}```" in text


def _exported(canvases: list[Canvases], called: list[Any]) -> Exported:
    """A model of programs that find no pixel of a class, and are written down when called."""

    def program(own: Canvases) -> Callable[..., dict[str, Any]]:
        def run(weights: Any, pixels: np.ndarray, original: Any, sides: Any) -> dict[str, Any]:
            called.append((own, pixels, tuple(original), tuple(sides)))
            return {"labels": np.zeros(own.largest, np.uint8)}

        return run

    model = Exported.__new__(Exported)
    model.about, model.weights = {"min_size": 61, "max_size": 93}, {}
    model.programs = [
        {"canvas": list(c.network), "largest": list(c.largest), "run": program(c)}
        for c in canvases_in_order(canvases)
    ]
    return model


@given(st.integers(1, 200), st.integers(1, 200))
def test_an_image_is_resized_and_placed_as_predict_does(height: int, width: int) -> None:
    called: list[Any] = []
    model = _exported([Canvases(own, (200, 200)) for own in BUCKETS], called)
    sides = resized_hw((height, width), 61, 93)
    pixels = np.full((height, width, 3), 7, np.uint8)
    assert np.shape(model(pixels)["labels"]) == (height, width)
    ((own, placed, original, found),) = called
    assert (original, found) == ((height, width), sides)
    assert own.network == choose_bucket(sides, BUCKETS)
    assert placed.shape == (200, 200, 3)
    np.testing.assert_array_equal(placed[:height, :width], pixels)
    assert placed.sum() == pixels.sum()


def test_an_image_goes_to_the_smallest_originals_that_hold_it() -> None:
    called: list[Any] = []
    sizes = [(300, 300), (70, 100), (100, 70)]
    model = _exported([Canvases((96, 96), largest) for largest in sizes], called)
    for hw in ((70, 100), (71, 60), (71, 100)):
        model(np.zeros((*hw, 3), np.uint8))
    assert [own.largest for own, *_ in called] == [(70, 100), (100, 70), (300, 300)]


@pytest.mark.parametrize(
    ("canvas", "hw"), [((96, 96), (201, 20)), ((64, 64), (70, 90))], ids=["original", "resized"]
)
def test_an_image_that_is_too_large_is_refused(
    canvas: tuple[int, int], hw: tuple[int, int]
) -> None:
    model = _exported([Canvases(canvas, (200, 200))], [])
    with pytest.raises(ValueError, match=f"no program is large enough for {hw[0]} x {hw[1]}"):
        model(np.zeros((*hw, 3), np.uint8))


@partial(jax.jit, static_argnames="slots")
def _found(logits: jax.Array, boxes: jax.Array, hw: jax.Array, slots: int) -> dict[str, Any]:
    changed = changed_bits(logits, boxes, hw, canvas_hw=(70, 50))
    listed = list_changes(changed, hw, slots=slots)
    return {"positions": listed.positions, "ends": listed.ends, "changed": changed}


def test_a_mask_without_a_slot_left_has_the_same_run_lengths() -> None:
    rng, (height, width) = np.random.default_rng(0), (41, 47)
    logits = rng.normal(size=(3, 7, 7)).astype(np.float32)
    boxes = np.asarray([[0, 0, 47, 41], [3, 4, 30, 39], [20, 0, 47, 20]], np.float32)
    hw = np.asarray([height, width], np.int32)
    whole, short = _found(logits, boxes, hw, 2000), _found(logits, boxes, hw, 300)
    assert np.asarray(whole["ends"])[0] <= 300 < np.asarray(whole["ends"])[1]
    for row in range(3):
        runs = run_lengths(whole, row, height, width)
        assert runs.sum() == height * width
        np.testing.assert_array_equal(run_lengths(short, row, height, width), runs)


def test_runs_go_down_the_columns_and_begin_outside() -> None:
    drawn = mask_of(np.asarray([1, 2, 3]), 2, 3)
    np.testing.assert_array_equal(drawn, [[False, True, False], [True, False, False]])


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights.safetensors", b"other bytes")
        archive.writestr("manifest.json", json.dumps({"sha256": {"weights.safetensors": "0" * 64}}))
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        Exported(file)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)],
    ids=["shares", "grey", "with alpha"],
)
def test_what_is_no_image_is_refused(pixels: np.ndarray) -> None:
    model = _exported([Canvases(BUCKETS[0], (200, 200))], [])
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
        model(pixels)
