"""Mask2Former's mask loss and matching costs at points, against PyTorch's numbers.

`second_kit/make_point_loss.py` makes the file.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from parity.compare import Check
from parity.point_loss_inputs import NUM_POINTS, inputs
from pointrend_jax import point_loss
from pointrend_jax.pointrend import CandidatePoints


def point_loss_file(g: dict) -> Iterator[Check]:
    given = {name: jnp.asarray(value) for name, value in inputs().items()}
    own_logits, valid = jnp.take(given["mask_logits"], given["matched"], axis=0), jnp.ones(3, bool)
    candidates = CandidatePoints(given["oversampled"], given["uniform"])
    choose = partial(point_loss.loss_points, num_points=NUM_POINTS)
    points = jax.jit(choose)(candidates, own_logits)

    ours = np.sort(np.asarray(points)[:, : int(g["num_uncertain"])].view("f4,f4"), axis=1)
    chosen = np.unpackbits(np.asarray(g["chosen"]), axis=1)[:, : 3 * NUM_POINTS].astype(bool)
    theirs = [np.asarray(of)[kept] for of, kept in zip(given["oversampled"], chosen, strict=True)]
    theirs = np.sort(np.stack(theirs).view("f4,f4"), axis=1)
    yield Check("chosen points", ours.view("f4"), theirs.view("f4"), 0.0)

    for name in ("cross_entropy", "dice"):

        def loss(logits: jax.Array, name: str = name) -> jax.Array:
            losses = point_loss.mask_losses_at(points, logits, given["masks"], valid)
            term = getattr(losses, name)
            return term.total / term.denominator

        value, gradient = jax.jit(jax.value_and_grad(loss))(own_logits)
        yield Check(f"loss, {name}", np.asarray(value), g[f"loss_{name}"])
        yield Check(f"gradient, {name}", np.asarray(gradient), g[f"grad_{name}"])

    costs = jax.jit(point_loss.matching_costs)(
        given["cost_points"], given["class_logits"], given["mask_logits"], given["classes"],
        given["masks"], valid,
    )  # fmt: skip
    for name, cost in costs._asdict().items():
        yield Check(f"cost, {name}", np.asarray(cost), g[f"cost_{name}"])
    yield Check("cost, total", np.asarray(costs.total()), g["cost_total"])
