"""The benchmark of accelerators: what it makes of a trace, what it prints, a small run of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import parts, resizing
from benchmarks.gpu.__main__ import described, main
from benchmarks.gpu.limit import Limit, OutOfTimeError
from benchmarks.gpu.trace import DeviceWork, NoDeviceError, device_events, summed, traced
from benchmarks.speed.training import Steps
from pointrend_jax.training.step import DEFAULT_OPTIONS, TrainState


def test_a_device_is_busy_while_any_stream_is_and_copies_are_no_kernels() -> None:
    # Two calls: 0 to 3 ms on two streams, of which one begins within the other; then 5 to 6 ms.
    ms = 1e6
    events = [
        ("fusion", 5 * ms, 1 * ms), ("gemm", 0.0, 2 * ms), ("MemcpyD2H", 1 * ms, 2 * ms),
        ("sort", 1.5 * ms, 0.5 * ms),
    ]  # fmt: skip
    assert summed(events, calls=2) == DeviceWork(kernels=1.5, copies=0.5, busy_ms=2.0)


def test_without_a_gpu_the_profile_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoDeviceError, match="kernels of a GPU, and this is a cpu"):
        traced(lambda: jnp.zeros(1), 1)
    with jax.profiler.trace(tmp_path):
        jnp.zeros(1).block_until_ready()
    with pytest.raises(NoDeviceError, match="nothing of a GPU"):
        device_events(tmp_path)


def test_earlier_figures_stand_beside_with_their_ratio() -> None:
    figures = {"ms": 5.0, "first_s": 2.0, "equal": "yes", "digest": "ab"}
    assert described(figures, {}) == "ms 5; first_s 2; equal yes; digest ab"
    assert described(figures, {"ms": 10.0, "equal": "yes", "digest": "cd"}) == (
        "ms 5 (earlier 10, x0.50); first_s 2; equal yes (as earlier); digest ab (earlier cd)"
    )


def test_a_small_run_prints_and_writes_each_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, earlier = tmp_path / "runs" / "gpu.json", tmp_path / "earlier.json"
    facts = {"date": "2026-01-02", "device": "some", "jax": "1", "commit": "abc"}
    parts = {"network": {"batch of 1": {"ms": 1e9}}}
    earlier.write_text(
        json.dumps({"machine": facts, "weights": "random", "small": True, "parts": parts})
    )
    main([
        "--small", "--network", "--rle", "--selection", "--profile",
        "--output", str(output), "--baseline", str(earlier),
    ])  # fmt: skip
    record = json.loads(output.read_text())
    assert record["small"]
    assert list(record["parts"]) == ["network", "rle", "selection", "profile"]
    for name in ("network", "rle"):
        part = record["parts"][name]
        assert list(part) == ["batch of 1", "batch of 2"]
        for number, figures in enumerate(part.values(), 1):
            assert figures["ms"] > 0
            assert figures["images_a_second"] == pytest.approx(1000 * number / figures["ms"])
    network = record["parts"]["network"]
    (selection,) = record["parts"]["selection"].values()
    assert selection["equal"] == "yes"
    assert selection["given"] == "count"
    assert min(selection["sort_ms"], selection["count_ms"]) > 0
    assert "this is a cpu" in record["parts"]["profile"]["left_out"]
    printed = capsys.readouterr().out
    assert "profile: left out: the profile counts kernels of a GPU" in printed
    assert "earlier: 2026-01-02, some, jax 1, commit abc, random weights, small" in printed
    assert f"network, batch of 1: ms {network['batch of 1']['ms']:.4g} (earlier 1e+09, x" in printed


def test_a_deterministic_step_is_equal_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Gradients of the backbone take half as long to compile as all else, and are sums as others.
    work = parts.small_work()
    work = work._replace(changes=dict(work.changes) | {"model.freeze_at": 5})
    monkeypatch.setattr(program, "small_work", lambda: work)
    main(["--small", "--deterministic", "--output", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]["deterministic"]
    assert list(found) == ["a step", "steps twice"]
    assert found["a step"]["images_a_second"] > 0
    twice = found["steps twice"]
    assert twice == {"steps": 2, "equal": "yes", "digest": twice["digest"]}


def test_both_roads_of_resizing_are_measured_and_give_the_same_pixels(tmp_path: Path) -> None:
    main(["--small", "--resizing", "--output", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]["resizing"]
    sizes = ("38x51", "86x153")
    assert list(found) == [f"{size}, batch of {n}" for size in sizes for n in (1, 2)]
    for figures in found.values():
        assert figures["host_ms"] > 0
        assert figures["device_ms"] > 0
        assert figures["largest_difference"] == 0


def test_roads_of_resizing_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def black(*arguments: Any, taps: int) -> jax.Array:
        return jnp.zeros((*arguments[3], 3), jnp.uint8)

    monkeypatch.setattr(resizing, "resize_as_pillow", black)
    grey = np.full((8, 8, 3), 7, np.uint8)
    assert resizing.both_roads(grey, 1, (32, 32), 1)["largest_difference"] == 7


class _Clock:
    """Seconds that go by only when `work` is done."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def _steps_taking(clock: _Clock, seconds: float, noise: float = 0.0) -> Steps:
    """Steps that count, each a little apart from the one before it with `noise`."""
    starts = iter(range(100))

    def state(number: Any) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), {"w": number}, {}, {}, {})

    def advance(before: TrainState) -> TrainState:
        clock.work(seconds)
        return state(before.params["w"] + 1)

    return Steps(lambda: state(jnp.float32(noise * next(starts))), advance)


