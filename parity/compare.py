"""One comparison with the reference: what was compared, how far off it was, what was allowed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Single operations in float32: relative to the largest value of the reference array.
OP_TOLERANCE = 1e-5


class Row(NamedTuple):
    """`difference` and `tolerance` are absolute, in the quantity's unit."""

    file: str
    quantity: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        # A NaN difference must fail.
        return bool(self.difference <= self.tolerance)


class Check(NamedTuple):
    """What `compare` needs for one quantity; `tolerance` is a part of the largest golden value."""

    quantity: str
    ours: ArrayLike
    golden: ArrayLike
    tolerance: float = OP_TOLERANCE


CheckFile = Callable[[dict], Iterator[Check]]


class LeftOut(NamedTuple):
    """What a kit does not hold, or this project does not build: told, never passed."""

    file: str
    reason: str


Result = Row | LeftOut


class Absent(KeyError):
    """A kit does not hold an array or a file that a comparison needs, which is its name."""


class Golden(dict[str, Any]):
    """The arrays of a golden file by name. A kit may hold a part of them."""

    def __missing__(self, name: str) -> Any:
        raise Absent(name)

    def require(self, *names: str) -> None:
        """Raises Absent for the first that is not there, before long work for nothing."""
        for name in names:
            self[name]


def kit_file(kit: Path, name: str) -> Path:
    """The file of a kit, by its path in it. Raises: Absent if it is not there."""
    path = kit / name
    if not path.is_file():
        raise Absent(name)
    return path


def part(file: str, name: str, results: Iterator[Result]) -> Iterator[Result]:
    """`results` as they come. What stops them stops this part of a file and nothing after it.

    An array or a file that the kit does not hold leaves the rest of the part out; anything else
    that is wrong with a kit is a miss.
    """
    try:
        yield from results
    except Absent as absent:
        yield LeftOut(file, f"{name}: the kit holds no {absent.args[0]}")
    except (ValueError, KeyError, OSError) as error:
        yield Row(file, f"{name}: stopped by {type(error).__name__}: {error}", np.inf, 0.0)


def compare(file: str, check: Check) -> Row:
    """Exact for integers and booleans, relative to the largest magnitude for floats."""
    ours, golden = np.asarray(check.ours), np.asarray(check.golden)
    if ours.shape != golden.shape:
        return Row(file, f"{check.quantity}: shape {ours.shape}, not {golden.shape}", np.inf, 0.0)
    if golden.dtype.kind in "biu":
        return Row(file, check.quantity, float(np.sum(ours != golden)), 0.0)
    difference = np.abs(ours.astype(np.float64) - golden.astype(np.float64))
    scale = float(np.max(np.abs(golden), initial=0.0)) or 1.0
    return Row(
        file, check.quantity, float(np.max(difference, initial=0.0)), check.tolerance * scale
    )


def row(file: str, quantity: str, ours: ArrayLike, golden: ArrayLike, tolerance: float) -> Row:
    """The largest difference, against an absolute tolerance; a wrong shape is a miss."""
    a, b = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    if a.shape != b.shape:
        return Row(file, f"{quantity}: shape {a.shape}, not {b.shape}", np.inf, 0.0)
    return Row(file, quantity, float(np.max(np.abs(a - b), initial=0.0)), float(tolerance))


def fraction_row(
    file: str, quantity: str, ours: ArrayLike, golden: ArrayLike, limit: float, allowed: float
) -> Row:
    """The part of the values that differ by more than `limit`, against the part that may."""
    a, b = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    if a.shape != b.shape:
        return Row(file, f"{quantity}: shape {a.shape}, not {b.shape}", np.inf, 0.0)
    # Not `> limit`: a NaN must count as different.
    apart = ~(np.abs(a - b) <= limit)
    return Row(file, f"{quantity}: part off by > {limit:g}", float(np.mean(apart)), allowed)
