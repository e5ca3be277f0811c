"""What the devices of a compiled program tell each other, read from its text."""

import math
import re
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
# `%name = f32[3,4]{1,0} all-reduce(...)`, or shapes in brackets; -start if it does not wait.
_LINE = re.compile(rf"= (.+?) ({_KINDS})(?:-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One operation of a compiled program. bytes: of all its arrays."""

    kind: str
    shapes: tuple[str, ...]
    bytes: int


def collectives_of(text: str) -> list[Collective]:
    """Those of an optimised HLO module, the largest first."""
    found = []
    for match in filter(None, map(_LINE.search, text.splitlines())):
        shapes = _SHAPE.findall(match[1])
        sizes = [math.prod(map(int, filter(None, dims.split(",")))) for _, dims in shapes]
        size = sum(_BYTES[kind] * n for (kind, _), n in zip(shapes, sizes, strict=True))
        found.append(Collective(match[2], tuple(f"{t}[{dims}]" for t, dims in shapes), size))
    return sorted(found, key=lambda collective: -collective.bytes)
