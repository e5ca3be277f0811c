"""Losses, gradients and two steps of the optimiser of a kit's model, of either kind."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from parity.compare import Row, row
from parity.kit import KitModel
from parity.stages import Golden
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.trees import array_shapes

# Detectron2's names of what a kit may change for its run.
_OVERRIDES = {
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": "model.rpn.pre_nms_topk_train",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "model.rpn.post_nms_topk_train",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "model.box.samples_per_image",
    "SOLVER.BASE_LR": "train.learning_rate",
}
LOSS = 1e-4
_ROUNDINGS = 4


class Tolerances(NamedTuple):
    """loss, later_loss: relative, at the start and after two steps. norm: relative. slice: of the
    largest value of the slice."""

    loss: float = LOSS
    later_loss: float = LOSS
    norm: float = 1e-3
    slice: float = 1e-2


class Training(NamedTuple):
    """A kit's model in training.

    losses: from variables and noise to the losses, undivided. noise: of the first pass.
    noise_again: of a pass of the model that has moved, with the same random calls.
    """

    losses: Callable[[Any, Any], dict[str, LossTerm]]
    noise: Any
    noise_again: Callable[[KitModel], Any]
    tolerances: Tolerances = Tolerances()


def training_changes(folder: Path, golden: Golden) -> dict[str, Any]:
    """Fields of ours that a kit's run has other values of.

    Raises: ValueError for an override that has no field of ours.
    """
    overrides = json.loads(str(golden["overrides"]))
    unknown = sorted(overrides.keys() - _OVERRIDES.keys())
    if unknown:
        raise ValueError(f"{folder}/train.npz overrides {unknown}, which has no field of ours.")
    changes = {_OVERRIDES[name]: value for name, value in overrides.items()}
    # The kit takes its two steps at this rate from the start.
    return changes | {
        "train.warmup_steps": 0,
        "train.milestones": (),
        "train.schedule": "multistep",
    }


def step_rows(file: str, golden: Golden, kit: KitModel, training: Training) -> Iterator[Row]:
    """Losses and gradients, two steps with these gradients, and the losses after them."""
    buffers, shapes = kit.variables["buffers"], array_shapes(kit.variables)

    def total_loss(params: Any, noise: Any) -> tuple[Any, Any]:
        terms = training.losses({"params": params, "buffers": buffers}, noise)
        losses = {k: t.total / jnp.maximum(t.denominator, 1.0) for k, t in terms.items()}
        return sum(losses.values(), jnp.zeros(())), losses

    params, tolerances = kit.variables["params"], training.tolerances
    value_and_gradients = jax.jit(jax.value_and_grad(total_loss, has_aux=True))
    (_, losses), gradients = value_and_gradients(params, training.noise)
    yield from _loss_rows(file, "", losses, golden, "loss", tolerances.loss)

    trained = {
        path
        for path in array_shapes({"params": params})
        if kit.task.is_trainable(tuple(path.split("/")[1:]))
    }

    def named(tree: Any) -> dict[str, np.ndarray]:
        """Trained arrays by Detectron2 name."""
        leaves = jax.tree_util.tree_flatten_with_path({"params": tree})[0]
        paths = {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
        return export_detectron2({p: np.asarray(paths[p]) for p in sorted(trained)}, shapes)

    yield from _gradient_rows(file, golden, named(gradients), tolerances)
    start = _slices(golden, named(params))
    yield row(file, "slices at the start", start, golden["slice/init"], 0)
    yield _decay_row(file, golden, kit, len(trained))

    optimizer, _ = build_optimizer(kit.config, params, kit.task.is_trainable)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    # The kit's weights are given up here: the largest model takes 1.4 GB for each copy.
    state = optimizer.init(params)
    for number in (1, 2):
        params, state = step(params, state, gradients)
        ours = _slices(golden, named(params))
        yield from _moved_rows(file, golden, number, ours, tolerances.slice)
    del state, gradients
    moved = kit._replace(variables={"params": params, "buffers": buffers})
    again = training.noise_again(moved)
    losses_again = jax.jit(lambda params: total_loss(params, again)[1])
    yield from _later_rows(file, golden, params, trained, losses_again, tolerances.later_loss)


def _later_rows(
    file: str,
    golden: Golden,
    params: Any,
    trained: set[str],
    losses_of: Callable[[Any], Any],
    tolerance: float,
) -> Iterator[Row]:
    """The losses after two steps.

    The points of a loss are a choice: where two of them are equally uncertain but for rounding,
    either is right. If such a loss misses, the nearest of a few other roundings of the parameters
    is taken, and its name says so. (One of R50's jumps between two values 7e-4 apart, while what is
    not a choice moves by 2e-6.)
    """
    label, group = "after two steps: ", "loss_after_2_steps"
    for each in _loss_rows(file, label, losses_of(params), golden, group, tolerance):
        if each.passed or not each.quantity.endswith("_point"):
            yield each
            continue
        name = each.quantity.removeprefix(label)
        roundings = [losses_of(_other_rounding(params, trained, i)) for i in range(_ROUNDINGS)]
        expected = golden[f"{group}/{name}"]
        nearest = min((losses[name] for losses in roundings), key=lambda x: abs(x - expected))
        quantity = f"{each.quantity}, nearest of {_ROUNDINGS} roundings"
        yield row(file, quantity, nearest, expected, each.tolerance)


def _other_rounding(params: Any, trained: set[str], seed: int) -> Any:
    """Every number of the trained arrays stays, or becomes a neighbour among float32 numbers."""
    rng = np.random.default_rng(seed)

    def rounded(path: Any, x: Any) -> Any:
        if "/".join(["params", *(entry.key for entry in path)]) not in trained:
            return x
        towards = rng.choice(np.array([-np.inf, np.nan, np.inf], np.float32), x.shape)
        array = np.asarray(x)
        return jnp.asarray(np.where(np.isnan(towards), array, np.nextafter(array, towards)))

    return jax.tree_util.tree_map_with_path(rounded, params)


def _decay_row(file: str, golden: Golden, kit: KitModel, num_trained: int) -> Row:
    """How many arrays decay and how many do not."""
    groups = json.loads(str(golden["optimizer/groups"]))
    # Without a gradient only decay moves a parameter.
    ones = jax.tree.map(lambda _: jnp.ones(()), kit.variables["params"])
    optimizer, _ = build_optimizer(kit.config, ones, kit.task.is_trainable)
    still = jax.tree.map(jnp.zeros_like, ones)
    updates, _ = optimizer.update(still, optimizer.init(ones), ones)
    decayed = sum(float(x) != 0 for x in jax.tree.leaves(updates))
    theirs = [
        sum(g["tensors"] for g in groups if (g["weight_decay"] > 0) == decays)
        for decays in (True, False)
    ]
    name = "arrays with weight decay and without"
    return row(file, name, (decayed, num_trained - decayed), theirs, 0)


def _loss_rows(
    file: str, label: str, losses: Any, golden: Golden, group: str, relative: float
) -> Iterator[Row]:
    theirs = {k.partition("/")[2]: float(v) for k, v in golden.items() if k.startswith(f"{group}/")}
    yield row(file, f"{label}losses by other names", len(losses.keys() ^ theirs.keys()), 0, 0)
    for name in sorted(losses.keys() & theirs.keys()):
        tolerance = relative * abs(theirs[name])
        yield row(file, f"{label}{name}", losses[name], theirs[name], tolerance)


def _gradient_rows(
    file: str, golden: Golden, gradients: dict[str, np.ndarray], tolerances: Tolerances
) -> Iterator[Row]:
    names = [str(name) for name in golden["grad/names"]]
    yield row(file, "trained arrays by other names", len(gradients.keys() ^ set(names)), 0, 0)
    worst = 0.0
    for name, norm in zip(names, golden["grad/norms"], strict=True):
        ours = _norm(gradients[name])
        # Not `max`, which would drop a NaN.
        worst = float(np.maximum(worst, abs(ours - norm) / max(norm, 1e-12)))
    yield row(file, f"gradient norms of {len(names)} arrays, relative", worst, 0.0, tolerances.norm)
    slices = _slices(golden, gradients), golden["slice/grad"]
    yield _worst_row(file, "gradient slices", *slices, tolerances.slice)


def _moved_rows(
    file: str, golden: Golden, number: int, ours: np.ndarray, tolerance: float
) -> Iterator[Row]:
    """How far the parameters moved; rounding of the parameters themselves is allowed."""
    start = golden["slice/init"].astype(np.float64)
    theirs = golden[f"slice/step{number}"].astype(np.float64)
    name = f"change of slices after step {number}"
    rounding = 2 * np.abs(start).max(axis=1) * 2.0**-24
    apart = ours.astype(np.float64) - start, theirs - start
    yield _worst_row(file, name, *apart, tolerance, rounding)


def _worst_row(
    file: str,
    name: str,
    ours: np.ndarray,
    golden: np.ndarray,
    tolerance: float,
    rounding: Any = 0.0,
) -> Row:
    """The worst of all slices, each relative to its own largest value."""
    apart = np.maximum(np.abs(ours - golden).max(axis=1) - rounding, 0)
    worst = np.max(apart / np.maximum(np.abs(golden).max(axis=1), 1e-30))
    return row(file, f"{name}, relative", worst, 0.0, tolerance)


def _slices(golden: Golden, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """48 elements of each of the kit's chosen arrays."""
    rows = []
    for name in golden["slice/names"]:
        array = arrays[str(name)]
        index = np.arange(0, array.size, max(1, array.size // 48))[:48]
        # Picked one by one: the largest array would take another 1.2 GB if it were laid out anew.
        rows.append(np.resize(array[np.unravel_index(index, array.shape)], 48))
    return np.stack(rows)


def _norm(array: np.ndarray) -> float:
    """Summed in float64 without a copy of that type."""
    flat = array.ravel(order="K")
    return float(np.sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64)))
