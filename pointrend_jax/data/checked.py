"""Every image of a set is checked, in order, and what is wrong is told of all at once."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pointrend_jax.console import watched
from pointrend_jax.messages import first_lines
from pointrend_jax.workers import in_order

# An error lists this many images, and a file all of them.
_LISTED = 20

Item = TypeVar("Item")
Record = TypeVar("Record")


def checked(
    items: Sequence[Item], check: Callable[[Item], Record | str]
) -> Iterator[tuple[int, Record]]:
    """(index, record) of every item, in order.

    Args:
      check: the record of an item, or in words what is wrong with it.
    Raises: ValueError after the last item, listing what is wrong; from the first wrong one on
      nothing is given out.
    """
    problems: list[str] = []
    results = watched(in_order(check, items), "preparing", total=len(items))
    for index, result in enumerate(results):
        if isinstance(result, str):
            problems.append(result)
        elif not problems:
            yield index, result
    raise_problems(problems, len(items))


def raise_problems(problems: Sequence[str], number: int) -> None:
    """Raises ValueError, listing them, if there are problems among `number` images.

    A long list is in a file that the message names.
    """
    if problems:
        listed = "\n  ".join(first_lines(problems, _LISTED))
        if len(problems) > _LISTED:
            listed += _listed_in_file(problems)
        raise ValueError(f"{len(problems)} of {number} images cannot be used:\n  {listed}")


def _listed_in_file(problems: Sequence[str]) -> str:
    """Writes a line for each problem, and says where; nothing where no file can be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="unusable-images-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.writelines(f"{problem}\n" for problem in problems)
    except OSError:
        return ""
    return f"; all are listed in {file.name}"
