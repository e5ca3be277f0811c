"""What every evaluation gives, whatever it counts, and that no image may count twice."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

# Which of the two that every evaluation scores side by side: what was rendered, and what rendering
# started from.
MaskSource = Literal["rendered", "coarse"]
# By name; None where there was nothing to be found.
Statistics = dict[str, float | None]
# By group: {"rendered": {"mask_ap": 0.4, ...}, ...}
Results = dict[str, Statistics]
# What is known beside the scores, by name and fit for JSON: where classes are confused, curves,
# sizes, the best and the worst images.
Details = dict[str, Any]


# What the names of groups begin with that are not to be mixed with the others: instance AP by
# Cityscapes' rules, and the scores of several views of each image.
CITYSCAPES, AUGMENTED = "cityscapes_", "test_time_augmentation_"


class Evaluation(NamedTuple):
    """What an evaluation gives, and results.json has."""

    results: Results
    details: Details


def prefixed(results: Results, prefix: str) -> Results:
    """The groups under names that begin with `prefix`."""
    return {f"{prefix}{group}": values for group, values in results.items()}


def of_prefix(results: Results, prefix: str) -> Results:
    """The groups whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in results.items() if k.startswith(prefix)}


def check_disjoint(ids: Iterable[int], others: Iterable[int]) -> None:
    """Raises ValueError if an id, of an image or an object, is in both: it would count twice."""
    twice = sorted(set(ids) & set(others))
    if twice:
        raise ValueError(f"{len(twice)} entries were added twice, the first is {twice[0]}.")
