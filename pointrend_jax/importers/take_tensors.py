"""Takes a model's arrays out of named tensors, strictly: what does not fit is an error, or named.

How a model's arrays are called in a file, a rule for each says (`detectron2.py`); a checkpoint of
our own needs none (`own_rules`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pointrend_jax.importers.layouts import VECTOR, Layout
from pointrend_jax.importers.wrappers import foreign_library
from pointrend_jax.messages import first_lines, shown

# The shape of every array of a model by its path, as in "params/fpn/lateral2/kernel" or
# "buffers/backbone/stem/bn/mean".
Shapes = Mapping[str, tuple[int, ...]]

# The modules that may change shape with the number of classes.
_PREDICTORS = (
    "box_head/classifier",
    "box_head/deltas",
    "mask_head/coarse_head/predictor",
    "mask_head/point_head",
    "mask_head/parameter_head/predictor",
    "mask_head/predictor",
    "coarse_head/predictor",
    "point_head/point_head",
)
# An array with an entry for each class, and how many further entries it has: background.
_CLASSIFIERS = {"params/box_head/classifier/bias": 1, "params/coarse_head/predictor/bias": 0}


class Rule(NamedTuple):
    """Where an array of ours comes from: its name in the file and the change of layout."""

    name: str
    layout: Layout


class TensorReport(NamedTuple):
    """What became of every tensor, by its name in the file; all are sorted.

    loaded: taken. reset: named by the user, left as initialised. left: not in the file, which may
    lack it, left as initialised. unused: in the file, which may have it, and not taken.
    """

    loaded: tuple[str, ...]
    reset: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


def take_tensors(
    tensors: Mapping[str, np.ndarray],
    rules: Mapping[str, Rule],
    shapes: Shapes,
    *,
    reset: tuple[str, ...] = (),
    only_module: str = "",
    allow_unused: tuple[str, ...] = (),
) -> tuple[dict[str, np.ndarray], TensorReport]:
    """The arrays of the model by path, float32, without those that are reset or left.

    Args:
      rules: of every array of the model, by path.
      reset: modules of ours ("box_head/classifier") that keep their initial values; their tensors
        in the file may have any shape or be missing.
      only_module: the file is of this module alone ("backbone"); what it lacks of others keeps its
        initial values.
      allow_unused: names, or their beginnings, that the file may have and the model has not.
    Raises: ValueError that counts missing, extra and misshapen tensors and those of values that no
      trained model has (NaN, infinite, a negative variance), names the first of each kind, and says
      what to do.
    """
    check_modules_exist(reset, shapes)
    is_reset = {path: _below(path, reset) for path in rules}
    arrays: dict[str, np.ndarray] = {}
    problems: dict[str, list[str]] = {}
    for path, (name, layout) in rules.items():
        of_another = bool(only_module) and not _below(path, (only_module,))
        if is_reset[path] or (of_another and name not in tensors):
            continue
        kind, problem = _problem(tensors.get(name), path, layout.their_shape(shapes[path]))
        if kind:
            problems.setdefault(kind, []).append(f"{shown(name)} {problem} (our {path})")
        else:
            tensor = tensors[name].astype(np.float32, copy=False)
            arrays[path] = np.ascontiguousarray(layout.load(tensor, shapes[path]))
    known = {rule.name for rule in rules.values()}
    extra = [name for name in tensors if name not in known]
    unused = [name for name in extra if name.startswith(allow_unused)]
    surplus = [f"{shown(n)} {tensors[n].shape}" for n in extra if not n.startswith(allow_unused)]
    if surplus:
        problems["extra"] = surplus
    if problems:
        raise ValueError(_complaint(problems, rules, tensors, shapes))
    rest = [path for path in rules if path not in arrays]
    return arrays, TensorReport(
        loaded=tuple(sorted(rules[path].name for path in arrays)),
        reset=tuple(sorted(rules[path].name for path in rest if is_reset[path])),
        left=tuple(sorted(rules[path].name for path in rest if not is_reset[path])),
        unused=tuple(sorted(unused)),
    )


def own_rules(shapes: Shapes) -> dict[str, Rule]:
    """For a checkpoint of our own: the path is the name, nothing changes."""
    return {path: Rule(path, VECTOR) for path in shapes}


def check_modules_exist(modules: tuple[str, ...], shapes: Shapes) -> None:
    """Raises ValueError, listing what there is, unless every module has an array of the model."""
    for module in modules:
        if not any(_below(path, (module,)) for path in shapes):
            known = {_module(path) for path in shapes if "/backbone/" not in path}
            raise ValueError(
                f"config.init.reset names {module!r}, which the model does not have. "
                f"Its modules are: backbone, {', '.join(sorted(known))}."
            )


def class_dependent_modules(shapes: Shapes) -> tuple[str, ...]:
    """The modules whose arrays change shape with the number of classes."""
    return tuple(m for m in _PREDICTORS if any(_below(p, (m,)) for p in shapes if _trained(p)))


def _trained(path: str) -> bool:
    return path.startswith("params/")


def _module(path: str) -> str:
    """Path without collection and leaf."""
    return path.partition("/")[2].rpartition("/")[0]


def _below(path: str, modules: tuple[str, ...]) -> bool:
    rest = path.partition("/")[2]
    return any(rest.startswith(f"{module}/") for module in modules)


def _problem(tensor: np.ndarray | None, path: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """The kind of what is wrong with the tensor of our `path`, and words; ("", "") for nothing."""
    if tensor is None:
        return "missing", f"{shape}"
    if tensor.shape != shape:
        return "shape", f"is {tensor.shape}, the model needs {shape}"
    if tensor.dtype.kind != "f":
        return "type", f"is {tensor.dtype}, not floating point"
    # As they are taken: 64 bits hold numbers that 32 do not.
    with np.errstate(over="ignore"):
        wrong = tensor.size - np.count_nonzero(np.isfinite(tensor.astype(np.float32, copy=False)))
    if wrong:
        return "value", f"has {wrong} of {tensor.size} values that are NaN or infinite in 32 bits"
    if path.endswith("/var") and (tensor < 0).any():
        return "value", f"has the variance {tensor.min()}, which must not be negative"
    return "", ""


def _complaint(
    problems: Mapping[str, Sequence[str]],
    rules: Mapping[str, Rule],
    tensors: Mapping[str, np.ndarray],
    shapes: Shapes,
) -> str:
    lines = []
    for kind, found in problems.items():
        lines += [f"{kind}: {line}" for line in first_lines(found)]
    number, listing = sum(map(len, problems.values())), "\n  ".join(lines)
    if set(problems) == {"value"}:
        return (
            f"{number} tensors have values that no trained model has:\n  {listing}\n"
            "The training that wrote them has diverged, or the file is damaged: take an earlier "
            "state, or get it again."
        )
    text = f"the tensors are not those of this model ({number} problems):\n  {listing}"
    library = foreign_library(tensors)
    if library:
        return (
            f"{text}\nThe names look like those of {library}; only models with Detectron2's names, "
            "and backbones of Caffe2, torchvision and EfficientNet-Lite, are read."
        )
    path = next((path for path in _CLASSIFIERS if path in rules), "")
    score = tensors.get(rules[path].name) if path else None
    if score is None or score.shape == shapes[path]:
        return (
            f"{text}\nUse the configuration of the model that the weights come from, or allow by "
            "name what may differ: extra tensors by config.init.ignore, and, to start a training, "
            "missing and misshapen ones by config.init.reset."
        )
    modules = ",".join(repr(m) for m in class_dependent_modules(shapes))
    return (
        f"{text}\nThe weights are of {score.shape[0] - _CLASSIFIERS[path]} classes, "
        f"config.num_classes is {shapes[path][0] - _CLASSIFIERS[path]}. To train from them with "
        f'new predictors, reset what depends on the classes: --config.init.reset="({modules},)"'
    )
