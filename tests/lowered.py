"""What a program becomes for a device that is not there: its loops and scatters, by file.

A program is traced in the forms of that device and lowered to StableHLO; nothing is compiled.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax

from pointrend_jax.devices.backend import traced_for

# What jax calls the platforms that `traced_for` names.
_LOWERING = {"gpu": "cuda", "tpu": "tpu", "cpu": "cpu"}


def lowered_for(platform: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The StableHLO module of `function`, as MLIR."""
    with traced_for(platform):
        # A function of its own: what jax has traced already keeps its form.
        traced = jax.jit(lambda *given: function(*given)).trace(*arguments)
    return traced.lower(lowering_platforms=(_LOWERING[platform],)).compiler_ir("stablehlo")


def operations(module: Any, name: str) -> Iterator[Any]:
    """Every operation of that name, also in loops and branches."""
    waiting = [module.operation]
    while waiting:
        operation = waiting.pop()
        if operation.name == name:
            yield operation
        for region in operation.regions:
            for block in region:
                waiting.extend(inner.operation for inner in block)


def data_dependent_loops(module: Any) -> Counter[str]:
    """How many loops a file of the package has whose number of rounds is not known beforehand."""
    loops = operations(module, "stablehlo.while")
    return Counter(_file(loop) for loop in loops if not _counts_to_a_constant(loop))


def loops_outside_branches(module: Any) -> int:
    """How many loops run whatever the data is."""
    functions = {operation.name.value: operation for operation in module.body.operations}

    def count(operation: Any) -> int:
        name = operation.operation.name
        if name == "stablehlo.case":
            return 0
        if name == "func.call":
            return count(functions[operation.callee.value])
        inner = (o for region in operation.regions for block in region for o in block)
        return (name == "stablehlo.while") + sum(count(o) for o in inner)

    return count(functions["main"])


def unordered_scatters(module: Any) -> Counter[str]:
    """How many scatters a file has whose result depends on the order of what meets in a row.

    All that write or add floats in rows which may repeat; integers may be added in any order.
    """
    scatters = operations(module, "stablehlo.scatter")
    return Counter(_file(scatter) for scatter in scatters if not _has_no_order(scatter))


def _has_no_order(scatter: Any) -> bool:
    if "unique_indices" in scatter.attributes and scatter.attributes["unique_indices"].value:
        return True
    combined = {inner.operation.name for inner in scatter.regions[0].blocks[0]}
    element = str(scatter.results[0].type.element_type)
    is_float = re.match(r"b?f\d+", element) is not None
    return bool(combined & {"stablehlo.add", "stablehlo.maximum"}) and not is_float


def _counts_to_a_constant(loop: Any) -> bool:
    """Whether the loop goes on while a number that it carries is below a constant."""
    block = loop.regions[0].blocks[0]
    test = list(block)[-1].operation.operands[0].owner
    if getattr(test, "name", "") != "stablehlo.compare":
        return False
    carried, limit = test.operands
    is_carried = carried.owner == block
    return is_carried and _is_constant(limit, loop)


def _is_constant(value: Any, loop: Any) -> bool:
    owner = value.owner
    if getattr(owner, "name", "") == "stablehlo.constant":
        return True
    # What a loop only hands on from round to round is what it was given.
    block, body = loop.regions[0].blocks[0], loop.regions[1].blocks[0]
    if owner != block:
        return False
    number = next(i for i, x in enumerate(block.arguments) if x == value)
    handed_on = list(body)[-1].operation.operands[number] == body.arguments[number]
    given = loop.operands[number].owner
    return handed_on and getattr(given, "name", "") == "stablehlo.constant"


def _file(operation: Any) -> str:
    """The innermost file of the package that the operation comes from, such as "ops/nms.py"."""
    found = re.findall(r'"[^"]*pointrend_jax/([\w/]+\.py)"', str(operation.location))
    return found[0] if found else str(operation.location)[:200]
