"""The scores of refined masks: the same numbers in whatever order the objects come."""

from functools import reduce
from itertools import permutations
from operator import add

from pointrend_jax.evaluation.refined import RefinedScore, RefineEvaluator

# In float64 (0.1 + 0.2) + 0.3 is another number than (0.3 + 0.2) + 0.1.
_IOUS = {1: 0.1, 2: 0.2, 3: 0.3}


def test_the_order_in_which_objects_come_changes_no_bit_of_a_mean() -> None:
    means = set()
    for order in permutations(_IOUS):
        evaluator = RefineEvaluator(0.02)
        for number in order:
            evaluator.merge({number: RefinedScore(5000.0, _IOUS[number], _IOUS[number])})
        means.add(evaluator.results()["rendered"]["boundary_iou"])
    assert len(means) == 1
    # Without an order they would be two.
    added = {reduce(add, (_IOUS[number] for number in order)) for order in permutations(_IOUS)}
    assert len(added) == 2
