"""The operations of label maps against Detectron2's numbers; `ops.py` names the files."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.compare import Check
from pointrend_jax.ops import losses, resize
from pointrend_jax.structures import DATA_AXIS, IGNORE_LABEL


def original_resolution(g: dict) -> Iterator[Check]:
    """The part of a map that shows the image, at the size of the original image."""
    logits = np.moveaxis(np.asarray(g["sem_in"]), 0, -1)[None]
    size = (int(g["sem_size"][0]), int(g["sem_size"][1]))
    inside_hw, output_hw = np.asarray(g["sem_valid"])[None], np.asarray(g["sem_size"])[None]
    resize_within = jax.jit(partial(resize.resize_within, canvas_hw=size))
    resized = resize_within(logits, inside_hw, output_hw)
    yield Check("sem_seg_postprocess", np.moveaxis(np.asarray(resized)[0], -1, 0), g["sem_out"])
    best_labels = jax.jit(partial(resize.best_labels, canvas_hw=size))
    labels = best_labels(logits, inside_hw, output_hw)
    yield Check("best classes after it", np.asarray(labels)[0], np.argmax(g["sem_out"], axis=0))


def pixel_losses(g: dict) -> Iterator[Check]:
    """Cross entropy of all labelled pixels, and of the hardest fifth of all."""
    labels = jnp.asarray(g["sem_target"], jnp.int32)
    valid = labels != IGNORE_LABEL

    def all_pixels(logits: jax.Array) -> losses.LossTerm:
        return losses.cross_entropy(logits, labels, valid)

    def hard_pixels(logits: jax.Array) -> losses.LossTerm:
        # The choice of pixels asks for the axis of the devices: here it has one.
        def on_device(x: jax.Array) -> losses.LossTerm:
            return losses.hard_pixel_cross_entropy(x, labels, valid, fraction=0.2)

        terms = jax.vmap(on_device, axis_name=DATA_AXIS)(logits[None])
        return jax.tree.map(lambda x: x[0], terms)

    for name, term_of in (("ce", all_pixels), ("hard20", hard_pixels)):

        def loss(logits: jax.Array, term_of: Any = term_of) -> jax.Array:
            term = term_of(logits)
            return term.total / term.denominator

        value, gradient = jax.jit(jax.value_and_grad(loss))(
            np.moveaxis(np.asarray(g["sem_logits"]), 1, -1)
        )
        yield Check(f"{name} loss", np.asarray(value), g[f"{name}_loss"])
        yield Check(f"{name} gradient", np.moveaxis(np.asarray(gradient), -1, 1), g[f"{name}_grad"])
