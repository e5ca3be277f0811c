"""Whole programs in two processes: the same numbers as in one, one voice, and clean ends.

Everything is tiny, because two processes share the machine; each of them compiles what it runs,
or takes it from the cache of the tests.
"""

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from benchmarks.launch import CLUSTER_FLAGS, finish, run_processes, started, wait_for
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.interruptions import StopSignal
from pointrend_jax.training.processes import Cluster, join_processes
from pointrend_jax.training.saved_variables import save_variables
from tests.tiny import tiny_config, tiny_variables

_STEPS = 6


def _run_layout(folder: Path, processes: int, devices: int, strategy: str) -> dict[str, Any]:
    """Losses and parameters after five steps of four images."""
    output = folder / f"{processes}x{devices}-{strategy}.npz"
    command = [
        "benchmarks/replica_program.py", "--devices", str(devices), "--batch=4",
        "--strategy", strategy, "--data", str(folder / "data"), "--output", str(output),
    ]  # fmt: skip
    flags = ("--processes={number}", "--index={index}", "--port={port}")
    run_processes(command, processes, cluster_flags=flags, devices=devices)
    with np.load(output) as content:
        return dict(content)


def test_two_processes_of_two_devices_give_what_one_device_gives(tmp_path: Path) -> None:
    """By `shard_map`; the runs below are by `pmap`, and benchmarks/replicas.py has more layouts."""
    one = _run_layout(tmp_path, 1, 1, "pmap")
    four = _run_layout(tmp_path, 2, 2, "shard_map")
    assert four["compiled"] == one["compiled"] == 1
    for name, expected in one.items():
        if name.startswith(("losses/", "params/")):
            # Sums over images run in another order: rounding, grown over five steps.
            np.testing.assert_allclose(four[name], expected, rtol=2e-4, atol=2e-5, err_msg=name)


class _Run(NamedTuple):
    """A finished run. outputs: of its processes."""

    workdir: Path
    outputs: list[str]

    def losses(self) -> dict[int, dict[str, float]]:
        """The losses of each step, once each."""
        lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
        records = [record for record in map(json.loads, lines) if "loss" in record]
        assert [record["step"] for record in records] == list(range(1, _STEPS + 1))
        return {
            r["step"]: {k: v for k, v in r.items() if k != "images_per_second"} for r in records
        }


class _Programs:
    """train.py and eval.py on the tiny run, with the prepared data and the weights in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = tiny_config()
        config.num_classes = 6
        save_variables(
            folder / "weights",
            tiny_variables(build_task(config)),
            CheckpointMeta(config.to_dict(), tuple("abcdef")),
        )

    def train(self, workdir: Path) -> list[str]:
        return [
            "train.py", *self._settings(workdir), f"--config.train.steps={_STEPS}",
            "--config.train.log_every=1",
        ]  # fmt: skip

    def eval(self, workdir: Path, batch_size: int) -> list[str]:
        """`batch_size` images a step: as many as processes, so that each predicts them singly."""
        return ["eval.py", *self._settings(workdir), f"--config.eval.batch_size={batch_size}"]

    def _settings(self, workdir: Path) -> Sequence[str]:
        return (
            "--config=configs/tiny.py", f"--workdir={workdir}",
            f"--config.data.cache_dir={self.folder / 'cache'}", "--config.model.backbone=resnet18",
            f"--config.init.weights={self.folder / 'weights'}",
            "--config.data.embedded.num_eval=5",
        )  # fmt: skip


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> _Programs:
    return _Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def whole(programs: _Programs) -> _Run:
    """A run of two processes that nobody stops."""
    workdir = programs.folder / "whole"
    outputs = run_processes(programs.train(workdir), 2, cluster_flags=CLUSTER_FLAGS)
    return _Run(workdir, outputs)


@pytest.fixture(scope="module")
def stopped(programs: _Programs) -> Path:
    """The work directory of a run of two processes of which the second was sent SIGTERM."""
    workdir = programs.folder / "stopped"
    command = programs.train(workdir)
    with started(command, 2, cluster_flags=CLUSTER_FLAGS) as running:
        # Before the first step, after which it stops therefore.
        wait_for(running, "weights of")
        running[1].process.send_signal(signal.SIGTERM)
        lead, _ = finish(running, status=128 + signal.SIGTERM)
    assert "stopped after step 1, which is saved; the same command goes on" in lead
    return workdir


def _go_on(programs: _Programs, stopped: Path, workdir: Path, *, processes: int) -> _Run:
    """A copy of a stopped run, run to its end."""
    shutil.copytree(stopped, workdir)
    outputs = run_processes(programs.train(workdir), processes, cluster_flags=CLUSTER_FLAGS)
    assert "resuming" in outputs[0]
    return _Run(workdir, outputs)


def test_only_the_lead_process_prints_and_writes(whole: _Run) -> None:
    lead, other = whole.outputs
    assert f"step {_STEPS}/{_STEPS}" in lead
    assert "mask AP" in lead
    # Of the library that connects the processes.
    assert [line for line in other.splitlines() if line and not line.startswith("[Gloo]")] == []
    assert len(list((whole.workdir / "tensorboard").iterdir())) == 1


def test_the_scores_of_two_processes_are_those_of_one(
    programs: _Programs, whole: _Run, tmp_path: Path
) -> None:
    contents = []
    for processes in (1, 2):
        workdir = tmp_path / f"{processes}"
        shutil.copytree(whole.workdir, workdir)
        (workdir / "results.json").unlink()
        command = programs.eval(workdir, batch_size=processes)
        lead = run_processes(command, processes, cluster_flags=CLUSTER_FLAGS)[0]
        assert "evaluated 5 images" in lead
        detections = json.loads((workdir / "detections_rendered.json").read_text())
        by_image = sorted(detections, key=lambda d: (d["image_id"], -d["score"]))
        contents.append((json.loads((workdir / "results.json").read_text()), by_image))
    assert contents[0] == contents[1]
    assert len({d["image_id"] for d in contents[0][1]}) == 5


def test_sigterm_to_one_process_stops_both_and_the_run_goes_on_bit_for_bit(
    programs: _Programs, whole: _Run, stopped: Path, tmp_path: Path
) -> None:
    resumed = _go_on(programs, stopped, tmp_path / "work", processes=2)
    assert resumed.losses() == whole.losses()


def test_a_checkpoint_of_two_processes_goes_on_in_one(
    programs: _Programs, whole: _Run, stopped: Path, tmp_path: Path
) -> None:
    resumed = _go_on(programs, stopped, tmp_path / "work", processes=1)
    for step, losses in resumed.losses().items():
        for name, expected in whole.losses()[step].items():
            # Sums over images run in another order, as above.
            np.testing.assert_allclose(losses[name], expected, rtol=2e-4, err_msg=name)


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
