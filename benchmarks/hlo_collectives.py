"""What the devices of a compiled program tell each other, read from its text."""

import math
import re
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
# `%name = f32[3,4]{1,0} all-reduce(...)`, or shapes in brackets; -start if it does not wait.
_LINE = re.compile(rf"= (.+?) ({_KINDS})(-start)?\(")
_CHANNEL = re.compile(r"channel_id=(\d+)")
# Those whose -start gives what it was given, what comes out, and numbers to wait for.
_GIVES_BOTH = ("all-gather", "collective-permute")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One operation of a compiled program. bytes: of all its arrays."""

    kind: str
    shapes: tuple[str, ...]
    bytes: int


def collectives_of(text: str) -> list[Collective]:
    """Those of an optimised HLO module, the largest first.

    A TPU's compiler writes one that runs beside other work into several fusions, of one channel.
    """
    found, channels, in_fusion = [], set(), False
    for line in text.splitlines():
        if not line.startswith(" "):
            in_fusion = "fus" in line.split("(")[0]
        match = _LINE.search(line)
        if match is None:
            continue
        if in_fusion and (channel := _CHANNEL.search(line)):
            if (match[2], channel[1]) in channels:
                continue
            channels.add((match[2], channel[1]))
        shapes = _SHAPE.findall(match[1])
        if match[3] and match[2] in _GIVES_BOTH:
            shapes = shapes[1:2]
        sizes = [math.prod(map(int, filter(None, dims.split(",")))) for _, dims in shapes]
        size = sum(_BYTES[kind] * n for (kind, _), n in zip(shapes, sizes, strict=True))
        found.append(Collective(match[2], tuple(f"{t}[{dims}]" for t, dims in shapes), size))
    return sorted(found, key=lambda collective: -collective.bytes)
