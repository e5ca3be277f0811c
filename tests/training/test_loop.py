"""The real loop on a tiny model: it learns, resumes bit for bit, and says what is wrong."""

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.storage import check_workdir
from pointrend_jax.structures import SemanticBatch
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training import loop
from pointrend_jax.training.checkpoints import CheckpointMeta, Retention
from pointrend_jax.training.loop import (
    LoopSettings,
    NonFiniteLossError,
    finite_losses,
    run_training,
)
from pointrend_jax.training.metrics import duration
from pointrend_jax.training.optimizer import build_optimizer
from pointrend_jax.training.replicas import build_replicas
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.training.step import DEFAULT_OPTIONS, StepOptions
from tests.tiny import quick_semantic_config, semantic_batch, tiny_variables
from tests.tiny_training import SEED, Training, quick_training


class _Batches:
    """Eight images in batches of two, for ever."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> SemanticBatch:
        return semantic_batch(seed=index % 4)


def _batches(start: int) -> grain.DatasetIterator:
    dataset = grain.MapDataset.source(_Batches())[start:]
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=0)))


_STEPS, _EVERY = 14, 7


@pytest.fixture(scope="module", autouse=True)
def kept_steps() -> Iterator[None]:
    """Runs of equal settings share what was traced of their step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_replicas", cache(build_replicas))
        yield


def _train(
    workdir: Path,
    steps: int,
    training: Training | None = None,
    strategy: str = "pmap",
    options: StepOptions = DEFAULT_OPTIONS,
) -> list[dict[str, float]]:
    """What is in the metrics after a run that begins or goes on in `workdir`."""
    used = training or quick_training()
    settings = LoopSettings(
        steps=steps, batch_size=2, log_every=1, eval_every=0, checkpoint_every=_EVERY,
        retention=Retention(9), seed=SEED, num_canvases=1, strategy=strategy, options=options,
    )  # fmt: skip
    run_training(
        used.task, used.optimizer, used.schedule, used.variables, _batches,
        lambda variables, step: {"score": float(step)}, settings,
        CheckpointMeta(used.config.to_dict(), ("a", "b", "c")), workdir,
    )  # fmt: skip
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """A run that nobody stops, and its records."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, _train(workdir, _STEPS)


def _losses(records: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {k: v for k, v in record.items() if k != "images_per_second"}
        for record in records
        if "loss" in record
    ]


def test_a_resumed_run_has_the_losses_of_a_whole_one_bit_for_bit_and_no_other_model(
    whole: tuple[Path, list[dict[str, float]]], tmp_path: Path
) -> None:
    stopped = shutil.copytree(whole[0], tmp_path / "stopped")
    for checkpoint in (stopped / "checkpoints").iterdir():
        if checkpoint.name != str(_EVERY):
            shutil.rmtree(checkpoint)
    parts = _losses(_train(stopped, 9))
    assert [record["step"] for record in parts] == [*range(1, 10)]
    assert parts == _losses(whole[1])[:9]
    config = quick_semantic_config()
    config.model.semantic.point_fc_dim = 8
    task = build_task(config)
    variables = tiny_variables(task)
    optimizer, schedule = build_optimizer(config, variables["params"], task.is_trainable)
    with pytest.raises(ValueError, match="shape of params/point_head/point_head/fc1/bias: saved"):
        _train(stopped, 10, Training(config, task, variables, optimizer, schedule))


def test_a_deterministic_run_that_is_stopped_goes_on_with_the_bits_of_a_whole_one(
    whole: tuple[Path, list[dict[str, float]]], tmp_path: Path
) -> None:
    def train(workdir: Path, steps: int) -> list[dict[str, float]]:
        # By the default strategy, whose programs take no options.
        return _losses(_train(workdir, steps, options=StepOptions(deterministic=True)))

    records, parameters = train(tmp_path / "whole", 5), load_variables(tmp_path / "whole")[0]
    train(tmp_path / "stopped", 2)
    assert train(tmp_path / "stopped", 5) == records
    jax.tree.map(np.testing.assert_array_equal, load_variables(tmp_path / "stopped")[0], parameters)
    # The losses are those of any other run, until rounding has grown.
    for name, loss in _losses(whole[1])[0].items():
        np.testing.assert_allclose(records[0][name], loss, rtol=1e-5)


def test_tiny_model_overfits_eight_images(whole: tuple[Path, list[dict[str, float]]]) -> None:
    losses = [record["loss"] for record in _losses(whole[1])]
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])


def test_evaluation_joins_the_metrics_and_the_checkpoint_knows_itself(
    whole: tuple[Path, list[dict[str, float]]],
) -> None:
    workdir, records = whole
    assert records[-1] == {"step": _STEPS, "score": float(_STEPS)}
    variables, meta, step = load_variables(workdir)
    assert step == _STEPS
    assert meta.class_names == ("a", "b", "c")
    assert meta.config["num_classes"] == 3
    assert sorted(variables) == ["buffers", "params"]
    assert list((workdir / "tensorboard").iterdir())


def test_non_finite_loss_is_named() -> None:
    with pytest.raises(NonFiniteLossError, match="not finite at step 7: loss_mask"):
        finite_losses({"loss_mask": jnp.array(np.nan), "loss_cls": jnp.array(1.0)}, 7)


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
