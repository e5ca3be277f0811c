"""What the replicas of a training step tell each other, and how much a step computes.

    PYTHONPATH=. python benchmarks/collectives.py [--config configs/tiny.py] [--canvas 64x96]
        [--strategy shard_map] [--per_replica 1] [--replicas 2] [--json FILE] [--count_only]

Lowers the step of a config for fake CPU devices, from shapes alone (no weights, no data): the
operations of one replica as XLA counts them before it optimises, the body of a loop once. Compiles
it and lists its collectives: how many, how many arrays in each, their bytes.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.hlo_collectives import collectives_of
from pointrend_jax.config import load_config
from pointrend_jax.structures import Config, ObjectBatch, SemanticBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.optimizer import build_optimizer, module_path
from pointrend_jax.training.replicas import build_replicas, goes_by_pmap
from pointrend_jax.training.step import StepOptions, initial_state

_GT_SLOTS = 100


def batch_shapes(config: Config, leading: tuple[int, ...], canvas: tuple[int, int]) -> Any:
    """The shapes of a batch whose images fill the canvas. leading: axes before, images last."""
    height, width = canvas

    def shape(dtype: Any, *dims: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*leading, *dims), dtype)

    images = shape(jnp.uint8, height, width, 3)
    sizes, index = shape(jnp.int32, 2), shape(jnp.int32)
    if config.task == "semantic":
        return SemanticBatch(images, sizes, sizes, index, shape(jnp.uint8, height, width))
    return ObjectBatch(
        images, sizes, sizes, index,
        boxes=shape(jnp.float32, _GT_SLOTS, 4),
        classes=shape(jnp.int32, _GT_SLOTS),
        mask_bits=shape(jnp.uint8, _GT_SLOTS, height, width // 8),
        valid=shape(jnp.bool_, _GT_SLOTS),
    )  # fmt: skip


def lower_step(
    config: Config,
    task: Task,
    strategy: str,
    *,
    replicas: int,
    per_replica: int,
    canvas: tuple[int, int],
    devices: Sequence[Any] | None = None,
) -> jax.stages.Lowered:
    """The training step on `replicas` devices, from shapes alone. devices: see `build_replicas`."""
    shapes = task.shapes()
    optimizer, _ = build_optimizer(config, shapes["params"], task.is_trainable)
    options = StepOptions(config.train.accumulate_steps, config.train.average_decay)
    state = jax.eval_shape(partial(initial_state, optimizer=optimizer, options=options), shapes)
    step: Any = build_replicas(strategy, task, optimizer, options, devices).step
    split = (replicas, per_replica) if goes_by_pmap(strategy) else (replicas * per_replica,)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return step.lower(state, batch_shapes(config, split, canvas), key)


def parameter_bytes(task: Task) -> dict[str, tuple[int, int]]:
    """Number of arrays and bytes of the parameters that are trained, and of those that are not."""
    totals = {"trained": (0, 0), "fixed": (0, 0)}
    for path, x in jax.tree_util.tree_leaves_with_path(task.shapes()["params"]):
        kind = "trained" if task.is_trainable(module_path(path)) else "fixed"
        arrays, size = totals[kind]
        totals[kind] = arrays + 1, size + x.size * x.dtype.itemsize
    return totals


def main() -> None:
    args = _arguments()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", args.replicas)
    config = load_config(args.config)
    task = build_task(config)
    height, width = map(int, args.canvas.split("x"))
    lowered = lower_step(
        config, task, args.strategy,
        replicas=args.replicas, per_replica=args.per_replica, canvas=(height, width),
    )  # fmt: skip
    parameters = parameter_bytes(task)
    operations = (lowered.cost_analysis() or {})["flops"]
    print(f"{args.config}, {args.replicas} x {args.per_replica} images of {height} x {width}")
    print(f"{operations:.4g} floating-point operations of a replica")
    for kind, (arrays, size) in parameters.items():
        print(f"{kind} parameters: {arrays} arrays, {size} bytes")
    record: dict[str, Any] = vars(args) | {"flops": operations, "parameters": parameters}
    if not args.count_only:
        found = collectives_of(lowered.compile().as_text() or "")
        print("| collective | arrays | bytes | the first of them |\n|---|---|---|---|")
        for kind, shapes, size in found:
            print(f"| {kind} | {len(shapes)} | {size} | {' '.join(shapes[:3])} |")
        record["collectives"] = [collective._asdict() for collective in found]
    if args.json:
        args.json.write_text(json.dumps(record, indent=1, default=str) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/tiny.py"))
    parser.add_argument("--strategy", choices=("pmap", "shard_map"), default="shard_map")
    parser.add_argument("--canvas", default="64x96", help="HEIGHTxWIDTH, multiples of 32")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--per_replica", type=int, default=1, help="images")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count_only", action="store_true", help="do not compile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
