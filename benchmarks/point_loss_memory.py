r"""Memory of Mask2Former's mask loss at points beside the same loss at every pixel.

    PYTHONPATH=. python benchmarks/point_loss_memory.py

Nothing runs: loss and gradient are compiled for the device that is there, and the compiler is asked
what it has laid out (`memory_analysis`). `temporary` is what comes beyond logits, masks and the
gradient, which both losses have. The masks have the resolution of the logits, or that of the image,
to which the dense loss upsamples the logits, as the loss of MaskFormer does.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pointrend_jax.ops.losses import sigmoid_cross_entropy
from pointrend_jax.point_loss import mask_losses

MIB = 2**20


class Memory(NamedTuple):
    """MiB: of logits and masks, of the gradient, and of everything beside them."""

    arguments: float
    results: float
    temporary: float


def dense_loss(logits: Array, masks: Array) -> Array:
    """Cross entropy and 1 - dice at every pixel of the masks, means over masks."""
    logits = jax.image.resize(logits, masks.shape, "bilinear")
    everywhere = jnp.ones(logits.shape, bool)
    cross_entropy = jnp.mean(sigmoid_cross_entropy(logits, masks, everywhere))
    insides, axes = jax.nn.sigmoid(logits), (1, 2)
    both = jnp.sum(insides, axes) + jnp.sum(masks, axes)
    dice = 1 - (2 * jnp.sum(insides * masks, axes) + 1) / (both + 1)
    return cross_entropy + jnp.mean(dice)


def loss_at_points(logits: Array, masks: Array) -> Array:
    """The same at the points that Mask2Former draws."""
    valid = jnp.ones(len(masks), bool)
    losses = mask_losses(jax.random.key(0), logits, masks, valid)
    return sum((term.total / term.denominator for term in losses), jnp.zeros(()))


def memory(loss: Callable[[Array, Array], Array], queries: int, side: int, masks: int) -> Memory:
    """Of value and gradient of `loss` of square maps, logits of `side` and masks of `masks`."""
    shapes = (jax.ShapeDtypeStruct((queries, n, n), jnp.float32) for n in (side, masks))
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*shapes).compile()
    found: Any = compiled.memory_analysis()
    sizes = found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes
    return Memory(*(size / MIB for size in sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--side", type=int, default=256, help="of the logits")
    parser.add_argument("--image-side", type=int, default=1024)
    args = parser.parse_args()
    print(f"{args.queries} queries, logits of {args.side}x{args.side}, {jax.devices()[0]}; MiB")
    print("masks      loss       arguments  gradient  temporary")
    for masks in (args.side, args.image_side):
        for name, loss in (("dense", dense_loss), ("points", loss_at_points)):
            found = memory(loss, args.queries, args.side, masks)
            numbers = "  ".join(f"{number:9.1f}" for number in found)
            print(f"{masks:<4} x {masks:<4} {name:<8} {numbers}", flush=True)


if __name__ == "__main__":
    main()
