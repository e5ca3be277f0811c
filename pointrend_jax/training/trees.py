"""Trees of arrays: their names and shapes."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from pointrend_jax.messages import first, first_lines

# An error lists this many arrays.
_LISTED = 10


class WrongCheckpointError(ValueError):
    """A readable checkpoint that belongs to something else; an older one would not help."""


def check_same_tree(saved: Any, expected: Any, what: str) -> None:
    """Raises WrongCheckpointError, listing missing, extra and misshapen arrays of `saved`."""
    ours, theirs = array_shapes(expected), array_shapes(saved)
    problems = [f"missing: {name} {ours[name]}" for name in _sorted(ours.keys() - theirs.keys())]
    problems += [f"extra: {name} {theirs[name]}" for name in _sorted(theirs.keys() - ours.keys())]
    problems += [
        f"shape of {name}: saved {theirs[name]}, the model has {ours[name]}"
        for name in _sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    if problems:
        raise WrongCheckpointError(
            f"{what} does not fit this model ({len(problems)} arrays differ):\n  "
            + "\n  ".join(first_lines(problems, _LISTED))
            + "\nUse the configuration it was trained with, or another --workdir."
        )


def _sorted(names: Iterable[str]) -> list[str]:
    """Parameters first: momentum and averages repeat what is wrong with them."""
    return sorted(names, key=lambda name: (not name.startswith("params/"), name))


def check_finite(variables: Any, what: str) -> None:
    """Raises ValueError, naming the first, if arrays of a model have NaN or infinite values."""
    arrays = flat(variables)
    wrong = [path for path, array in arrays.items() if not np.isfinite(np.asarray(array)).all()]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(arrays)} arrays of {what} have values that are NaN or infinite, "
            f"{first(wrong)}: the training that wrote them has diverged; use "
            "an earlier checkpoint, or train with a lower rate."
        )


def array_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a tree, by path ("params/fpn/lateral2/kernel")."""
    return {path: tuple(array.shape) for path, array in flat(tree).items()}


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of arrays that are given by path."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = array
    return tree


def flat(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by path, the inverse of `nested`."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path: tuple[Any, ...]) -> str:
    """One spelling for attributes, indices and keys: orbax saves tuples and records as dicts."""
    parts = (getattr(p, "key", getattr(p, "name", getattr(p, "idx", p))) for p in path)
    return "/".join(str(part) for part in parts)
