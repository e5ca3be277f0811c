"""One process of a run of a few steps on drawn images; `replicas.py` starts them.

    python -m benchmarks.replica_program --processes 2 --index 0 --port 12345 --devices 2 \
        --strategy pmap --output FILE.npz

The lead process writes losses and parameters; all processes work on the same global batch.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.compilations import counted_compilations
from pointrend_jax.configs import tiny
from pointrend_jax.data.build_objects import build_datasets
from pointrend_jax.devices.placement import local_value
from pointrend_jax.devices.processes import Cluster, is_lead, join_processes
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.step import DEFAULT_OPTIONS, initial_state
from pointrend_jax.training.trees import flat
from pointrend_jax.weights import starting_variables


def main() -> None:
    args = _arguments()
    jax.config.update("jax_num_cpu_devices", args.devices)
    if args.processes > 1:
        join_processes(Cluster(f"localhost:{args.port}", args.processes, args.index))
    config = tiny.get_config()
    config.train.batch_size, config.data.cache_dir = args.batch, str(args.data)
    config.train.learning_rate, config.train.warmup_steps, config.train.milestones = 0.01, 0, ()
    task = build_task(config)
    datasets = build_datasets(config)
    variables, _ = starting_variables(config, task)
    optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)
    replicas = build_replicas(args.strategy, task, optimizer)
    state = initial_state(variables, optimizer, DEFAULT_OPTIONS)
    state, key = replicas.replicate((state, jax.random.key(7)))
    losses, seconds, of_steps = [], [], 0
    batches = datasets.train_batches(jax.process_index(), jax.process_count())
    for _ in range(args.steps):
        batch = replicas.place(next(batches))
        start = time.monotonic()
        with counted_compilations() as compiled:
            state, metrics = replicas.step(state, batch, key)
        losses.append({name: float(local_value(value)) for name, value in metrics.items()})
        seconds.append(time.monotonic() - start)
        of_steps += len(compiled)
    if is_lead():
        content: dict[str, Any] = {"seconds": np.array(seconds), "compiled": of_steps}
        content |= {
            f"params/{k}": np.asarray(local_value(v)) for k, v in flat(state.params).items()
        }
        content |= {f"losses/{k}": np.array([step[k] for step in losses]) for k in losses[0]}
        np.savez(args.output, **content)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="pmap")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--data", type=Path, required=True, help="folder for the drawn images")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
