"""One process of a run of a few steps on drawn batches; see test_processes.py.

    python -m tests.training.replica_program --processes 2 --index 0 --port 12345 --devices 2 \
        --strategy pmap --output FILE.npz

The lead process writes losses and parameters; all processes work on the same global batch.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.processes import Cluster, is_lead, join_processes, to_lead
from pointrend_jax.training.replicas import build_replicas, local_value
from pointrend_jax.training.step import DEFAULT_OPTIONS, initial_state
from pointrend_jax.training.trees import flat
from tests.compilations import counted_compilations
from tests.shared import REPOSITORY
from tests.tiny import instance_batch, tiny_config, tiny_variables

GLOBAL_BATCH = 8


def main() -> None:
    args = _arguments()
    jax.config.update("jax_num_cpu_devices", args.devices)
    jax.config.update("jax_compilation_cache_dir", str(REPOSITORY / ".cache" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if args.processes > 1:
        join_processes(Cluster(f"localhost:{args.port}", args.processes, args.index))
        _check_that_the_lead_receives_all()
    config = tiny_config()
    config.train.learning_rate, config.train.warmup_steps, config.train.milestones = 0.01, 0, ()
    task = build_task(config)
    variables = tiny_variables(task)
    optimizer, _ = build_optimizer(config, variables["params"], task.is_trainable)
    replicas = build_replicas(args.strategy, task, optimizer)
    state = initial_state(variables, optimizer, DEFAULT_OPTIONS)
    state, key = replicas.replicate((state, jax.random.key(7)))
    losses, seconds, of_steps = [], [], 0
    for number in range(args.steps):
        batch = replicas.place(_part(instance_batch(args.batch, seed=number)))
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


def _check_that_the_lead_receives_all() -> None:
    """Values of unlike sizes: of the second process three pieces and a part of one."""
    own = np.random.default_rng(jax.process_index()).bytes(4_400_000 * 3 * jax.process_index() + 1)
    received = to_lead(own)
    expected = [
        np.random.default_rng(i).bytes(4_400_000 * 3 * i + 1) for i in range(jax.process_count())
    ]
    assert received == (expected if is_lead() else [])


def _part(batch: Any) -> Any:
    """This process's images of the global batch."""
    size = len(batch.images) // jax.process_count()
    first = jax.process_index() * size
    return jax.tree.map(lambda x: x[first : first + size], batch)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="pmap")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=GLOBAL_BATCH)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
