"""A hostile pickle is refused by name and leaves no trace."""

import contextlib
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from pointrend_jax.importers.safe_pickle import Placeholder, load_pickle, ordered_dict


class _Call:
    """Pickles as a call of `function`, the way an attack is written."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def _loads(content: bytes, **allowed: Callable | None) -> object:
    return load_pickle(
        io.BytesIO(content),
        constructors={name.replace("__", "."): function for name, function in allowed.items()},
    )


SYSTEM = r"(os|posix|nt)\.system"

# How an attack is written, and the name that the refusal must give.
ATTACKS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "GLOBAL": (lambda c: b"cos\nsystem\n(S'" + c.encode() + b"'\ntR.", SYSTEM),
    "protocol 0": (lambda c: pickle.dumps(_Call(os.system, c), 0), SYSTEM),
    "protocol 2": (lambda c: pickle.dumps(_Call(os.system, c), 2), SYSTEM),
    "STACK_GLOBAL": (lambda c: pickle.dumps(_Call(os.system, c), 4), SYSTEM),
    "INST": (lambda c: b"(S'" + c.encode() + b"'\nios\nsystem\n.", "INST naming " + SYSTEM),
    "OBJ": (lambda c: b"(cos\nsystem\nS'" + c.encode() + b"'\no.", SYSTEM),
    "nested": (lambda c: pickle.dumps({"a": [1, (2, {"b": _Call(os.system, c)})]}, 2), SYSTEM),
    "eval": (
        lambda c: pickle.dumps(_Call(eval, f"__import__('os').system({c!r})"), 2),
        r"__builtin__\.eval",
    ),
    "getattr": (
        lambda c: (
            b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'"
            + c.encode()
            + b"'\ntR."
        ),
        r"builtins\.getattr",
    ),
    "BUILD": (
        lambda c: b"ctypes\nSimpleNamespace\n)R}S'a'\ncos\nsystem\n(S'" + c.encode() + b"'\ntRsb.",
        r"types\.SimpleNamespace",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_pickle_is_refused_by_name_and_leaves_no_trace(attack: str, tmp_path: Path):
    write, name = ATTACKS[attack]
    trace = tmp_path / "trace"
    content = write(f"touch {trace}")
    with pytest.raises(ValueError, match=name):
        _loads(content)
    assert not trace.exists()
    # The attack is a real one: the standard library runs it.
    with contextlib.suppress(TypeError):
        pickle.loads(content)
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02cours\nC\n)\x81.", "opcode NEWOBJ"),
        (b"\x80\x04cours\nC\n)}\x92.", "opcode NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"cours\nC\n}S'__call__'\nS'x'\nsb.", r"sets the state of ours\.C \(BUILD\)"),
        (b"]}b.", r"state of a value of type list \(BUILD\)"),
        (b"S'f'\n)R.", r"calls a value of type str \(REDUCE\)"),
        (b"cours\nC\n)R)R.", r"calls a value of type dict \(REDUCE\)"),
        (b"cours\nNAME\n)R.", r"calls ours\.NAME, which may only be mentioned"),
        (b"cours\nC\n(I1\ntR.", r"calls ours\.C with wrong arguments"),
        (b"S'key'\nQ.", "opcode BINPERSID"),
        (b"Pkey\n.", "opcode PERSID"),
        (b"}}I1\ns.", "dict key that is a value of type dict"),
        (b"}I1\na.", "appends to a value of type dict"),
    ],
)
def test_opcode_beyond_plain_data_is_refused(content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        _loads(content, ours__C=dict, ours__NAME=None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "exhausted"),
        (b"\x80\x02", "exhausted"),
        (b"X\xff\x00\x00\x00ab.", "expected 255 bytes"),
        (b"\xff.", "opcode"),
        (b"s.", "malformed"),
        (b"a.", "malformed"),
        (b"t.", "malformed"),
        (b"h\x05.", "malformed"),
        (b"\x85.", "malformed"),
    ],
)
def test_malformed_pickle_is_a_value_error(content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        _loads(content)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_equals_the_standard_library(protocol: int):
    shared = [1, 2]
    data = {
        "numbers": [0, -1, 255, 65536, 2**70, -1.5, True, False, None],
        "text": ["", "ä", "x" * 300],
        "bytes": b"\x00\xff" if protocol >= 3 else "",
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "shared": [shared, shared],
        7: {},
    }
    loaded = _loads(pickle.dumps(data, protocol))
    assert loaded == data
    assert isinstance(loaded, dict)
    assert loaded["shared"][0] is loaded["shared"][1]


def test_allowed_constructor_receives_the_arguments():
    content = pickle.dumps(OrderedDict(a=1), 2)
    assert _loads(content, collections__OrderedDict=lambda: {"made": "here"}) == {
        "made": "here",
        "a": 1,
    }


def test_ordered_dict_of_python_2_is_built_of_pairs_once():
    # The second call names the same list, which must not be copied a second time.
    pairs = b"](](S'a'\nI1\ne](S'b'\nI2\neeq\x01"
    content = b"](ccollections\nOrderedDict\nq\x00" + pairs + b"\x85Rh\x00h\x01\x85Re."
    assert _loads(content, collections__OrderedDict=ordered_dict) == [{"a": 1, "b": 2}, {}]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (b"S'ab'\n", "an OrderedDict of a value of type str"),
        (b"](I1\ne", "an OrderedDict of something but pairs"),
        (b"](](I1\nee", "an OrderedDict of something but pairs"),
        (b"](](]I1\nee", "dict key that is a value of type list"),
    ],
)
def test_ordered_dict_of_anything_else_is_refused(items: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        _loads(
            b"ccollections\nOrderedDict\n" + items + b"\x85R.",
            collections__OrderedDict=ordered_dict,
        )


class _Recorder(Placeholder):
    state: object = None

    def set_state(self, state: object) -> None:
        self.state = state


def test_build_hands_its_state_to_a_placeholder():
    loaded = _loads(b"cours\nC\n)R}S'a'\nI1\nsb.", ours__C=_Recorder)
    assert isinstance(loaded, _Recorder)
    assert loaded.state == {"a": 1}
    assert not hasattr(loaded, "a")


def test_reading_stops_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps(2) + b"rest")
    assert load_pickle(stream, constructors={}) == 1
    assert load_pickle(stream, constructors={}) == 2
    assert stream.read() == b"rest"
