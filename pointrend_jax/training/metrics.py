"""Where a run's numbers go: one JSON object a line, TensorBoard, and a line for the eye."""

import json
import time
from pathlib import Path
from types import TracebackType

from tensorboardX import SummaryWriter


class MetricWriter:
    """Appends to `metrics.jsonl` and to TensorBoard event files of a work directory."""

    def __init__(self, workdir: Path) -> None:
        self._jsonl = (workdir / "metrics.jsonl").open("a", encoding="utf-8")
        self._summary = SummaryWriter(str(workdir / "tensorboard"))

    def write(self, step: int, values: dict[str, float]) -> None:
        """One record; the step is the number of steps done."""
        self._jsonl.write(json.dumps({"step": step} | values) + "\n")
        self._jsonl.flush()
        for name, value in values.items():
            self._summary.add_scalar(name, value, step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._jsonl.close()
        self._summary.close()


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
