"""Where a run's numbers go: one JSON object a line, TensorBoard, and a line for the eye."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tensorboardX import SummaryWriter

from pointrend_jax.console import tell
from pointrend_jax.devices.compilations import Compilations
from pointrend_jax.storage import AnyPath, copy_file, is_remote, write_whole

_FILE = "metrics.jsonl"
# Between two copies to a bucket.
_PUBLISH_SECONDS = 60.0


class MetricWriter:
    """Appends to `metrics.jsonl` and to TensorBoard event files of a work directory.

    A run that resumes after a step writes those behind it anew, so they are dropped first. Nothing
    can be appended in a bucket: there the files grow on this machine, and `publish` copies them.
    """

    def __init__(self, workdir: AnyPath, *, after_step: int = 0, writes: bool = True) -> None:
        """Args: writes, False for all processes but one, which only remember."""
        kept = [r for r in read_metrics(workdir) if r["step"] <= after_step]
        self._evaluations = [record for record in kept if "loss" not in record]
        self._outputs: tuple[TextIO, SummaryWriter] | None = None
        self._workdir, self._here = workdir, workdir
        self._copied: dict[str, int] = {}
        self._published = time.monotonic()
        if writes:
            if is_remote(workdir):
                self._here = Path(tempfile.mkdtemp(prefix="pointrend_jax-"))
            write_whole(self._here / _FILE, "".join(_line(record) for record in kept).encode())
            events = self._here / "tensorboard"
            summary = SummaryWriter(str(events), purge_step=after_step + 1)
            path = Path(self._here / _FILE)
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
        if time.monotonic() - self._published > _PUBLISH_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Brings a work directory in a bucket up to date; others always are."""
        if self._outputs is None or not is_remote(self._workdir):
            return
        self._published = time.monotonic()
        self._outputs[1].flush()
        try:
            self._copy_files()
        except OSError as error:
            # The numbers stay here; the next copy has them too.
            print(f"metrics could not be copied to {self._workdir}: {error}", flush=True)

    def _copy_files(self) -> None:
        for file in sorted(path for path in Path(self._here).rglob("*") if path.is_file()):
            name = file.relative_to(self._here).as_posix()
            size = file.stat().st_size
            if self._copied.get(name) != size:
                (self._workdir / name).parent.mkdir(parents=True, exist_ok=True)
                copy_file(file, self._workdir / name)
                self._copied[name] = size

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
        if self._here != self._workdir:
            self.publish()
            shutil.rmtree(self._here)


def _line(record: Mapping[str, float]) -> str:
    return json.dumps(record) + "\n"


def read_metrics(workdir: AnyPath) -> list[dict[str, float]]:
    """The records of a run; the last line may be half-written, if the run was killed.

    Lines that are no records are counted, told and left out.
    """
    path = workdir / _FILE
    if not path.exists():
        return []
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    records = [record for record in map(_record, lines) if record is not None]
    if len(records) < len(lines):
        tell(
            f"{len(lines) - len(records)} of {len(lines)} lines of {path} are half-written or "
            "damaged; they are left out"
        )
    return records


def _record(line: str) -> dict[str, float] | None:
    with contextlib.suppress(json.JSONDecodeError):
        found = json.loads(line)
        numbers = isinstance(found, dict) and all(
            isinstance(value, (int, float)) for value in found.values()
        )
        if numbers and isinstance(found.get("step"), int):
            return found
    return None


class Progress:
    """Rates and the remaining time of a run, of the steps since the last report.

    What was compiled since then is left out: it is not done again.
    """

    def __init__(
        self, first_step: int, num_steps: int, batch_size: int, compilations: Compilations
    ) -> None:
        self._num_steps, self._batch_size = num_steps, batch_size
        self._compilations = compilations
        self._start(first_step)

    def _start(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()
        self._compiled = self._compilations.seconds

    def report(self, step: int, learning_rate: float, losses: dict[str, float]) -> str:
        """The progress line; also starts the next interval."""
        compiled = self._compilations.seconds - self._compiled
        seconds = (time.monotonic() - self._time - compiled) / max(step - self._step, 1)
        self._start(step)
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
