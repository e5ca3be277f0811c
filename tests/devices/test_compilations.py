"""What is said while a program is compiled, and that no progress counts it."""

import time
from typing import NamedTuple

import numpy as np
import pytest

from pointrend_jax import console
from pointrend_jax.devices.compilations import Compilations
from pointrend_jax.training.metrics import Progress


class _Batch(NamedTuple):
    images: np.ndarray
    boxes: np.ndarray


def _batch(height: int, width: int, slots: int = 2) -> _Batch:
    return _Batch(np.zeros((1, height, width, 3), np.uint8), np.zeros((1, slots, 4)))


def test_each_program_is_announced_once_with_its_canvas(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(console, "LONG_S", 0.01)
    compilations = Compilations("the step")
    for batch in (_batch(64, 96), _batch(64, 96), _batch(96, 64), _batch(64, 96, slots=4)):
        with compilations.of(batch, 2):
            time.sleep(0.05)
    said = [line for line in capfd.readouterr().err.splitlines() if not line.endswith(" s")]
    assert said == [
        "compiling the step for 64x96 (canvas 1 of 2)",
        "compiling the step for 96x64 (canvas 2 of 2)",
        "compiling the step for 64x96 (canvas 1 of 2, other shapes)",
    ]
    assert compilations.seconds == pytest.approx(0.15, abs=0.1)


def test_the_remaining_time_does_not_count_what_was_compiled():
    compilations = Compilations("the step")
    progress = Progress(0, 10_010, 2, compilations)
    with compilations.of(_batch(64, 96), 1):
        time.sleep(0.5)
    # Counted as training, ten steps in half a second would be 40 images/s and 8 minutes left.
    line = progress.report(10, 0.1, {"loss": 1.0})
    assert progress.images_per_second > 400
    assert line.rpartition("ETA ")[2] < "0:50"
