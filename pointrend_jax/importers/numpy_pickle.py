"""The names that a pickled numpy array uses, as inert values for `safe_pickle.load_pickle`.

Covers what numpy 1.x and 2.x write with protocols 0 to 5 from Python 3, and with protocols 1 and 2
from Python 2: plain numeric arrays in either memory order and numpy scalars. Arrays of Python
objects, of records and of text are refused. An array is a read-only view of the bytes of its
pickle: sizes are compared before anything is allocated, and what must be copied (text that carries
bytes, foreign byte orders) is charged against a budget, so a small file cannot grow.
"""

import math
from collections.abc import Sequence

import numpy as np

from pointrend_jax.importers.safe_pickle import Constructor, Global, Placeholder

# Element types by the name that numpy's dtype.__reduce__ gives them.
_CODES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
_MAX_DIMENSIONS = 32


class Budget:
    """How many bytes may still be copied out of a pickle; an honest one needs at most its size."""

    def __init__(self, num_bytes: int) -> None:
        self.remaining = num_bytes

    def take(self, num_bytes: int) -> None:
        self.remaining -= num_bytes
        if self.remaining < 0:
            raise ValueError(
                "The pickle's arrays together hold more bytes than the whole file: refused."
            )


class DtypePlaceholder(Placeholder):
    """Stands for numpy.dtype; its byte order comes with BUILD."""

    def __init__(self, code: object, _align: object = False, _copy: object = False) -> None:
        if not isinstance(code, str) or code not in _CODES:
            raise ValueError(f"The pickle holds {_describe_code(code)}, only numbers are read.")
        self.dtype = np.dtype(code)

    def set_state(self, state: object) -> None:
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
                self.dtype = self.dtype.newbyteorder(order)
            case (int(), str(), *fields) if any(field is not None for field in fields[:3]):
                raise ValueError("The pickle holds structured arrays, only numbers are read.")
            case _:
                raise ValueError("The pickle describes a numpy.dtype by values of the wrong kind.")


class ArrayPlaceholder(Placeholder):
    """Stands for numpy.ndarray; `array` is None until the file has given its content."""

    def __init__(self, budget: Budget, array: np.ndarray | None = None) -> None:
        self.budget = budget
        self.array = array

    def set_state(self, state: object) -> None:
        match state:
            case (1, shape, DtypePlaceholder() as dtype, bool() | int() as fortran_order, data):
                order = "F" if fortran_order else "C"
                self.array = _array(data, dtype, shape, order, budget=self.budget)
            case _:
                raise ValueError("The pickle describes an array by values of the wrong kind.")


def numpy_constructors(budget: Budget) -> dict[str, Constructor | None]:
    """The allow-list for one pickle of numpy arrays, as `load_pickle` takes it."""

    def reconstruct(subtype: object, _shape: object, _code: object) -> ArrayPlaceholder:
        if subtype != Global("numpy", "ndarray"):
            raise ValueError("The pickle rebuilds an array of another class than numpy.ndarray.")
        return ArrayPlaceholder(budget)

    def from_buffer(
        data: object, dtype: object, shape: object, order: object, axis_order: object = None
    ) -> ArrayPlaceholder:
        if not isinstance(dtype, DtypePlaceholder) or order not in ("C", "F", "K"):
            raise ValueError("The pickle describes an array by values of the wrong kind.")
        array = _array(data, dtype, shape, "F" if order == "F" else "C", budget=budget)
        if axis_order is not None:
            array = array.transpose(_permutation(axis_order, array.ndim))
        return ArrayPlaceholder(budget, array)

    def scalar(dtype: object, data: object) -> int | float | bool:
        if not isinstance(dtype, DtypePlaceholder):
            raise ValueError("The pickle describes a numpy scalar by values of the wrong kind.")
        return _array(data, dtype, (), "C", budget=budget).item()

    def encode(text: object, encoding: object = None) -> bytes:
        # How bytes are written below protocol 3, and nothing but that.
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("The pickle calls _codecs.encode for something but latin-1: refused.")
        return _latin1(text, budget)

    constructors = {**_PLAIN, "_codecs.encode": encode}
    for core in ("numpy.core", "numpy._core"):
        constructors[f"{core}.multiarray._reconstruct"] = reconstruct
        constructors[f"{core}.multiarray.scalar"] = scalar
        constructors[f"{core}.numeric._frombuffer"] = from_buffer
    return constructors


def _array(
    data: object, dtype: DtypePlaceholder, shape: object, order: str, *, budget: Budget
) -> np.ndarray:
    """A read-only view of `data`, or a copy in native byte order."""
    if isinstance(data, str):
        data = _latin1(data, budget)
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError("The pickle gives an array's content as something but bytes: refused.")
    checked_shape = _checked_shape(shape)
    num_bytes = math.prod(checked_shape) * dtype.dtype.itemsize
    if num_bytes != len(data):
        raise ValueError(
            f"An array of the pickle has the shape {checked_shape} and the type {dtype.dtype}, "
            f"but {len(data)} bytes: the file is damaged."
        )
    array = np.ndarray(checked_shape, dtype.dtype, data, order="F" if order == "F" else "C")
    if not dtype.dtype.isnative:
        budget.take(num_bytes)
        array = array.astype(dtype.dtype.newbyteorder("="))
    array.setflags(write=False)
    return array


def _checked_shape(shape: object) -> tuple[int, ...]:
    # 2**62 elements fit no file; the bound keeps the message and the product small.
    if (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_DIMENSIONS
        and all(isinstance(n, int) and 0 <= n < 2**62 for n in shape)
    ):
        return shape
    raise ValueError("The pickle gives an array's shape by values of the wrong kind.")


def _permutation(axis_order: object, num_axes: int) -> Sequence[int]:
    if (
        isinstance(axis_order, tuple)
        and all(isinstance(axis, int) for axis in axis_order)
        and sorted(axis_order) == list(range(num_axes))
    ):
        return axis_order
    raise ValueError("The pickle orders an array's axes by something but a permutation.")


def _latin1(text: str, budget: Budget) -> bytes:
    budget.take(len(text))
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    return b""


def _describe_code(code: object) -> str:
    if isinstance(code, str) and code[:1] == "O":
        return "arrays of Python objects (dtype object)"
    if isinstance(code, str) and code[:1] == "V":
        return "structured arrays (dtype void)"
    return f"arrays of the type {code[:8]!r}" if isinstance(code, str) else "a dtype without a name"


_PLAIN: dict[str, Constructor | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": DtypePlaceholder,
    # bytes() without arguments is how b"" is written below protocol 3.
    "__builtin__.bytes": _empty_bytes,
    "builtins.bytes": _empty_bytes,
}
