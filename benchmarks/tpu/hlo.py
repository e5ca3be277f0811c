"""A TPU's optimised HLO, read from its text: computations, operations, where each comes from."""

import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"(ENTRY )?%(\S+) .*\{$")
# `  ROOT %name = type opcode(`; a type may be several in brackets, with layouts.
_OPERATION = re.compile(r"\s+(ROOT )?%(\S+) = (.+?) ([a-z][\w\-]*)\(([^)]*)\)")
_CALLED = re.compile(r"\b(condition|body|to_apply|calls|\w+_computation)=%([^\s,]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_FRAME = re.compile(r"\bstack_frame_id=(\d+)")
_NAME = re.compile(r'\bop_name="([^"]*)"')
_LAYOUT = re.compile(r"\{[^{}]*\}|/\*.*?\*/")


class Operation(NamedTuple):
    """One line of a computation.

    Attributes:
      type: of the result, without its layout.
      arguments: what stands in its brackets.
      line: all of it.
      cycles: that the compiler estimates; None where it says nothing.
      called: computations by role ("body", "condition", ...), a conditional's branches as "0", "1".
      name: the path of jax's names.
      functions: of Python that it comes from, the innermost first.
    """

    opcode: str
    type: str
    arguments: str
    line: str
    cycles: int | None
    called: dict[str, str]
    name: str
    functions: tuple[str, ...]


class Module(NamedTuple):
    """entry: the name of the computation that is run."""

    computations: dict[str, dict[str, Operation]]
    entry: str


def module_of(text: str) -> Module:
    """Raises: ValueError if it is no HLO with an entry computation."""
    calls_of_frame = _Frames(text)
    computations: dict[str, dict[str, Operation]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif current is not None and (found := _OPERATION.match(line)):
            current[found[2]] = _operation(line, found, calls_of_frame)
    if not entry:
        raise ValueError("the text has no line `ENTRY %name ... {`: it is no optimised HLO.")
    return Module(computations, entry)


def _operation(line: str, found: re.Match[str], frames: "_Frames") -> Operation:
    cycles, frame, name = _CYCLES.search(line), _FRAME.search(line), _NAME.search(line)
    called = dict(_CALLED.findall(line))
    if branches := _BRANCHES.search(line):
        names = re.findall(r"%([^\s,]+)", branches[1])
        called |= {str(number): name for number, name in enumerate(names)}
    return Operation(
        opcode=found[4], type=_LAYOUT.sub("", found[3]), arguments=found[5], line=line,
        cycles=int(cycles[1]) if cycles else None, called=called, name=name[1] if name else "",
        functions=frames.functions(int(frame[1])) if frame else (),
    )  # fmt: skip


class _Frames:
    """The tables at the head of a text, of which each operation names a row."""

    def __init__(self, text: str) -> None:
        head = text.partition("\n%")[0]
        self._names = _table(head, "FunctionNames")
        self._locations = _table(head, "FileLocations")
        self._frames = _table(head, "StackFrames")

    def functions(self, frame: int) -> tuple[str, ...]:
        found = []
        while row := self._frames.get(frame):
            location, parent = (int(number) for number in re.findall(r"=(\d+)", row))
            function = int(re.findall(r"=(\d+)", self._locations[location])[1])
            found.append(self._names[function].strip('"'))
            # A caller's number is written one too high; the outermost names itself.
            if parent == 1 or parent > frame:
                break
            frame = parent - 1
        return tuple(found)


def _table(head: str, name: str) -> dict[int, str]:
    _, _, rest = head.partition(f"\n{name}\n")
    rows = (re.match(r"(\d+) (.*)$", line) for line in rest.partition("\n\n")[0].splitlines())
    return {int(row[1]): row[2] for row in rows if row}
