"""Whole programs in two processes: the same numbers as in one, one voice, and clean ends.

The process of the tests with its two devices is the one that they are compared with, so that only
what needs a second process is started: a quick run that is stopped, to go on in one process; and
one of instances that was begun in one process, to go on in two and be scored.
"""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.launch import CLUSTER_FLAGS, finish, run_processes, started, wait_for
from pointrend_jax.devices.processes import Cluster, join_processes
from pointrend_jax.experiment import train
from pointrend_jax.training.interruptions import StopSignal
from tests.quick_run import CONFIG, QuickRun
from tests.tiny_run import TinyRun, tiny_run_flags

# In one process the runs go by pmap.
_STRATEGY = "--config.train.strategy=shard_map"


def _losses(workdir: Path) -> dict[int, dict[str, float]]:
    """The losses of each step, once each."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [record for record in records if "loss" in record]
    assert [record["step"] for record in losses] == [1, 2, 3, 4]
    return {r["step"]: {k: v for k, v in r.items() if k != "images_per_second"} for r in losses}


def _results(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "results.json").read_text())


def _assert_close(ours: Path, theirs: Path) -> None:
    for step, losses in _losses(theirs).items():
        for name, expected in losses.items():
            # Sums over images run in another order: rounding.
            np.testing.assert_allclose(
                _losses(ours)[step][name], expected, rtol=2e-4, err_msg=f"{name} of step {step}"
            )


def _assert_alike(ours: Any, theirs: Any) -> None:
    """Equal up to rounding, groups within groups; the step is its own."""
    (own, places), (other, same_places) = (
        jax.tree.flatten(results | {"step": 0}, is_leaf=lambda x: x is None)
        for results in (ours, theirs)
    )
    assert places == same_places
    pairs = list(zip(own, other, strict=True))
    numbers = [pair for pair in pairs if all(isinstance(x, int | float) for x in pair)]
    assert [a for a, b in pairs if (a, b) not in numbers] == [
        b for a, b in pairs if (a, b) not in numbers
    ]
    ours_and_theirs = np.asarray(numbers, np.float64).reshape(-1, 2)
    np.testing.assert_allclose(ours_and_theirs[:, 0], ours_and_theirs[:, 1], atol=1e-6)


def test_sigterm_to_one_process_stops_both_and_the_run_goes_on_in_one(
    quick_run: QuickRun, tmp_path: Path
) -> None:
    workdir = tmp_path / "stopped"
    flags = (f"--config={CONFIG}", *quick_run.flags(), _STRATEGY)
    command = ("train.py", f"--workdir={workdir}", *flags)
    with started(command, 2, cluster_flags=CLUSTER_FLAGS) as running:
        # Before the first step, after which it stops therefore.
        wait_for(running, "weights of")
        running[1].process.send_signal(signal.SIGTERM)
        lead, other = finish(running, status=128 + signal.SIGTERM)
    assert "stopped after step 1, which is saved; the same command goes on" in lead
    assert "stopped after" not in other
    train(quick_run.config(), workdir, evaluate_at_end=False)
    _assert_close(workdir, quick_run.workdir)


def test_a_run_of_one_process_goes_on_in_two_and_scores_as_in_one(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    workdir = shutil.copytree(tiny_run.workdir, tmp_path / "work")
    shutil.rmtree(workdir / "checkpoints" / "4")
    (workdir / "results.json").unlink()
    command = ("train.py", f"--workdir={workdir}", *tiny_run_flags(tiny_run.cache), _STRATEGY)
    lead, other = run_processes(command, 2, cluster_flags=CLUSTER_FLAGS)
    _assert_close(workdir, tiny_run.workdir)
    # Five images in batches of two: the last has none for the second process.
    assert "evaluated 5 images" in lead
    ours, theirs = _results(workdir), _results(tiny_run.workdir)
    assert ours.keys() == theirs.keys()
    _assert_alike(ours, theirs)
    # Only the lead process prints and writes. [Gloo] is of the library that connects them.
    assert "resuming" in lead
    assert "step 4/4" in lead
    assert "mask AP" in lead
    assert [line for line in other.splitlines() if line and not line.startswith("[Gloo]")] == []


@pytest.mark.parametrize("stops", [True, False])
def test_a_signal_while_a_run_resumes_is_seen_although_its_steps_are_beyond_one(
    monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    # As jax agrees on a step: the highest that was asked about, plus one; 0 before any was.
    agreed = 1 if stops else None
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.reached_preemption_sync_point", lambda s: s == agreed
    )
    with StopSignal() as stop:
        assert stop.reached_before(7) == stops


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_STEP_NUM_TASKS", "2"),
        ("OMPI_COMM_WORLD_SIZE", "2"),
        ("PMI_SIZE", "2"),
        ("TPU_WORKER_HOSTNAMES", "a,b"),
        ("TPU_PROCESS_ADDRESSES", "a:1,b:1"),
    ],
)
def test_one_of_several_started_processes_must_know_of_the_others(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"2 processes .* --coordinator auto"):
        join_processes(Cluster())


def test_a_process_alone_in_an_allocation_for_many_need_not_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    join_processes(Cluster())
