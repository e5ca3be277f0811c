"""Numbers of a run on disk, through interruptions."""

import json
from pathlib import Path

import pytest

from pointrend_jax.training.metrics import MetricWriter


def _steps(folder: Path) -> list[int]:
    return [json.loads(x)["step"] for x in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_drops_what_it_will_write_anew(tmp_path: Path) -> None:
    with MetricWriter(tmp_path) as writer:
        for step in (1, 2, 3, 4):
            writer.write(step, {"loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed while it wrote
    with MetricWriter(tmp_path, after_step=2) as writer:
        assert _steps(tmp_path) == [1, 2]
        writer.write(3, {"loss": 0.3})
    assert _steps(tmp_path) == [1, 2, 3]


def test_damaged_lines_are_counted_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = (
        b"\xff",
        b"[1]",
        b"{}",
        b'{"step": "1"}',
        b'{"step": 1, "loss": "x"}',
        b'{"step": 2,',
    )
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([b'{"step": 1, "loss": 0.5}', *damaged]))
    with MetricWriter(tmp_path, after_step=2) as writer:
        assert writer.best_step("score") is None
    assert _steps(tmp_path) == [1]
    assert "6 of 7 lines of" in capsys.readouterr().out


def test_the_best_step_is_remembered_and_the_newest_of_equals(tmp_path: Path) -> None:
    with MetricWriter(tmp_path) as writer:
        for step, score in ((1, 0.2), (2, 0.5), (3, 0.5), (4, 0.4)):
            writer.write(step, {"loss": 1.0})
            writer.write(step, {"rendered/mask_ap": score})
    with MetricWriter(tmp_path, after_step=4, writes=False) as writer:
        assert writer.best_step("rendered/mask_ap") == 3
        assert writer.best_step("loss") is None
        assert writer.is_evaluated(4)
        assert not writer.is_evaluated(5)
        writer.write(5, {"rendered/mask_ap": 0.6})
        assert writer.best_step("rendered/mask_ap") == 5
    # Only one process writes.
    assert _steps(tmp_path)[-1] == 4
