"""The training loop: steps, progress, checkpoints, evaluation, resuming; nothing of the network."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import optax

from pointrend_jax.console import tell
from pointrend_jax.devices.compilations import Compilations
from pointrend_jax.devices.placement import local_value
from pointrend_jax.devices.processes import is_lead
from pointrend_jax.storage import AnyPath, check_workdir
from pointrend_jax.structures import Array, check_shapes
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.checkpoints import CheckpointMeta, Checkpoints, Retention
from pointrend_jax.training.interruptions import StopSignal, TrainingStopped, Watchdog
from pointrend_jax.training.metrics import MetricWriter, Progress
from pointrend_jax.training.optimizer import Schedule
from pointrend_jax.training.replicas import Replicas, build_replicas
from pointrend_jax.training.resume import check_same_run
from pointrend_jax.training.step import (
    DEFAULT_OPTIONS,
    Batch,
    StepOptions,
    TrainState,
    initial_state,
    variables_of,
)

# Batches on their way to the devices while a step runs.
_AHEAD = 2


class LoopSettings(NamedTuple):
    """How long and how often; every number counts steps (0 = only at the end).

    Attributes:
      batch_size: images of all processes.
      best_metric: of the evaluation; its checkpoint with the highest value is kept. "" for none.
      watchdog_minutes: without a finished step, until a line says so; 0 for none.
      num_canvases: that training images may come on, to say how far compiling is.
      strategy: "pmap" or "shard_map".
      accept_changes: resume although settings differ that decide the numbers.
    """

    steps: int
    batch_size: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    retention: Retention
    seed: int
    num_canvases: int
    best_metric: str = ""
    watchdog_minutes: float = 0.0
    strategy: str = "pmap"
    options: StepOptions = DEFAULT_OPTIONS
    accept_changes: bool = False
    evaluate_at_end: bool = True


class NonFiniteLossError(ValueError):
    """A loss became NaN or infinite; the message names which."""


def run_training(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    variables: Variables,
    batches: Callable[[int], Iterator[Batch]],
    evaluate: Callable[[Variables, int], dict[str, float]],
    settings: LoopSettings,
    meta: CheckpointMeta,
    workdir: AnyPath,
) -> Variables:
    """Trains to `settings.steps`, from the newest checkpoint of `workdir` if there is one.

    Args:
      variables: the starting point of a fresh run.
      batches: from the number of steps done to the batches of those that follow, without end; this
        process's images.
      evaluate: scores variables after a step; its numbers join the metrics.
    Returns: the trained variables.
    Raises: TrainingStopped if the run was told to stop; its state is saved.
    """
    check_workdir(workdir)
    state = initial_state(variables, optimizer, settings.options)
    with Checkpoints(workdir, settings.retention) as checkpoints:
        found = checkpoints.restore_newest(state)
        first = 0
        if found is not None:
            state, first, saved = found
            check_same_run(saved, meta, accept_changes=settings.accept_changes)
            checkpoints.set_aside_after(first)
            tell(f"resuming {workdir} after step {first}")
        with MetricWriter(workdir, after_step=first, writes=is_lead()) as writer:
            return _run(task, optimizer, schedule, state, batches(first), evaluate, settings, meta,
                        checkpoints, writer)  # fmt: skip


def _run(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    state: TrainState,
    batches: Iterator[Batch],
    evaluate: Callable[[Variables, int], dict[str, float]],
    settings: LoopSettings,
    meta: CheckpointMeta,
    checkpoints: Checkpoints,
    writer: MetricWriter,
) -> Variables:
    replicas = build_replicas(settings.strategy, task, optimizer, settings.options)
    first = int(state.step)
    state, key = replicas.replicate((state, jax.random.key(settings.seed)))
    compilations = Compilations("the training step")
    losses = _Losses(schedule, settings, writer, first, compilations)

    def evaluate_now(step: int) -> None:
        watchdog.progress(f"the evaluation of step {step} began")
        writer.write(step, evaluate(_local(variables_of(state)), step))
        checkpoints.keep_best(writer.best_step(settings.best_metric))
        losses.start_again(step)

    with StopSignal() as stop, Watchdog(settings.watchdog_minutes) as watchdog:
        checkpoints.keep_best(writer.best_step(settings.best_metric))
        if stop.reached_before(first):
            tell(f"stopped before step {first + 1}; the same command goes on")
            raise TrainingStopped(first)
        # The run may have been stopped during the evaluation of its last step.
        if first and _evaluates(settings, first) and not writer.is_evaluated(first):
            evaluate_now(first)
        placed = _ahead(batches, replicas)
        for step in range(first + 1, settings.steps + 1):
            batch = next(placed)
            with compilations.of(batch, settings.num_canvases):
                state, metrics = replicas.step(state, batch, key)
            losses.add(step, metrics)
            watchdog.progress(f"step {step} was begun")
            stopping = stop.reached(step)
            saving = stopping or _saves(settings, step)
            checkpoints.check()
            if saving or _is_due(step, settings.log_every):
                losses.report(step)
            if saving:
                # A resumed run reads the numbers of the steps that it does not repeat.
                writer.publish()
                checkpoints.save(step, state, meta)
            if stopping:
                checkpoints.wait()
                tell(f"stopped after step {step}, which is saved; the same command goes on")
                raise TrainingStopped(step)
            if _evaluates(settings, step):
                evaluate_now(step)
    return _local(variables_of(state))


class _Losses:
    """Keeps the losses of the steps since the last report, and reports their mean."""

    def __init__(
        self,
        schedule: Schedule,
        settings: LoopSettings,
        writer: MetricWriter,
        first: int,
        compilations: Compilations,
    ) -> None:
        self._schedule, self._settings, self._writer = schedule, settings, writer
        self._compilations = compilations
        self._pending: tuple[int, dict[str, Array]] | None = None
        self._interval: list[dict[str, float]] = []
        self.start_again(first)

    def start_again(self, step: int) -> None:
        """Begins a new interval after `step`, so that an evaluation does not count as training."""
        steps, batch_size = self._settings.steps, self._settings.batch_size
        self._progress = Progress(step, steps, batch_size, self._compilations)

    def add(self, step: int, metrics: dict[str, Array]) -> None:
        """Looks at the losses of the step before, so as not to hold up the device."""
        self._take()
        self._pending = step, metrics

    def report(self, step: int) -> None:
        self._take()
        values = _mean(self._interval)
        self._interval = []
        rate = float(self._schedule(step - 1))
        tell(self._progress.report(step, rate, values))
        speed = {"learning_rate": rate, "images_per_second": self._progress.images_per_second}
        self._writer.write(step, values | speed)

    def _take(self) -> None:
        if self._pending is not None:
            step, metrics = self._pending
            self._interval.append(finite_losses(metrics, step))
            self._pending = None


def _ahead(batches: Iterator[Batch], replicas: Replicas) -> Iterator[Any]:
    """The batches on the devices; the next ones are copied while a step runs."""
    waiting: deque[Any] = deque()
    for number, batch in enumerate(batches):
        if number == 0:
            check_shapes(batch)
        waiting.append(replicas.place(batch))
        if len(waiting) == _AHEAD:
            yield waiting.popleft()
    yield from waiting


def finite_losses(metrics: dict[str, Array], step: int) -> dict[str, float]:
    """The metrics as numbers. Raises NonFiniteLossError, naming the losses that are not finite."""
    values = {name: float(value) for name, value in jax.device_get(_local(metrics)).items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        numbers = ", ".join(f"{name} = {values[name]}" for name in sorted(values))
        raise NonFiniteLossError(
            f"not finite at step {step}: {', '.join(sorted(bad))} ({numbers}). The run stops here; "
            "its last checkpoint is intact. Lower config.train.learning_rate, lengthen "
            "config.train.warmup_steps, or set config.train.clip_gradient_norm."
        )
    return values


def _mean(records: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(r[name] for r in records) / len(records) for name in records[0]}


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _evaluates(settings: LoopSettings, step: int) -> bool:
    last = step == settings.steps and settings.evaluate_at_end
    return last or _is_due(step, settings.eval_every)


def _saves(settings: LoopSettings, step: int) -> bool:
    """Before every evaluation too, which may take long, and whose step may be the best."""
    due = _is_due(step, settings.checkpoint_every) or _evaluates(settings, step)
    return due or step == settings.steps


def _local(tree: Any) -> Any:
    return jax.tree.map(local_value, tree)
