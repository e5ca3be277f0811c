"""What every plan of training batches must do."""

from collections.abc import Callable
from typing import Any


def check_is_decided_by_seed_and_position(plan_of: Callable[[int], Any]) -> None:
    """Args: plan_of, a new plan of a seed."""
    plan = plan_of(0)
    late = plan[40]
    _ = [plan[i] for i in range(30)]
    assert plan[40] == late == plan_of(0)[40]
    assert [plan_of(1)[i] for i in range(8)] != [plan[i] for i in range(8)]
