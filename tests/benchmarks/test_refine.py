"""The table of a refiner: what was left alone, and the rule that leaves true masks alone."""

from pathlib import Path

import pytest

from benchmarks.refine import Case, best_and_worst, read_cases, rule_for_true_masks, table
from pointrend_jax.storage import write_json


def _case(number: int, kind: str, error: float, given: float, refined: float) -> Case:
    ious = {"given": [given] * 2, "refined": [refined] * 2}
    others = dict.fromkeys(("without the rule", "guided filter", "GrabCut"), [given] * 2)
    return Case(number, number, kind, "large", error, ious | others)


def test_the_rule_is_that_of_true_masks_alone() -> None:
    cases = [_case(i, "true", 0.1 * i, 1.0, 1.0) for i in range(21)]
    cases += [_case(i, "box", 50.0, 0.2, 0.2) for i in range(21)]
    assert rule_for_true_masks(cases) == pytest.approx(1.9)


def test_a_row_tells_the_share_left_alone_and_what_was_gained() -> None:
    cases = [_case(0, "box", 0.4, 0.5, 0.5), _case(1, "box", 3.0, 0.5, 0.7)]
    row = next(line for line in table(cases, "large", 0, 0.5) if line.startswith("| box"))
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    # One of two was left alone; the other gained 20 of 50 points.
    assert cells[:4] == ["box", "2", "50.0", "50 %"]
    assert cells[4].startswith("+10.0 [")
    assert cells[5].startswith("+20.0 % [")


def test_seeds_of_one_object_are_averaged(tmp_path: Path) -> None:
    cases = [_case(0, "box", 3.0, 0.5, 0.7), _case(1, "box", 3.0, 0.5, 0.5)]
    write_json(tmp_path / "seed.json", {"cases": [case._asdict() for case in cases]})
    own = [_case(0, "box", 3.0, 0.5, 0.9), _case(1, "box", 3.0, 0.5, 0.5)]
    lines = table([*own, *read_cases(tmp_path / "seed.json")], "large", 0, 0.5)
    row = next(line for line in lines if line.startswith("| box"))
    # One object gains 20 and 40, the other nothing.
    assert row.startswith("| box | 4 | 50.0 | 0 % | +15.0 [+0.0, +30.0]")


def test_methods_are_judged_by_the_masks_that_they_were_tried_on() -> None:
    tried, untried = _case(0, "box", 3.0, 0.5, 0.7), _case(1, "box", 3.0, 0.5, 0.7)
    tried.ious["GrabCut"] = [0.6, 0.6]
    del untried.ious["GrabCut"], untried.ious["guided filter"], tried.ious["guided filter"]
    row = next(
        line for line in table([tried, untried], "large", 0, 0.5) if line.startswith("| box")
    )
    assert row.endswith("| - | +10.0 |")


def test_pictures_are_of_masks_that_were_not_left_alone() -> None:
    cases = [_case(i, "dilated", 3.0, 0.5, 0.5 + gain) for i, gain in enumerate((0.3, 0.1, 0.2))]
    cases += [_case(3, "dilated", 3.0, 0.5, 0.2), _case(4, "dilated", 0.1, 0.5, 0.5)]
    cases += [_case(5, "true", 3.0, 1.0, 0.9), _case(6, "box", 3.0, 0.1, 0.9)]
    assert [case.id for case in best_and_worst(cases, 2.0)] == [0, 2, 1, 3]
