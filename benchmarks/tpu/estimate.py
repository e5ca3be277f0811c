"""The sum of a program's estimated cycles: loops times their rounds, one branch of each choice.

The compiler estimates each operation by itself and counts a loop's body once. How often a loop
turns is read from its condition where it counts to a constant; where the data decides, it is
assumed, and said. What has no estimate is counted by kind.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.tpu.hlo import Module, Operation, module_of

# What does nothing by itself, or is a copy that runs beside the rest.
_FREE = frozenset(
    {
        "parameter", "constant", "iota", "bitcast", "tuple", "get-tuple-element", "copy-start",
        "copy-done", "slice-start", "slice-done", "while", "conditional", "call", "async-start",
        "async-update", "async-done", "after-all", "partition-id", "opt-barrier",
    }
)  # fmt: skip
_NUM_WORST = 10


class Assumed(NamedTuple):
    """What is assumed of loops and branches that come from certain functions.

    Attributes:
      functions: of Python, all of which such an operation comes from.
      rounds: of a loop; of a choice, 0 takes its cheapest branch.
      why: in words.
    """

    functions: tuple[str, ...]
    rounds: int
    why: str


class Loop(NamedTuple):
    """cycles: of one round. times: that the loop is begun. why: how its rounds are known."""

    where: str
    times: int
    rounds: int
    why: str
    cycles: int


class Worst(NamedTuple):
    """An operation, with the cycles of all its `times`."""

    cycles: int
    times: int
    what: str
    where: str


class Estimate(NamedTuple):
    """cycles: of all. unestimated: operations without an estimate, by kind."""

    cycles: int
    loops: tuple[Loop, ...]
    worst: tuple[Worst, ...]
    unestimated: Mapping[str, int]


def estimate(text: str, assumed: tuple[Assumed, ...] = ()) -> Estimate:
    """Of a program's optimised text. The first of `assumed` that fits is taken.

    Raises: ValueError as `module_of`, and for a loop whose rounds are neither known nor assumed.
    """
    module = module_of(text)
    walk = _Walk(module, assumed)
    walk.visit(module.entry, 1)
    worst = sorted(walk.costs, key=lambda cost: -cost.cycles)[:_NUM_WORST]
    cycles = sum(cost.cycles for cost in walk.costs)
    return Estimate(cycles, tuple(walk.loops), tuple(worst), dict(walk.unestimated.most_common()))


class _Walk:
    def __init__(self, module: Module, assumed: tuple[Assumed, ...]) -> None:
        self._module, self._assumed = module, assumed
        self.costs: list[Worst] = []
        self.loops: list[Loop] = []
        self.unestimated: Counter[str] = Counter()

    def visit(self, computation: str, times: int) -> None:
        for operation in self._module.computations[computation].values():
            if operation.cycles is not None:
                what = f"{operation.opcode} {operation.type}"
                cost = Worst(operation.cycles * times, times, what, _where(operation))
                self.costs.append(cost)
            elif operation.opcode not in _FREE:
                self.unestimated[operation.opcode] += 1
            self._follow(operation, times)

    def _follow(self, operation: Operation, times: int) -> None:
        called = operation.called
        if operation.opcode == "while":
            rounds, why = self._rounds(operation)
            a_round = self._cycles(called["body"]) + self._cycles(called["condition"])
            self.loops.append(Loop(_where(operation), times, rounds, why, a_round))
            if rounds:
                self.visit(called["body"], times * rounds)
                self.visit(called["condition"], times * rounds)
        elif operation.opcode == "conditional":
            self.visit(self._branch(operation), times)
        elif operation.opcode in ("call", "async-start"):
            for name in called.values():
                self.visit(name, times)

    def _cycles(self, computation: str) -> int:
        alone = _Walk(self._module, self._assumed)
        alone.visit(computation, 1)
        return sum(cost.cycles for cost in alone.costs)

    def _branch(self, operation: Operation) -> str:
        branches = sorted(set(operation.called.values()), key=self._cycles)
        assumed = self._assumption(operation)
        return branches[0] if assumed and assumed.rounds == 0 else branches[-1]

    def _rounds(self, loop: Operation) -> tuple[int, str]:
        constant = _counts_to(self._module.computations[loop.called["condition"]])
        if constant is not None:
            return constant, "counts to it"
        assumed = self._assumption(loop)
        if assumed is None:
            raise ValueError(
                f"nobody knows how often the loop at {_where(loop)} turns; it comes from "
                f"{', '.join(loop.functions)}. Say so in benchmarks/tpu/programs.py."
            )
        return assumed.rounds, assumed.why

    def _assumption(self, operation: Operation) -> Assumed | None:
        def fits(assumed: Assumed) -> bool:
            return set(assumed.functions) <= set(operation.functions)

        return next(filter(fits, self._assumed), None)


def _counts_to(condition: dict[str, Operation]) -> int | None:
    """The constant that a loop's counter stays below, of loops that count from 0 by one, as all of
    jax's do."""
    last = list(condition.values())[-1]
    if last.opcode != "compare" or "direction=LT" not in last.line:
        return None
    counter, limit = (condition.get(name.strip(" %")) for name in last.arguments.split(","))
    if counter is None or limit is None or limit.opcode != "constant":
        return None
    is_carried = counter.opcode == "get-tuple-element"
    return int(limit.arguments) if is_carried and limit.arguments.isdigit() else None


def _where(operation: Operation) -> str:
    """The end of the path of names, without those that every operation has."""
    parts = [part for part in operation.name.split("/") if not re.fullmatch(r"jit\(.*\)", part)]
    return "/".join(parts[-4:])
