r"""Memory that one training step needs, by compute type and with and without rematerialisation.

    PYTHONPATH=. python benchmarks/training_memory.py --batch 2 --side 512

Nothing runs. `kept` is what the gradient asks of the forward pass, counted while the step is
traced, before any compiler. Then the step is compiled for the devices that are there, and the
compiler is asked what it has laid out (`memory_analysis`) and how much it will compute
(`cost_analysis`, which counts a loop once), on each: `temp` is everything but the arguments and the
results, that is activations, gradients, scratch. A row of float32 in which no stage is frozen comes
first, then one for each of float32 and bfloat16, kept and rematerialised.

On a CPU the compiler merges what remat computes twice with what it computed first, so there only
`kept` tells something about an accelerator. `XLA_FLAGS=--xla_backend_optimization_level=0` makes it
compile faster.
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pointrend_jax.config import load_config
from pointrend_jax.structures import Config, ObjectBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.memory import kept_for_gradient
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.step import StepOptions, initial_state


class Row(NamedTuple):
    """MiB kept for the gradient, of temporary memory, arguments and results; 10^9 operations;
    seconds to compile."""

    kept: float
    temp: float
    arguments: float
    results: float
    gflop: float
    seconds: float


def batch_shapes(batch_size: int, side: int, slots: int) -> ObjectBatch:
    """A batch of square images, as shapes."""

    def of(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct((batch_size, *shape), dtype)

    return ObjectBatch(
        images=of(jnp.uint8, side, side, 3),
        image_hw=of(jnp.int32, 2),
        padded_hw=of(jnp.int32, 2),
        image_index=of(jnp.int32),
        boxes=of(jnp.float32, slots, 4),
        classes=of(jnp.int32, slots),
        mask_bits=of(jnp.uint8, slots, side, side // 8),
        valid=of(jnp.bool_, slots),
    )


def measure(config: Config, batch: ObjectBatch) -> Row:
    """What the compiler says of a step."""
    task = build_task(config)
    variables = task.shapes()
    optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)
    state = jax.eval_shape(lambda v: initial_state(v, optimizer, StepOptions()), variables)

    step: Any = build_replicas("shard_map", task, optimizer).step
    began = time.perf_counter()
    compiled = step.lower(state, batch, jax.random.key(0)).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory is not None, "this backend does not say how much memory a program needs"
    return Row(
        kept_for_gradient(task, variables, batch) / 2**20,
        memory.temp_size_in_bytes / 2**20,
        memory.argument_size_in_bytes / 2**20,
        memory.output_size_in_bytes / 2**20,
        cost["flops"] / 1e9,
        time.perf_counter() - began,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path("configs/pointrend_rcnn_r50_fpn_1x_coco.py")
    parser.add_argument("--config", type=Path, default=default, help="of an instance model")
    parser.add_argument("--batch", type=int, default=2, help="images, of all devices together")
    parser.add_argument("--side", type=int, default=512, help="px, a multiple of 32")
    parser.add_argument("--slots", type=int, default=32, help="objects an image")
    args = parser.parse_args()
    batch = batch_shapes(args.batch, args.side, args.slots)
    own = load_config(args.config)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {args}")
    print(
        "| compute_dtype | remat | freeze_at | kept MiB | temp | arguments | results | GFLOP | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    kept = own.model.freeze_at
    for dtype, remat, freeze_at in (
        ("float32", False, 0),
        ("float32", False, kept),
        ("float32", True, kept),
        ("bfloat16", False, kept),
        ("bfloat16", True, kept),
    ):
        config = own.copy_and_resolve_references()
        config.model.compute_dtype, config.train.remat = dtype, remat
        config.model.freeze_at = freeze_at
        row = " | ".join(f"{value:.0f}" for value in measure(config, batch))
        print(f"| {dtype} | {remat} | {freeze_at} | {row} |", flush=True)


if __name__ == "__main__":
    main()
