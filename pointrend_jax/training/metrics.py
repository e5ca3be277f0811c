"""Where a run's numbers go: one JSON object a line, TensorBoard, and a line for the eye."""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tensorboardX import SummaryWriter

from pointrend_jax.storage import write_whole


class MetricWriter:
    """Appends to `metrics.jsonl` and to TensorBoard event files of a work directory.

    A run that resumes after a step writes those behind it anew, so they are dropped first.
    """

    def __init__(self, workdir: Path, *, after_step: int = 0, writes: bool = True) -> None:
        """Args: writes, False for all processes but one, which only remember."""
        path = workdir / "metrics.jsonl"
        kept = [record for record in _read(path) if record["step"] <= after_step]
        self._evaluations = [record for record in kept if "loss" not in record]
        self._outputs: tuple[TextIO, SummaryWriter] | None = None
        if writes:
            write_whole(path, "".join(_line(record) for record in kept).encode())
            summary = SummaryWriter(str(workdir / "tensorboard"), purge_step=after_step + 1)
            self._outputs = path.open("a", encoding="utf-8"), summary

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One record; the step is the number of steps done."""
        record = {"step": step} | dict(values)
        if "loss" not in values:
            self._evaluations.append(record)
        if self._outputs is None:
            return
        jsonl, summary = self._outputs
        jsonl.write(_line(record))
        jsonl.flush()
        for name, value in values.items():
            summary.add_scalar(name, value, step)

    def is_evaluated(self, step: int) -> bool:
        """Whether the scores of `step` are here."""
        return any(record["step"] == step for record in self._evaluations)

    def best_step(self, metric: str) -> int | None:
        """The step with the highest `metric`, the newest of equals; None if none has it."""
        scored = [(r[metric], r["step"]) for r in self._evaluations if metric in r]
        return int(max(scored)[1]) if scored else None

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for output in self._outputs or ():
            output.close()


def _line(record: Mapping[str, float]) -> str:
    return json.dumps(record) + "\n"


def _read(path: Path) -> list[dict[str, float]]:
    """The records of a file; the last line may be half-written, if the run was killed."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


class Progress:
    """Rates and the remaining time of a run.

    The first step of each shape compiles, so the rate is that of the steps since the last report.
    """

    def __init__(self, first_step: int, num_steps: int, batch_size: int) -> None:
        self._num_steps, self._batch_size = num_steps, batch_size
        self._step, self._time = first_step, time.monotonic()

    def report(self, step: int, learning_rate: float, losses: dict[str, float]) -> str:
        """The progress line; also starts the next interval."""
        now = time.monotonic()
        seconds = (now - self._time) / max(step - self._step, 1)
        self._step, self._time = step, now
        self.images_per_second = self._batch_size / max(seconds, 1e-9)
        parts = " ".join(
            f"{name.removeprefix('loss_')} {value:.3f}"
            for name, value in losses.items()
            if name.startswith("loss_")
        )
        width = len(str(self._num_steps))
        return (
            f"step {step:{width}d}/{self._num_steps}  loss {losses['loss']:.3f} ({parts})  "
            f"lr {learning_rate:.2g}  {self.images_per_second:.1f} images/s  "
            f"ETA {duration((self._num_steps - step) * seconds)}"
        )


def duration(seconds: float) -> str:
    """1:05:09, or 5:09 below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
