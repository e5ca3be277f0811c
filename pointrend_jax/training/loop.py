"""The training loop: steps, progress, checkpoints, evaluation, resuming; nothing of the network."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grain.python as grain
import jax
import optax

from pointrend_jax.structures import Array, check_shapes
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.checkpoints import CheckpointMeta, Checkpoints
from pointrend_jax.training.metrics import MetricWriter, Progress
from pointrend_jax.training.optimizer import Schedule
from pointrend_jax.training.step import TrainState, parallel_step, replicated, shard


class LoopSettings(NamedTuple):
    """How long and how often; every number counts steps (0 = only at the end)."""

    steps: int
    batch_size: int  # images of this host
    log_every: int
    eval_every: int
    checkpoint_every: int
    keep_checkpoints: int
    seed: int
    evaluate_at_end: bool = True


class NonFiniteLossError(ValueError):
    """A loss became NaN or infinite; the message names which."""


def run_training(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    variables: Variables,
    batches: grain.DatasetIterator,
    evaluate: Callable[[Variables, int], dict[str, float]],
    settings: LoopSettings,
    meta: CheckpointMeta,
    workdir: Path,
) -> Variables:
    """Trains to `settings.steps`, from the newest checkpoint of `workdir` if there is one.

    Args:
      variables: the starting point of a fresh run.
      batches: endless, with a position that can be saved; gives this host's images.
      evaluate: scores variables after a step; its numbers join the metrics.
    Returns: the trained variables.
    """
    check_workdir(workdir)
    state = TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32),
        params=variables["params"],
        buffers=variables["buffers"],
        opt_state=optimizer.init(variables["params"]),
    )
    with Checkpoints(workdir, keep=settings.keep_checkpoints) as checkpoints:
        if checkpoints.latest is not None:
            state, batches = checkpoints.restore(checkpoints.latest, state, batches)
            print(f"resuming {workdir} after step {checkpoints.latest}", flush=True)
        with MetricWriter(workdir) as writer:
            return _run(
                task, optimizer, schedule, state, batches, evaluate, settings, meta, checkpoints,
                writer
            )  # fmt: skip


def _run(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    state: TrainState,
    batches: grain.DatasetIterator,
    evaluate: Callable[[Variables, int], dict[str, float]],
    settings: LoopSettings,
    meta: CheckpointMeta,
    checkpoints: Checkpoints,
    writer: MetricWriter,
) -> Variables:
    num_devices = jax.local_device_count()
    step_fn = parallel_step(task, optimizer)
    state = replicated(state)
    key = jax.random.key(settings.seed)
    first = int(state.step)
    progress = Progress(first, settings.steps, settings.batch_size * jax.process_count())
    previous: dict[str, Array] = {}
    interval: list[dict[str, float]] = []
    for step in range(first + 1, settings.steps + 1):
        batch = next(batches)
        if step == first + 1:
            check_shapes(batch)
        state, metrics = step_fn(state, shard(batch, num_devices), key)
        # One step behind, so that looking at the losses does not hold up the device.
        if previous:
            interval.append(check_finite(previous, step - 1))
        previous = metrics
        last = step == settings.steps
        save = last or _is_due(step, settings.checkpoint_every)
        if save or _is_due(step, settings.log_every):
            interval.append(check_finite(metrics, step))
            values = _mean(interval)
            previous, interval = {}, []
            rate = float(schedule(step - 1))
            print(progress.report(step, rate, values), flush=True)
            speed = {"learning_rate": rate, "images_per_second": progress.images_per_second}
            writer.write(step, values | speed)
        if save:
            checkpoints.save(step, state, batches, meta)
        if _is_due(step, settings.eval_every) or (last and settings.evaluate_at_end):
            writer.write(step, evaluate(_variables(state), step))
            # Evaluation is no training time.
            progress = Progress(step, settings.steps, settings.batch_size * jax.process_count())
    return _variables(state)


def check_finite(metrics: dict[str, Array], step: int) -> dict[str, float]:
    """The metrics as numbers. Raises NonFiniteLossError, naming the losses that are not finite."""
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        numbers = ", ".join(f"{name} = {values[name]}" for name in sorted(values))
        raise NonFiniteLossError(
            f"not finite at step {step}: {', '.join(sorted(bad))} ({numbers}). The run stops here; "
            "its last checkpoint is intact. Lower config.train.learning_rate, lengthen "
            "config.train.warmup_steps, or set config.train.clip_gradient_norm."
        )
    return values


def check_workdir(workdir: Path) -> None:
    """Makes the directory. Raises ValueError if nothing can be written there."""
    probe = workdir / ".write_probe"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"--workdir {workdir} cannot be written to ({error.strerror or error}); "
            "choose a directory that is writable and not full."
        ) from error


def _mean(records: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(r[name] for r in records) / len(records) for name in records[0]}


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _variables(state: TrainState) -> Variables:
    return {"params": state.params, "buffers": state.buffers}
