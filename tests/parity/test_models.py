"""A whole Detectron2 model after its backbone, and what a comparison must never let pass."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import run
from parity.compare import Row, fraction_row, row
from parity.kit import INSTANCE_MODELS, KitModel, load_model
from parity.matching import matched_rows
from parity.models import left_out, model_rows
from parity.recipe import normal, permutation, uniform
from parity.report import markdown, text_table
from tests.shared import REPOSITORY

KIT = REPOSITORY / "parity" / "golden"
R50 = KIT / "models" / "pointrend_rcnn_R_50_FPN_coco"
SEMANTIC = KIT / "models" / "pointrend_semantic_R_101_FPN_cityscapes"


@pytest.mark.parametrize(("folder", "at_least"), [(R50, 60), (SEMANTIC, 17)])
def test_every_stage_after_the_backbone_equals_detectron2(folder: Path, at_least: int) -> None:
    rows = list(model_rows(KIT, folder, ""))
    assert len(rows) >= at_least
    missed = [r for r in rows if not r.passed]
    assert not missed, "\n".join(str(r) for r in missed)


def test_a_wrong_weight_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_wrong_weight(folder: Path) -> KitModel:
        model = load_model(folder)
        predictor = model.variables["params"]["mask_head"]["coarse_head"]["predictor"]
        predictor["bias"] = predictor["bias"].at[0].add(0.1)
        return model

    monkeypatch.setattr("parity.models.load_model", with_a_wrong_weight)
    rows = list(model_rows(KIT, R50, "mask"))
    assert any(not r.passed for r in rows if r.quantity.startswith("coarse logits"))


def test_an_unknown_model_and_a_missing_stage_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "deeplab").mkdir()
    assert "not built yet" in left_out(tmp_path / "deeplab")[0]
    folder = tmp_path / next(iter(INSTANCE_MODELS))
    folder.mkdir()
    _save(folder / "heads.npz", "proposals/boxes")
    _save(folder / "strange.npz", "nothing")
    lines = left_out(folder)
    assert any("heads.npz: holds nothing for rpn, box, detections, mask, paste" in x for x in lines)
    assert any("strange.npz: unknown file" in x for x in lines)


def _save(path: Path, name: str) -> None:
    arrays: dict[str, Any] = {name: np.zeros((3, 4))}
    np.savez(path, **arrays)


def test_a_choice_that_does_not_exist_lists_what_does(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no parity kit"):
        run.check_choice(tmp_path, "", "")
    with pytest.raises(ValueError, match="pointrend_rcnn_R_50_FPN_coco"):
        run.check_choice(KIT, "pointrend", "")
    with pytest.raises(ValueError, match=r"rpn.*roi_align"):
        run.check_choice(KIT, "", "backbone")


def test_a_broken_model_stops_itself_and_misses(tmp_path: Path) -> None:
    (tmp_path / "models" / "mask_rcnn_R_50_FPN_coco").mkdir(parents=True)
    rows, _ = run.compare_models(tmp_path, "", "")
    assert [r.passed for r in rows] == [False]
    assert "manifest.json" in rows[0].quantity


def test_the_recipe_by_its_definition() -> None:
    # The first splitmix64 word of "pr1/x", worked out by hand from the published constants.
    start = (zlib.crc32(b"pr1/x") * 0xD1342543DE82EF95) % 2**64
    word = (start + 0x9E3779B97F4A7C15) % 2**64
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    word ^= word >> 31
    assert float(uniform("pr1", "x", (3,))[0]) == (word >> 40) * 2.0**-24
    parts = sum((word >> shift) & 0xFFFF for shift in (0, 16, 32, 48)) - 2 * 65535
    expected = 0.5 + 2 * parts / np.sqrt((65536.0**2 - 1) / 3)
    assert float(normal("pr1", "x", (3,), loc=0.5, scale=2.0)[0]) == np.float32(expected)


def test_centred_rows_sum_to_zero_and_permutations_are_permutations() -> None:
    rows = normal("pr1", "x", (5, 7, 3), center=True)
    np.testing.assert_allclose(rows.reshape(5, -1).sum(axis=1), 0, atol=1e-5)
    assert sorted(permutation("pr1", "x", 9)) == list(range(9))


def test_rows_fail_on_nan_on_another_shape_and_beyond_the_tolerance() -> None:
    nan, one = np.array([np.nan]), np.array([1.0])
    assert not row("f", "q", nan, one, 1.0).passed
    assert not row("f", "q", np.zeros((2, 1)), np.zeros((1, 2)), 1.0).passed
    assert not row("f", "q", one, 2 * one, 0.5).passed
    assert not fraction_row("f", "q", nan, one, 1.0, 0.5).passed
    values = np.arange(10.0)
    assert fraction_row("f", "q", values, values + (values == 3), 0.5, 0.1).passed
    assert not fraction_row("f", "q", values, values + (values == 3), 0.5, 0.05).passed


def test_matching_ignores_order_but_not_what_is_missing() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]], np.float64)
    scores, classes = np.array([0.9, 0.8, 0.7]), np.array([1, 2, 1])
    golden = boxes, scores, classes
    order = [2, 0, 1]
    shuffled = boxes[order], scores[order], classes[order]
    tolerances = {"score_tolerance": 1e-3, "unmatched": 0.0}
    assert all(r.passed for r in matched_rows("f", "d", shuffled, golden, **tolerances))
    other_class = boxes, scores, np.array([1, 2, 2])
    assert not all(r.passed for r in matched_rows("f", "d", other_class, golden, **tolerances))
    fewer = boxes[:2], scores[:2], classes[:2]
    assert not all(r.passed for r in matched_rows("f", "d", fewer, golden, **tolerances))
    moved = boxes + 0.3, scores, classes
    assert not all(r.passed for r in matched_rows("f", "d", moved, golden, **tolerances))


def test_tables_show_misses_and_what_was_left_out() -> None:
    rows = [
        Row("m/heads", "a", 1e-3, 1e-2),
        Row("m/heads", "b", 1.0, 0.0),
        Row("op", "a", 0.0, 0.0),
    ]
    text = text_table(rows, ["models/x: not built yet"])
    assert "MISS" in text
    assert "left out: models/x" in text
    table = markdown(rows, ["models/x: not built yet"], "make parity")
    assert "3 compared, 1 missed, 1 left out" in table
    assert "| `m/heads` | 2 | 1 | b | 1.00e+00 | 0 |" in table
