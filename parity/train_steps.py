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

from parity.compare import Absent, Golden, Result, Row, part, row
from parity.kit import KitModel
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
# How far a loss may be off once a tie among its points is broken their way; relative.
_BROKEN_TIE = 2e-5
# Two uncertainties this close are equal but for rounding, in logits.
_TIE = 1e-4


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
    gap: from variables and noise to how far apart the last chosen point of a region and the first
    that was not chosen are at least, in uncertainty; None for a model that chooses no points.
    """

    losses: Callable[[Any, Any], dict[str, LossTerm]]
    noise: Any
    noise_again: Callable[[KitModel], Any]
    gap: Callable[[Any, Any], Any] | None
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


class Pass(NamedTuple):
    """Losses of given parameters. losses_of: of any parameters. gap: as in `Training`."""

    params: Any
    losses_of: Callable[[Any], Any]
    gap: Callable[[], float] | None
    trained: set[str]


def step_rows(file: str, golden: Golden, kit: KitModel, training: Training) -> Iterator[Result]:
    """Losses and gradients, two steps with these gradients, and the losses after them."""
    buffers, shapes = kit.variables["buffers"], array_shapes(kit.variables)

    def total_loss(params: Any, noise: Any) -> tuple[Any, Any]:
        terms = training.losses({"params": params, "buffers": buffers}, noise)
        losses = {k: t.total / jnp.maximum(t.denominator, 1.0) for k, t in terms.items()}
        return sum(losses.values(), jnp.zeros(())), losses

    def one_pass(params: Any, noise: Any, losses_of: Callable[[Any], Any]) -> Pass:
        def gap() -> float:
            assert training.gap is not None
            return float(jax.jit(training.gap)({"params": params, "buffers": buffers}, noise))

        return Pass(params, losses_of, None if training.gap is None else gap, trained)

    trained = {
        path
        for path in array_shapes(kit.variables)
        if path.startswith("params/") and kit.task.is_trainable(tuple(path.split("/")[1:]))
    }
    params, tolerances = kit.variables["params"], training.tolerances
    value_and_gradients = jax.jit(jax.value_and_grad(total_loss, has_aux=True))
    (_, losses), gradients = value_and_gradients(params, training.noise)
    first = one_pass(
        params, training.noise, lambda params: value_and_gradients(params, training.noise)[0][1]
    )
    rows = loss_rows(file, "", losses, golden, "loss", tolerances.loss, first)
    yield from part(file, "losses", rows)

    def named(tree: Any) -> dict[str, np.ndarray]:
        """Trained arrays by Detectron2 name."""
        leaves = jax.tree_util.tree_flatten_with_path({"params": tree})[0]
        paths = {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
        return export_detectron2({p: np.asarray(paths[p]) for p in sorted(trained)}, shapes)

    def slices_of(params: Any) -> Row:
        ours = named(value_and_gradients(params, training.noise)[1])
        return _slice_row(file, golden, ours, tolerances)

    rows = _gradient_rows(file, golden, named(gradients), tolerances, first, slices_of)
    yield from part(file, "gradients", rows)
    yield from part(file, "slices at the start", _start_rows(file, golden, named(params)))
    yield from part(file, "weight decay", _decay_rows(file, golden, kit, len(trained)))

    optimizer, _ = build_optimizer(kit.config, params, kit.task.is_trainable)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    # The kit's weights are given up here: the largest model takes 1.4 GB for each copy.
    del first
    state = optimizer.init(params)
    for number in (1, 2):
        params, state = step(params, state, gradients)
        rows = _moved_rows(file, golden, number, named(params), tolerances.slice)
        yield from part(file, f"step {number}", rows)
    del state, gradients

    def later_rows() -> Iterator[Row]:
        group = "loss_after_2_steps"
        _losses_of_kit(golden, group)
        again = training.noise_again(kit._replace(variables={"params": params, "buffers": buffers}))
        losses_again = jax.jit(lambda params: total_loss(params, again)[1])
        later = one_pass(params, again, losses_again)
        label, ours = "after two steps: ", losses_again(params)
        yield from loss_rows(file, label, ours, golden, group, tolerances.later_loss, later)

    yield from part(file, "after two steps", later_rows())


def broken_tie(missed: Row, of: Pass, again: Callable[[Any], Row]) -> Row:
    """The row of what follows from the points of a loss that missed, if these were a tie.

    The points of a loss are a choice: where two of them are equally uncertain but for rounding,
    either is right. Then one of a few other roundings of the parameters must pass, and the row says
    how close the tie was. (One loss of R50's jumps between two values 7e-4 apart, while what is not
    a choice moves by 2e-6.)

    Args:
      again: the row of other parameters.
    """
    if of.gap is None:
        return missed
    gap = of.gap()
    if not gap <= _TIE:
        return missed._replace(quantity=f"{missed.quantity} (no tie: {gap:.0e} apart)")
    rows = [again(_other_rounding(of.params, of.trained, i)) for i in range(_ROUNDINGS)]
    nearest = min(rows, key=lambda row: row.difference)
    name = f"{missed.quantity}, nearest of {_ROUNDINGS} roundings, a tie of {gap:.0e}"
    return nearest._replace(quantity=name)


def smallest_gap(uncertainty: Any, number: int, valid: Any) -> Any:
    """Between the `number`-th and the next of each region's [N, k] uncertainties, at least."""
    if number >= uncertainty.shape[1]:
        return jnp.inf
    highest, _ = jax.lax.top_k(uncertainty, number + 1)
    return jnp.min(jnp.where(valid, highest[:, number - 1] - highest[:, number], jnp.inf))


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


