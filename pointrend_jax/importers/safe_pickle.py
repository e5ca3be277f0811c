"""Reads pickles as data: a small machine of our own that never calls what a file names.

A pickle is a program, and `pickle.load` runs it. `pickle.Unpickler` with a `find_class` allow-list
is not enough here: its BUILD may set attributes on whatever lies on the stack, classes of ours
included, and a memo index may make it allocate gigabytes. So the opcodes are decoded by
`pickletools.genops`, which executes nothing, and only those below are interpreted. A global is an
inert pair of strings; it is refused unless allowed by name, and REDUCE passes its arguments to our
own constructor for that name. Everything else raises a ValueError that says what was found.
"""

import pickletools
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import NamedTuple, NoReturn

Constructor = Callable[..., object]


class Global(NamedTuple):
    """A name that a pickle refers to; two strings, nothing imported."""

    module: str
    name: str


class Placeholder:
    """An inert value that a constructor of ours made and that the file may then give a state.

    BUILD calls `set_state` on these and on nothing else, so a file cannot reach an attribute.
    """

    def set_state(self, state: object) -> None:
        """Takes the state of a BUILD. Raises: ValueError if it is not what it must be."""
        raise NotImplementedError


class _Mark:
    pass


_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("STRING", "SHORT_BINSTRING", "BINSTRING"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset(("PROTO", "FRAME"))


def load_pickle(
    stream: BytesIO,
    *,
    constructors: Mapping[str, Constructor | None],
    load_persistent: Callable[[object], object] | None = None,
) -> object:
    """The object of the pickle at the stream's position, built of plain Python values.

    BUILD is accepted on placeholders, and on dicts, where its state (attributes of an OrderedDict)
    is dropped. Strings of Python 2 come as str, one character a byte (latin-1).

    Args:
      constructors: what a file may name, as "module.name", and the function of ours that stands for
        it when it is called; None for a name that may be mentioned but not called.
      load_persistent: turns a persistent id into an object; None refuses persistent ids.

    Raises: ValueError for a name or an opcode that is not allowed (the message says which) and for
      a pickle that is cut off or malformed.
    """
    machine = _Machine(constructors, load_persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, OverflowError) as error:
        # The stack or the memo did not hold what an opcode asked for.
        raise ValueError(f"The pickle is malformed ({type(error).__name__}: {error}).") from error
    return machine.result


def ordered_dict(items: object = None) -> dict[str | int, object]:
    """Stands for collections.OrderedDict: built empty, or by Python 2 from a list of pairs.

    The list is emptied, so a file that hands over the same one many times cannot grow.
    """
    if items is None:
        return {}
    if not isinstance(items, list):
        raise ValueError(f"The pickle builds an OrderedDict of {_describe(items)}: refused.")
    result: dict[str | int, object] = {}
    for pair in items:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError("The pickle builds an OrderedDict of something but pairs: refused.")
        result[_checked_key(pair[0])] = pair[1]
    items.clear()
    return result


class _Machine:
    def __init__(
        self,
        constructors: Mapping[str, Constructor | None],
        load_persistent: Callable[[object], object] | None,
    ) -> None:
        self.constructors = constructors
        self.load_persistent = load_persistent
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.result: object = None

    def step(self, name: str, argument: object) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _PUTS or name == "MEMOIZE":
            index = len(self.memo) if name == "MEMOIZE" else _integer(argument)
            self.memo[index] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo[_integer(argument)])
        elif name in _TUPLES:
            self._push_tuple(_TUPLES[name])
        elif name not in _IGNORED:
            self._structure(name, argument)

    def _structure(self, name: str, argument: object) -> None:
        match name:
            case "MARK":
                self.stack.append(_Mark())
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_LIST":
                self.stack.append([])
            case "TUPLE" | "LIST":
                items = self._pop_to_mark()
                self.stack.append(tuple(items) if name == "TUPLE" else items)
            case "DICT":
                items = self._pop_to_mark()
                self.stack.append({})
                self._set_items(items)
            case "APPEND":
                self._extend([self.stack.pop()])
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                value = self.stack.pop()
                self._set_items([self.stack.pop(), value])
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "STOP":
                self.result = self.stack.pop()
            case _:
                self._foreign(name, argument)

    def _foreign(self, name: str, argument: object) -> None:
        """The opcodes that could reach beyond plain data."""
        match name:
            case "GLOBAL":
                # genops joins module and name by the last space.
                module, _, attribute = str(argument).rpartition(" ")
                self._push_global(module, attribute)
            case "STACK_GLOBAL":
                attribute, module = self.stack.pop(), self.stack.pop()
                if not isinstance(module, str) or not isinstance(attribute, str):
                    raise ValueError("The pickle names a global by something that is no string.")
                self._push_global(module, attribute)
            case "REDUCE":
                self._reduce()
            case "BUILD":
                state, target = self.stack.pop(), self.stack[-1]
                if isinstance(target, Placeholder):
                    target.set_state(state)
                elif not isinstance(target, dict):
                    kind = _describe(target)
                    raise ValueError(f"The pickle sets the state of {kind} (BUILD): refused.")
            case "BINPERSID" if self.load_persistent is not None:
                self.stack.append(self.load_persistent(self.stack.pop()))
            case _:
                _refuse_opcode(name, argument)

    def _push_global(self, module: str, name: str) -> None:
        if f"{module}.{name}" not in self.constructors:
            raise ValueError(
                f"The pickle names {module}.{name}, which it may not use; refused, "
                "nothing of it was run. Save the file again with plain tensors by name only."
            )
        self.stack.append(Global(module, name))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError(f"The pickle calls {_describe(function)} (REDUCE): refused.")
        qualified = f"{function.module}.{function.name}"
        constructor = self.constructors[qualified]
        if constructor is None:
            raise ValueError(f"The pickle calls {qualified}, which may only be mentioned: refused.")
        try:
            self.stack.append(constructor(*arguments))
        except TypeError as error:
            raise ValueError(f"The pickle calls {qualified} with wrong arguments.") from error

    def _pop_to_mark(self) -> list[object]:
        for i in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[i], _Mark):
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise IndexError("no mark on the stack")

    def _push_tuple(self, length: int) -> None:
        start = len(self.stack) - length
        if start < 0:
            raise IndexError("the stack is too short for a tuple")
        items = tuple(self.stack[start:])
        del self.stack[start:]
        self.stack.append(items)

    def _extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError(f"The pickle appends to {_describe(target)}: refused.")
        target.extend(items)

    def _set_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError(f"The pickle sets items of {_describe(target)}: refused.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_checked_key(key)] = value


def _checked_key(key: object) -> str | int:
    # Only these values hash without recursion into what the file nests.
    if not isinstance(key, (str, int)):
        raise ValueError(f"The pickle has a dict key that is {_describe(key)}: refused.")
    return key


def _integer(argument: object) -> int:
    if not isinstance(argument, int):
        raise ValueError("The pickle has a memo index that is no integer.")
    return argument


def _describe(value: object) -> str:
    # Never repr(): a few bytes can describe a value whose text fills the memory.
    if isinstance(value, Global):
        return f"{value.module}.{value.name}"
    return f"a value of type {type(value).__name__}"


def _refuse_opcode(name: str, argument: object) -> NoReturn:
    detail = ""
    if name == "INST":
        detail = f" naming {str(argument).replace(' ', '.')}"
    raise ValueError(f"The pickle uses the opcode {name}{detail}: refused, nothing of it was run.")
