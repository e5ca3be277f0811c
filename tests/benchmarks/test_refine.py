"""The table of a refiner: what was left alone, and the rule that leaves true masks alone."""

import pytest

from benchmarks.refine import Case, rule_for_true_masks, table


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