def _start_rows(file: str, golden: Golden, start: dict[str, np.ndarray]) -> Iterator[Row]:
    yield row(file, "slices at the start", _slices(golden, start), golden["slice/init"], 0)


def _decay_rows(file: str, golden: Golden, kit: KitModel, num_trained: int) -> Iterator[Row]:
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
    yield row(file, name, (decayed, num_trained - decayed), theirs, 0)


def _losses_of_kit(golden: Golden, group: str) -> dict[str, float]:
    losses = {k.partition("/")[2]: float(v) for k, v in golden.items() if k.startswith(f"{group}/")}
    if not losses:
        raise Absent(f"{group}/*")
    return losses


def loss_rows(
    file: str, label: str, losses: Any, golden: Golden, group: str, relative: float, of: Pass
) -> Iterator[Row]:
    theirs = _losses_of_kit(golden, group)
    yield row(file, f"{label}losses by other names", len(losses.keys() ^ theirs.keys()), 0, 0)
    for name in sorted(losses.keys() & theirs.keys()):
        expected, quantity = theirs[name], f"{label}{name}"
        compared = row(file, quantity, losses[name], expected, relative * abs(expected))

        def again(params: Any, name: str = name, expected: float = expected) -> Row:
            ours = of.losses_of(params)[name]
            return row(file, name, ours, expected, _BROKEN_TIE * abs(expected))

        is_tie = not compared.passed and name.endswith("_point")
        yield broken_tie(compared, of, again) if is_tie else compared


def _slice_row(
    file: str, golden: Golden, gradients: dict[str, np.ndarray], tolerances: Tolerances
) -> Row:
    slices = _slices(golden, gradients), golden["slice/grad"]
    return _worst_row(file, "gradient slices", *slices, tolerances.slice)


def _gradient_rows(
    file: str,
    golden: Golden,
    gradients: dict[str, np.ndarray],
    tolerances: Tolerances,
    of: Pass,
    slices_of: Callable[[Any], Row],
) -> Iterator[Row]:
    names = [str(name) for name in golden["grad/names"]]
    yield row(file, "trained arrays by other names", len(gradients.keys() ^ set(names)), 0, 0)
    worst = 0.0
    for name, norm in zip(names, golden["grad/norms"], strict=True):
        ours = _norm(gradients[name])
        # Not `max`, which would drop a NaN.
        worst = float(np.maximum(worst, abs(ours - norm) / max(norm, 1e-12)))
    yield row(file, f"gradient norms of {len(names)} arrays, relative", worst, 0.0, tolerances.norm)
    compared = _slice_row(file, golden, gradients, tolerances)
    yield compared if compared.passed else broken_tie(compared, of, slices_of)


def _moved_rows(
    file: str, golden: Golden, number: int, params: dict[str, np.ndarray], tolerance: float
) -> Iterator[Row]:
    """How far the parameters moved; rounding of the parameters themselves is allowed."""
    ours = _slices(golden, params)
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
