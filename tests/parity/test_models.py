"""A whole Detectron2 model after its backbone, and what a comparison must never let pass."""

import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import run
from parity.compare import Golden, LeftOut, Result, Row, fraction_row, row
from parity.kit import load_model
from parity.matching import matched_rows
from parity.models import model_results
from parity.recipe import normal, permutation, uniform
from parity.report import markdown, text_line
from parity.train_steps import Pass, loss_rows, smallest_gap
from tests.shared import REPOSITORY

KIT = REPOSITORY / "parity" / "golden"
R50 = KIT / "models" / "pointrend_rcnn_R_50_FPN_coco"
SEMANTIC = KIT / "models" / "pointrend_semantic_R_101_FPN_cityscapes"


_load = cache(load_model)


@pytest.fixture(autouse=True)
def load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a model's seeded weights takes seconds."""
    monkeypatch.setattr("parity.models.load_model", _load)


@pytest.mark.parametrize(("folder", "at_least"), [(R50, 60), (SEMANTIC, 17)])
def test_every_stage_after_the_backbone_equals_detectron2(folder: Path, at_least: int) -> None:
    results = list(model_results(KIT, folder, ""))
    assert all(isinstance(r, Row) for r in results)
    assert len(results) >= at_least
    missed = [r for r in results if isinstance(r, Row) and not r.passed]
    assert not missed, "\n".join(str(r) for r in missed)


def _cut_kit(folder: Path, *prefixes: str) -> Path:
    """A kit of R50 whose only golden file holds arrays of these names; its models/ folder."""
    models = folder / "models" / R50.name
    models.mkdir(parents=True)
    (models / "manifest.json").write_text((R50 / "manifest.json").read_text())
    with np.load(R50 / "heads.npz") as file:
        kept: dict[str, Any] = {k: v for k, v in file.items() if k.startswith(prefixes)}
    np.savez(models / "heads.npz", **kept)
    return models


def test_of_a_part_of_a_stage_the_rest_is_left_out_and_a_wrong_weight_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _load(R50)
    right = model.variables["params"]
    head = right["mask_head"] | {"coarse_head": dict(right["mask_head"]["coarse_head"])}
    predictor = head["coarse_head"]["predictor"]
    head["coarse_head"]["predictor"] = predictor | {"bias": predictor["bias"].at[0].add(0.1)}
    wrong = model._replace(variables=model.variables | {"params": right | {"mask_head": head}})
    monkeypatch.setattr("parity.models.load_model", lambda _: wrong)

    folder = _cut_kit(tmp_path, "features/", "det/", "mask/which", "mask/coarse")
    (folder / "strange.npz").write_bytes(b"")
    results = list(run.results(tmp_path, R50.name, ""))
    rows = [r for r in results if isinstance(r, Row)]
    assert [r.quantity for r in rows] == ["coarse logits", "coarse logits of all classes"]
    assert not rows[1].passed
    left_out = [r.reason for r in results if isinstance(r, LeftOut)]
    assert "unknown file" in left_out
    for stage in ("rpn", "proposals", "box", "mask pooled", "grid logits", "step 2", "paste"):
        assert any(reason.startswith(f"{stage}: the kit holds no") for reason in left_out), stage
    # Detections need the proposals, which they are fed.
    assert "detections: the kit holds no proposals/boxes" in left_out


def test_a_model_that_is_not_built_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "models" / "maskformer").mkdir(parents=True)
    assert list(run.results(tmp_path, "", "")) == [LeftOut("models/maskformer", "not built yet")]


def test_a_choice_that_does_not_exist_lists_what_does(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no parity kit"):
        run.check_choice(tmp_path, "", "")
    with pytest.raises(ValueError, match="pointrend_rcnn_R_50_FPN_coco"):
        run.check_choice(KIT, "pointrend", "")
    with pytest.raises(ValueError, match=r"rpn.*roi_align"):
        run.check_choice(KIT, "", "backbone")


def test_what_stops_a_file_is_a_miss_and_the_next_file_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / R50.name
    folder.mkdir(parents=True)
    np.savez(folder / "heads.npz")
    np.savez(folder / "train.npz")
    monkeypatch.setattr("parity.models.load_model", load_model)
    monkeypatch.setattr("parity.train.load_model", load_model)
    first, second = run.results(tmp_path, "", "")
    assert isinstance(first, Row)
    assert not first.passed
    assert "manifest.json" in first.quantity
    assert second == LeftOut(f"{R50.name}/train", "train: the kit holds no overrides")


def test_rows_are_printed_as_they_are_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def results(*_: Any) -> Iterator[Result]:
        yield Row("m/heads", "a", 0.0, 0.0)
        assert "m/heads" in capsys.readouterr().out
        yield LeftOut("m/heads", "mask")

    monkeypatch.setattr(run, "results", results)
    monkeypatch.setattr("sys.argv", ["run", "--kit", str(KIT)])
    assert run.main() == 0
    printed = capsys.readouterr().out
    assert "left out: m/heads: mask" in printed
    assert "1 compared, 0 missed, 1 left out" in printed


def _jumping(expected: float, gap: float) -> Row:
    """A loss that is 2 for the parameters as they are, 3 for a neighbour of them."""
    params = {"w": np.ones(64, np.float32)}

    def losses_of(changed: Any) -> dict[str, float]:
        return {"loss_mask_point": 2.0 if np.array_equal(changed["w"], params["w"]) else 3.0}

    of = Pass(params, losses_of, lambda: gap, {"params/w"})
    golden = Golden({"loss/loss_mask_point": np.array(expected)})
    *_, found = loss_rows("m/train", "", losses_of(params), golden, "loss", 1e-4, of)
    return found


def test_a_tie_is_broken_their_way_within_its_own_bound() -> None:
    tie = _jumping(3.00003, 2e-6)
    assert tie.passed
    assert tie.quantity == "loss_mask_point, nearest of 4 roundings, a tie of 2e-06"
    assert not _jumping(3.0001, 2e-6).passed
    no_tie = _jumping(3.0, 1e-3)
    assert not no_tie.passed
    assert "no tie" in no_tie.quantity


def test_the_gap_is_between_the_last_chosen_point_and_the_next() -> None:
    uncertainty = np.array([[-3.0, -1.0, -2.5, -9.0], [-1.0, -1.0, -1.0, -1.0]], np.float32)
    assert smallest_gap(uncertainty, 2, np.array([True, False])) == 0.5
    assert smallest_gap(uncertainty, 2, np.array([True, True])) == 0.0
    assert smallest_gap(uncertainty, 4, np.array([True, True])) == np.inf


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
    assert text_line(rows[1]).split() == ["m/heads", "b", "1.00e+00", "0", "MISS"]
    table = markdown(rows, [LeftOut("models/x", "not built yet")], "make parity")
    assert "3 compared, 1 missed, 1 left out" in table
    assert "- models/x: not built yet" in table
    assert "| `m/heads` | 2 | 1 | b | 1.00e+00 | 0 |" in table
