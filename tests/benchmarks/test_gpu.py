"""The benchmark of accelerators: what it makes of a trace, what it prints, a small run of it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu.__main__ import described, main
from benchmarks.gpu.trace import DeviceWork, NoDeviceError, device_events, summed, traced


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
        "--small", "--network", "--selection", "--profile",
        "--output", str(output), "--baseline", str(earlier),
    ])  # fmt: skip
    record = json.loads(output.read_text())
    assert record["small"]
    assert list(record["parts"]) == ["network", "selection", "profile"]
    network = record["parts"]["network"]
    assert list(network) == ["batch of 1", "batch of 2"]
    assert all(network[name]["ms"] > 0 for name in network)
    assert network["batch of 2"]["images_a_second"] == pytest.approx(
        2000 / network["batch of 2"]["ms"]
    )
    (selection,) = record["parts"]["selection"].values()
    assert selection["equal"] == "yes"
    assert selection["given"] == "count"
    assert min(selection["sort_ms"], selection["count_ms"]) > 0
    assert "this is a cpu" in record["parts"]["profile"]["left_out"]
    printed = capsys.readouterr().out
    assert "profile: left out: the profile counts kernels of a GPU" in printed
    assert "earlier: 2026-01-02, some, jax 1, commit abc, random weights, small" in printed
    assert f"network, batch of 1: ms {network['batch of 1']['ms']:.4g} (earlier 1e+09, x" in printed


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
