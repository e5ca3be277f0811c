"""The real loop on a tiny model: it learns, resumes bit for bit, and says what is wrong."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain.python as grain
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.structures import InstanceBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta, Retention
from pointrend_jax.training.loop import (
    LoopSettings,
    NonFiniteLossError,
    check_finite,
    check_workdir,
    run_training,
)
from pointrend_jax.training.metrics import duration
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.saved_variables import load_variables
from tests.tiny import instance_batch, tiny_config, tiny_variables


class _Batches:
    """Eight images in batches of two, for ever."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> InstanceBatch:
        return instance_batch(seed=index % 4)


def _batches(start: int) -> grain.DatasetIterator:
    dataset = grain.MapDataset.source(_Batches())[start:]
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=0)))


@pytest.fixture(scope="module")
def train() -> Callable[..., list[dict[str, float]]]:
    config = tiny_config()
    config.train.learning_rate, config.train.warmup_steps, config.train.milestones = 0.02, 5, ()
    task = build_task(config)
    variables = tiny_variables(task)
    optimizer, schedule = build_optimizer(config, variables["params"], task.is_trainable)

    def run(workdir: Path, steps: int, checkpoint_every: int = 0) -> list[dict[str, float]]:
        settings = LoopSettings(
            steps=steps, batch_size=2, log_every=1, eval_every=0,
            checkpoint_every=checkpoint_every, retention=Retention(2), seed=3,
        )  # fmt: skip
        run_training(
            task, optimizer, schedule, variables, _batches,
            lambda variables, step: {"score": float(step)}, settings,
            CheckpointMeta(config.to_dict(), ("a", "b", "c")), workdir,
        )  # fmt: skip
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return run


def test_resuming_gives_the_same_next_losses_bit_for_bit(
    train: Callable[..., list[dict[str, float]]], tmp_path: Path
) -> None:
    whole = [r for r in train(tmp_path / "whole", 6) if "loss" in r]
    train(tmp_path / "parts", 3)
    parts = [r for r in train(tmp_path / "parts", 6) if "loss" in r]
    assert [r["step"] for r in parts] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(whole, parts, strict=True):
        losses = {k: v for k, v in one.items() if k not in ("images_per_second",)}
        assert losses == {k: other[k] for k in losses}


def test_tiny_model_overfits_eight_images(
    train: Callable[..., list[dict[str, float]]], tmp_path: Path
) -> None:
    losses = [r["loss"] for r in train(tmp_path, 60) if "loss" in r]
    assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:8])


def test_evaluation_joins_the_metrics_and_the_checkpoint_knows_itself(
    train: Callable[..., list[dict[str, float]]], tmp_path: Path
) -> None:
    records = train(tmp_path, 2)
    assert records[-1] == {"step": 2, "score": 2.0}
    variables, meta, step = load_variables(tmp_path)
    assert step == 2
    assert meta.class_names == ("a", "b", "c")
    assert meta.config["num_classes"] == 3
    assert sorted(variables) == ["buffers", "params"]
    assert list((tmp_path / "tensorboard").iterdir())


def test_checkpoint_of_another_model_lists_what_differs(
    train: Callable[..., list[dict[str, float]]], tmp_path: Path
) -> None:
    train(tmp_path, 1)
    config = tiny_config()
    config.model.fpn_channels = 8
    task = build_task(config)
    variables = tiny_variables(task)
    optimizer, schedule = build_optimizer(config, variables["params"], task.is_trainable)
    settings = LoopSettings(2, 2, 1, 0, 0, Retention(1), 0)
    meta = CheckpointMeta(config.to_dict(), ("a", "b", "c"))
    with pytest.raises(ValueError, match="shape of params/fpn/lateral2/kernel: saved"):
        run_training(
            task,
            optimizer,
            schedule,
            variables,
            _batches,
            lambda v, s: {},
            settings,
            meta,
            tmp_path,
        )


def test_non_finite_loss_is_named() -> None:
    with pytest.raises(NonFiniteLossError, match="not finite at step 7: loss_mask"):
        check_finite({"loss_mask": jnp.array(np.nan), "loss_cls": jnp.array(1.0)}, 7)


def test_workdir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(ValueError, match="cannot be written"):
        check_workdir(file / "workdir")


def test_full_disk_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ValueError, match="No space left"):
        check_workdir(tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(9, "0:09"), (309, "5:09"), (3909, "1:05:09")])
def test_duration_reads_as_a_clock(seconds: int, text: str) -> None:
    assert duration(seconds) == text