def _deterministic(
    monkeypatch: pytest.MonkeyPatch, steps: Steps, limit: Limit
) -> Iterator[tuple[str, Any]]:
    """The part, of 50 such steps."""

    def steps_of(work: parts.Work, dtype: str, options: Any) -> Steps:
        assert (dtype, options) == ("bfloat16", DEFAULT_OPTIONS._replace(deterministic=True))
        return steps

    monkeypatch.setattr(parts, "_steps", steps_of)
    return parts.deterministic(parts.whole_work(None)._replace(limit=limit))


def test_two_runs_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    steps = _steps_taking(clock, 0, noise=0.5)
    found = dict(_deterministic(monkeypatch, steps, Limit(1, clock)))
    assert list(found) == ["a step", "steps twice"]
    assert found["steps twice"]["equal"] == "NO"


def test_steps_that_are_compared_stop_in_time_and_say_how_many_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock()
    # Eleven steps for the figure, and then two at a time.
    found = _deterministic(monkeypatch, _steps_taking(clock, 1.0), Limit(40, clock))
    assert next(found)[0] == "a step"
    name, figures = next(found)
    assert (name, figures["steps"], figures["equal"]) == ("some steps twice", 15, "yes")
    with pytest.raises(OutOfTimeError, match=r"^35 of 50 steps$"):
        next(found)
    # Where nothing was compared nothing is said to be equal.
    found = _deterministic(monkeypatch, _steps_taking(clock, 1.0), Limit(11, clock))
    assert next(found)[0] == "a step"
    with pytest.raises(OutOfTimeError, match=r"^50 of 50 steps$"):
        next(found)


def test_a_step_is_measured_in_both_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def steps_of(work: parts.Work, dtype: str) -> Steps:
        asked.append((dtype, work.images))
        return _steps_taking(_Clock(), 0)

    monkeypatch.setattr(parts, "_steps", steps_of)
    main(["--small", "--training", "--output", str(tmp_path / "gpu.json")])
    assert asked == [("bfloat16", 2), ("float32", 2)]
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]["training"]
    assert list(found) == ["bfloat16", "float32"]
    assert "training: left out" not in capsys.readouterr().out


def test_figures_are_printed_and_written_as_they_come_and_stop_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, clock = tmp_path / "gpu.json", _Clock()
    printed = []

    def part(work: parts.Work) -> Iterator[tuple[str, parts.Figures]]:
        """Three figures of two minutes each."""
        for name, value in work.limit.of({"one": 1.0, "two": 2.0, "three": 3.0}):
            clock.work(120)
            yield name, {"ms": value}
            printed.append(capsys.readouterr().out)
            assert json.loads(output.read_text())["parts"]["slow"][name] == {"ms": value}

    monkeypatch.setattr(program, "PARTS", {"slow": part, "quick": part})
    monkeypatch.setattr(program, "Limit", lambda seconds: Limit(seconds, clock))
    main(["--small", "--output", str(output)])
    assert [lines.splitlines()[-1] for lines in printed[:2]] == [
        "slow, one: ms 1",
        "slow, two: ms 2",
    ]
    told = "three, as 180 s are over"
    # The time of a part begins with it.
    of_a_part = {"one": {"ms": 1.0}, "two": {"ms": 2.0}, "left_out": told}
    assert json.loads(output.read_text())["parts"] == {"slow": of_a_part, "quick": of_a_part}
    assert f"quick: left out: {told}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--kit", "nowhere"], "no parity kit"),
        (["--baseline", "nowhere"], "--baseline nowhere is not a file"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_measured(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(flags)
    assert message in capsys.readouterr().err
