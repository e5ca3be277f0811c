"""Pickled numpy arrays: equal to numpy's own reading, and refused where they are anything else."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.importers.numpy_pickle import ArrayPlaceholder, Budget, numpy_constructors
from pointrend_jax.importers.safe_pickle import load_pickle

BASE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
ARRAYS = {
    "C": BASE,
    "Fortran": np.asfortranarray(BASE),
    "permuted": BASE.transpose(2, 0, 1),
    "strided": BASE[:, ::2, 1:],
    "0-d": np.asarray(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "big-endian": BASE.astype(">f4"),
    **{code: BASE.astype(code) for code in ("f2", "f8", "i1", "i8", "u1", "u2", "b1")},
}
DTYPE = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


def _load(content: bytes, *, budget: int | None = None) -> object:
    constructors = numpy_constructors(Budget(len(content) if budget is None else budget))
    return load_pickle(io.BytesIO(content), constructors=constructors)


def _load_array(content: bytes) -> np.ndarray:
    loaded = _load(content)
    assert isinstance(loaded, ArrayPlaceholder)
    assert loaded.array is not None
    return loaded.array


def _with_state(shape: bytes, data: bytes, *, dtype: bytes = DTYPE, order: bytes = b"I00\n"):
    return RECONSTRUCT + b"(I1\n" + shape + dtype + order + data + b"tb."


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ARRAYS)
def test_array_equals_what_was_pickled(kind: str, protocol: int):
    expected = ARRAYS[kind]
    array = _load_array(pickle.dumps(expected, protocol))
    assert array.dtype == expected.dtype.newbyteorder("=")
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, expected)
    assert array.shape == expected.shape


@pytest.mark.parametrize("protocol", [2, 5])
def test_module_names_of_numpy_1_are_known(protocol: int):
    content = pickle.dumps(BASE, protocol)
    older = content.replace(b"\x13numpy._core.", b"\x12numpy.core.").replace(b"numpy._", b"numpy.")
    assert b"_core" not in older
    np.testing.assert_array_equal(_load_array(older), BASE)


@pytest.mark.parametrize("fortran_order", [b"\x89", b"\x88"])
def test_array_of_python_2_is_read(fortran_order: bytes):
    values = np.asarray([[1.5, -2.0], [np.pi, 255.0]], np.float32)
    order = "F" if fortran_order == b"\x88" else "C"
    data = values.tobytes(order)
    # Raw bytes in a Python 2 string, short and long.
    for text in (b"U" + bytes([len(data)]), b"T" + len(data).to_bytes(4, "little")):
        content = _with_state(b"(I2\nI2\nt", text + data, order=fortran_order)
        np.testing.assert_array_equal(_load_array(content), values)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("value", [np.float64(1.25), np.int64(-7), np.bool_(True)])
def test_scalar_becomes_a_python_number(value: np.generic, protocol: int):
    loaded = _load(pickle.dumps(value, protocol))
    assert loaded == value.item()
    assert type(loaded) is type(value.item())


def test_bytes_of_python_3_are_read_from_protocol_2():
    assert _load(pickle.dumps([b"", b"\x00\xff"], 2)) == [b"", b"\x00\xff"]


def test_array_is_a_view_that_cannot_be_written():
    for protocol in (2, 4, 5):
        array = _load_array(pickle.dumps(BASE, protocol))
        assert not array.flags.writeable
        assert array.base is not None


class _Subclass(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.asarray([1, "text"], object), r"Python objects \(dtype object\)"),
        (np.zeros(2, [("x", "f4"), ("y", "i4")]), "structured arrays"),
        (np.asarray(["text"]), "arrays of the type 'U4', only numbers"),
        (np.zeros(2, np.complex64), "arrays of the type 'c8', only numbers"),
        (np.zeros(2).view(_Subclass), "test_numpy_pickle._Subclass, which it may not use"),
        (np.ma.zeros(2), "_mareconstruct, which it may not use"),
    ],
)
def test_array_of_another_kind_is_refused_by_name(array: np.ndarray, message: str):
    for protocol in (2, 4):
        with pytest.raises(ValueError, match=message):
            _load(pickle.dumps(array, protocol))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_with_state(b"(I3\nt", b"C\x08" + bytes(8)), r"shape \(3,\) and the type float32, but 8"),
        (_with_state(b"(I1\nt", b"C\x08" + bytes(8)), "but 8 bytes"),
        (_with_state(b"(" + b"I1000000000\n" * 6 + b"t", b"C\x00"), "but 0 bytes"),
        (_with_state(b"(L" + b"9" * 40 + b"L\nt", b"C\x00"), "shape by values of the wrong kind"),
        (_with_state(b"(I-1\nI-1\nt", b"C\x04" + bytes(4)), "shape by values of the wrong kind"),
        (_with_state(b"(" + b"I1\n" * 33 + b"t", b"C\x04" + bytes(4)), "shape by values"),
        (_with_state(b"]", b"C\x00"), "shape by values of the wrong kind"),
        (_with_state(b"(I1\nt", b"]"), "content as something but bytes"),
        (_with_state(b"(I1\nt", b"C\x04" + bytes(4), dtype=b"S'f4'\n"), "array by values"),
        (RECONSTRUCT + b"}b.", "array by values of the wrong kind"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(S'x'\nNNtR.", "another class than numpy.ndarray"),
        (b"cnumpy\ndtype\n(I4\ntR.", "a dtype without a name"),
        (b"cnumpy\ndtype\n(S'V8'\ntR.", "structured arrays"),
        (b"cnumpy\ndtype\n(S'f4'\ntR(I3\nS'<'\n(S'f4'\n(I9\nttNNtb.", "structured arrays"),
        (b"cnumpy\ndtype\n(S'f4'\ntR(I3\nS'!'\nNNNtb.", "numpy.dtype by values of the wrong"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "_codecs.encode for something but latin-1"),
        (b"cbuiltins\nbytes\n(I9999999\ntR.", "builtins.bytes with wrong arguments"),
        (b"cnumpy\nndarray\n(I9\ntR.", "numpy.ndarray, which may only be mentioned"),
        (
            b"cnumpy.core.numeric\n_frombuffer\n(C\x04"
            + bytes(4)
            + DTYPE
            + b"(I1\ntS'K'\n(I1\nttR.",
            "something but a permutation",
        ),
    ],
)
def test_damaged_or_hostile_array_is_refused(content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        _load(content)


@pytest.mark.parametrize(
    "piece",
    [
        # One text of 100 characters, made into bytes again and again: 7 bytes of file each.
        b"h\x00(h\x01h\x02tR",
        # The same through arrays of Python 2.
        RECONSTRUCT + b"(I1\n(I25\nth\x03I00\nh\x01tb",
    ],
)
def test_file_cannot_grow_by_repetition(piece: bytes):
    start = (
        b"](c_codecs\nencode\nq\x00S'" + b"x" * 100 + b"'\nq\x01S'latin1'\nq\x02" + DTYPE + b"q\x03"
    )
    with pytest.raises(ValueError, match="more bytes than the whole file"):
        _load(start + piece * 100 + b"e.")


class _Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("place", ["entry", "nested", "object array", "dtype", "state", "subtype"])
def test_hostile_pickle_is_refused_by_name_and_leaves_no_trace(
    place: str, protocol: int, tmp_path: Path
):
    trace = tmp_path / "trace"
    attack = _Attack(f"touch {trace}")
    # Without its PROTO and STOP a pickle of protocol 2 is a value among others.
    opcodes = pickle.dumps(attack, 2)[2:-1]
    content = {
        "entry": pickle.dumps({"model": {"a": BASE, "weight": attack}}, protocol),
        "nested": pickle.dumps([BASE, (1, {"a": attack})], protocol),
        "object array": pickle.dumps(np.asarray([attack]), protocol),
        "dtype": b"cnumpy\ndtype\n(" + opcodes + b"tR.",
        "state": RECONSTRUCT + opcodes + b"b.",
        "subtype": b"cnumpy.core.multiarray\n_reconstruct\n(" + opcodes + b"(I0\ntS'b'\ntR.",
    }[place]
    with pytest.raises(ValueError, match=r"(posix|nt)\.system|dtype object"):
        _load(content)
    assert not trace.exists()
